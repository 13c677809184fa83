//! Finish: makes the curves of folds out of the reports of their job, which have all of its members side by side.

use chrono::{DateTime, Utc};
use trawl_domain::metric::{FoldMetrics, Metric};

use super::AppError;
use crate::store::curves::{self, NewCurve};
use crate::store::folds::{self, FoldSummary};
use crate::store::job_reports::{self, Report, StoredReport};
use crate::store::jobs::JobRecord;
use crate::store::{Connection, StoreError};

/// Reports that are in memory at once.
const REPORTS_AT_ONCE: u32 = 16;
/// Epochs after which a row of a curve ends: of a long curve, a reader needs a part.
const CHUNK_EPOCHS: usize = 1_024;

/// Moves a job's reports into the curves of its folds, and tells what they say in the end, member by member.
pub(super) async fn gather(conn: &mut Connection, job: &JobRecord) -> Result<Vec<FoldSummary>, AppError> {
    let mut folds = Folds::new(folds::of_job(conn, job.job_id).await?);
    let mut next_epoch = 0;
    loop {
        let reports = job_reports::from_epoch(conn, job.job_id, next_epoch, REPORTS_AT_ONCE).await?;
        let Some(last) = reports.last() else { break };
        next_epoch = last.report.first_epoch + last.report.epochs;
        for StoredReport { report, reported_at } in reports {
            if folds.metrics != report.metrics || folds.chunk_epochs() >= CHUNK_EPOCHS {
                folds.store(conn).await?;
                folds.metrics.clone_from(&report.metrics);
            }
            folds.add(&report, reported_at);
        }
    }
    folds.store(conn).await?;
    job_reports::remove(conn, job.job_id).await?;
    Ok(folds.summaries)
}

/// What a job's folds reported, by member.
struct Folds {
    summaries: Vec<FoldSummary>,
    /// What is measured on the validation rows.
    metrics: Vec<Metric>,
    /// Reports of the chunk: first epoch, and when it became durable.
    reports: Vec<(u32, DateTime<Utc>)>,
    /// Epochs of the chunk: training losses, then a curve for each metric.
    chunk: Vec<(Vec<f64>, Vec<Vec<Option<f64>>>)>,
}

impl Folds {
    fn new(folds: Vec<i64>) -> Self {
        let summary = |fold_id: &i64| FoldSummary {
            fold_id: *fold_id,
            ..FoldSummary::default()
        };
        Self {
            summaries: folds.iter().map(summary).collect(),
            metrics: Vec::new(),
            reports: Vec::new(),
            chunk: vec![Default::default(); folds.len()],
        }
    }

    /// Epochs of the longest curve of the chunk.
    fn chunk_epochs(&self) -> usize {
        self.chunk
            .iter()
            .map(|(train_loss, _)| train_loss.len())
            .max()
            .unwrap_or(0)
    }

    fn add(&mut self, report: &Report, reported_at: DateTime<Utc>) {
        self.reports.push((report.first_epoch, reported_at));
        let (epochs, metrics) = (report.epochs as usize, report.metrics.len());
        for (member, (summary, (train_loss, val))) in self.summaries.iter_mut().zip(&mut self.chunk).enumerate() {
            val.resize(metrics, Vec::new());
            for epoch in 0..epochs {
                let Some(loss) = report.train_loss[member * epochs + epoch] else {
                    break;
                };
                train_loss.push(loss);
                let value = |metric: usize| report.val[(member * metrics + metric) * epochs + epoch];
                let of = |name| report.metrics.iter().position(|metric| *metric == name).and_then(value);
                val.iter_mut()
                    .enumerate()
                    .for_each(|(metric, curve)| curve.push(value(metric)));
                summarise(summary, loss, of(Metric::ValLoss), of(Metric::ValAccuracy));
            }
        }
    }

    /// Stores the chunk, and begins the next one.
    async fn store(&mut self, conn: &mut Connection) -> Result<(), StoreError> {
        let curve = |(summary, (train_loss, val)): (&FoldSummary, &mut (Vec<f64>, Vec<Vec<Option<f64>>>))| NewCurve {
            fold_id: summary.fold_id,
            first_epoch: summary.epochs - train_loss.len() as u32,
            train_loss: std::mem::take(train_loss),
            val: std::mem::take(val).concat(),
        };
        let curves = self.summaries.iter().zip(&mut self.chunk).map(curve);
        let curves: Vec<NewCurve> = curves.filter(|curve| !curve.train_loss.is_empty()).collect();
        if !curves.is_empty() {
            curves::insert(conn, &self.metrics, &self.reports, &curves).await?;
        }
        self.reports.clear();
        Ok(())
    }
}

/// Takes the metrics of a fold's next epoch.
fn summarise(summary: &mut FoldSummary, train_loss: f64, val_loss: Option<f64>, val_accuracy: Option<f64>) {
    if let Some(val_loss) = val_loss {
        let is_best = summary.metrics.is_none_or(|metrics| val_loss < metrics.best_val_loss);
        if is_best {
            summary.best_epoch = Some(summary.epochs);
        }
        summary.metrics = Some(FoldMetrics::after(summary.metrics, val_loss, val_accuracy));
    }
    summary.train_loss = Some(train_loss);
    summary.epochs += 1;
}
