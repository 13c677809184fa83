//! Finish: turns a job's reports, which have all its members side by side, into the curves of its folds, and computes
//! the folds' metrics.

use chrono::{DateTime, Utc};
use trawl_domain::limits::REPORT_EPOCHS_MAX;
use trawl_domain::metric::{Metric, Metrics};

use super::AppError;
use crate::store::curves::{self, NewCurve};
use crate::store::folds::{self, FoldSummary};
use crate::store::job_reports::{self, Report, StoredReport};
use crate::store::jobs::JobRecord;
use crate::store::{Connection, StoreError};

/// Reports that are in memory at once.
const REPORTS_AT_ONCE: u32 = 16;
/// Most epochs in a row of a curve, so that a reader can load part of a long curve. A report has no more.
const CHUNK_EPOCHS: usize = REPORT_EPOCHS_MAX as usize;

/// Moves a job's reports into the curves of its folds; returns each member's final metrics.
pub(super) async fn gather(conn: &mut Connection, job: &JobRecord) -> Result<Vec<FoldSummary>, AppError> {
    let mut folds = Folds::new(folds::of_job(conn, job.job_id).await?);
    let mut next_epoch = 0;
    loop {
        let reports = job_reports::from_epoch(conn, job.job_id, next_epoch, REPORTS_AT_ONCE).await?;
        let Some(last) = reports.last() else { break };
        next_epoch = last.report.first_epoch + last.report.epochs;
        for StoredReport { report, reported_at } in reports {
            if folds.metrics != report.metrics || folds.chunk_epochs() + report.epochs as usize > CHUNK_EPOCHS {
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

/// Reports of a job's folds, by member.
struct Folds {
    summaries: Vec<FoldSummary>,
    /// Metrics on the validation rows.
    metrics: Vec<Metric>,
    /// Reports of the chunk: the first epoch of each, and when it became durable.
    reports: Vec<(u32, DateTime<Utc>)>,
    /// Epochs of the chunk.
    chunk: Vec<Curve>,
}

/// Some epochs of one fold.
#[derive(Clone, Default)]
struct Curve {
    train_loss: Vec<f64>,
    /// By metric.
    val: Vec<Vec<Option<f64>>>,
}

impl Folds {
    fn new(folds: Vec<FoldSummary>) -> Self {
        Self {
            metrics: Vec::new(),
            reports: Vec::new(),
            chunk: vec![Curve::default(); folds.len()],
            summaries: folds,
        }
    }

    /// Epochs of the longest curve of the chunk.
    fn chunk_epochs(&self) -> usize {
        let lens = self.chunk.iter().map(|curve| curve.train_loss.len());
        lens.max().unwrap_or(0)
    }

    fn add(&mut self, report: &Report, reported_at: DateTime<Utc>) {
        self.reports.push((report.first_epoch, reported_at));
        let (epochs, metrics) = (report.epochs as usize, report.metrics.len());
        for (member, (summary, curve)) in self.summaries.iter_mut().zip(&mut self.chunk).enumerate() {
            curve.val.resize(metrics, Vec::new());
            for epoch in 0..epochs {
                let Some(loss) = report.train_loss[member * epochs + epoch] else {
                    break;
                };
                curve.train_loss.push(loss);
                let mut measured = Metrics::default();
                for (place, (values, metric)) in curve.val.iter_mut().zip(&report.metrics).enumerate() {
                    let value = report.val[(member * metrics + place) * epochs + epoch];
                    values.push(value);
                    value.inspect(|value| measured.set(*metric, *value));
                }
                summarise(summary, loss, measured);
            }
        }
    }

    /// Stores the chunk, and begins the next one.
    async fn store(&mut self, conn: &mut Connection) -> Result<(), StoreError> {
        let chunk = self.chunk.iter_mut().map(std::mem::take);
        let curves = self.summaries.iter().zip(chunk).map(|(summary, curve)| NewCurve {
            fold_id: summary.fold_id,
            first_epoch: summary.epochs - curve.train_loss.len() as u32,
            train_loss: curve.train_loss,
            val: curve.val.concat(),
        });
        let curves: Vec<NewCurve> = curves.filter(|curve| !curve.train_loss.is_empty()).collect();
        if !curves.is_empty() {
            curves::insert(conn, &self.metrics, &self.reports, &curves).await?;
        }
        self.reports.clear();
        Ok(())
    }
}

/// Adds a fold's next epoch to its summary.
fn summarise(summary: &mut FoldSummary, train_loss: f64, metrics: Metrics) {
    let best = summary.metrics.best.get(Metric::ValLoss);
    if let Some(val_loss) = metrics.get(Metric::ValLoss)
        && best.is_none_or(|best| val_loss < best)
    {
        summary.best_epoch = Some(summary.epochs);
    }
    summary.metrics.note(metrics);
    summary.train_loss = Some(train_loss);
    summary.epochs += 1;
}
