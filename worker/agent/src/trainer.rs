//! Training by an engine, on a thread of its own.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use trawl_domain::baseline::Baseline;
use trawl_domain::engine::EngineName;
use trawl_domain::fold::Split;
use trawl_domain::job::Job;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::ROW_LOSSES_MAX;
use trawl_domain::metric::FoldMetrics;
use trawl_engine::analysis::{AnalysisInput, Artifact, HeldOut, SkippedArtifact, analyse};
use trawl_engine::ensemble::Ensemble;
use trawl_engine::weights::{folds_to_safetensors, from_safetensors};
use trawl_engine::{
    Control, Engine, EngineError, Event, FitJob, Fitted, Networks, Outcome, Table, TestMetrics, checkpoint,
};

use super::checkpoints::Starts;
use super::connection::Connection;
use super::dataset::{DatasetError, Datasets, PARTS_BYTES_MAX};
use super::file_cache::FileCache;
use super::job_error::JobError;
use super::progress::Progress;
use super::thread::on_thread;
use super::training::{Listener, Trained, Training};
use super::trial_files;

/// The only member of a refit's fit on all training rows.
const MEMBER: usize = 0;

/// Trains with an engine.
#[derive(Debug)]
pub struct Trainer<E: Engine> {
    engine: Arc<E>,
    datasets: Datasets<E>,
    progress_limit: Duration,
}

impl<E: Engine> Trainer<E> {
    /// Dataset files are cached in `files`. A training hangs if it makes no step for `progress_limit`.
    pub fn new(engine: E, files: FileCache, progress_limit: Duration) -> Self {
        let engine = Arc::new(engine);
        Self {
            datasets: Datasets::new(Arc::clone(&engine), files, PARTS_BYTES_MAX),
            engine,
            progress_limit,
        }
    }
}

/// A job with its tables.
#[derive(Debug)]
pub struct Ready<T> {
    engine: EngineName,
    job: FitJob<T>,
    /// Input of the analysis, after a refit's fit on all training rows.
    subject: Option<AnalysisInput<T>>,
    held_out: Option<(HeldOut<T>, Vec<u32>)>,
    /// Weights of the networks that are kept, and the split whose folds trained them.
    kept: Option<(Vec<Vec<u8>>, Split)>,
}

impl<E: Engine> Training for Trainer<E> {
    type Ready = Ready<E::Table>;
    type Trained = TrainedJob<E>;

    fn progress_limit(&self) -> Duration {
        self.progress_limit
    }

    async fn prepare(
        &self,
        connection: &Connection,
        lease: LeaseClaim,
        job: &Job,
    ) -> Result<Ready<E::Table>, DatasetError> {
        let (data, test) = self.datasets.load(connection, job).await?;
        let files = match job.calibrate_folds {
            Some(folds) => Some(trial_files::held_out(connection, lease, folds).await?),
            None => None,
        };
        let kept = match job.ensemble_folds {
            Some(folds) => Some(trial_files::weights(connection, lease, folds).await?),
            None => None,
        };
        let subject = (job.split == Split::All || kept.is_some()).then(|| AnalysisInput {
            dropout: job.members[MEMBER].hyperparameters.dropout.clone(),
            format: job.format.clone(),
            train: data.clone(),
            test: test.clone(),
            inputs: job.inputs.clone(),
            held_out: files,
        });
        let held_out = job.ranking.map(|_| {
            let held_out = HeldOut {
                data: data.clone(),
                format: job.format.clone(),
                split: job.split,
                seed: job.seed,
            };
            (held_out, job.members.iter().map(|member| member.fold).collect())
        });
        let (engine, split) = (job.engine, job.split);
        // The coordinator asks for no more losses of validation rows than this.
        let are_few = test.as_ref().is_none_or(|test| test.rows() <= ROW_LOSSES_MAX);
        let job = FitJob {
            seed: job.seed,
            architecture: job.architecture.clone(),
            // Kept networks used the split of their trial, but are measured like a network that trained on all rows.
            split: if kept.is_some() { Split::All } else { job.split },
            members: job.members.clone(),
            end_epoch: job.epochs.end,
            metrics: job.metrics.clone(),
            f1_class: job.f1_class.clone(),
            class_weights: job.class_weights.clone(),
            row_losses: job.row_losses.filter(|_| are_few),
            data,
            test,
        };
        Ok(Ready {
            engine,
            job,
            subject,
            held_out,
            kept: kept.map(|files| (files, split)),
        })
    }

    /// Training computes, and waits while its reports pile up.
    async fn train(
        &self,
        ready: Ready<E::Table>,
        starts: Starts,
        listener: Listener,
        control: Control,
    ) -> Result<Option<TrainedJob<E>>, JobError> {
        let Ready {
            engine,
            job,
            subject,
            held_out,
            kept,
        } = ready;
        if engine != E::NAME {
            let reason = format!("it is for the engine {engine}, and this worker has {}", E::NAME);
            return Err(EngineError::BadJob(reason).into());
        }
        if job.members.len() > 1 {
            let how = match self.engine.is_fused(&job.architecture) {
                true => "as one stack",
                false => "one after the other",
            };
            debug!(
                job.id = %listener.lease().job_id,
                job.members = job.members.len(),
                step.multiplications = job.architecture.step_work(),
                "members of a job train {how}"
            );
        }
        let progress = Progress::of(control.clone());
        if let Some((files, split)) = kept {
            let engine = Arc::clone(&self.engine);
            let keep = move || keep(&*engine, &job, split, &files, &control);
            let (fitted, more) = on_thread(self.progress_limit, progress, keep).await??;
            return Ok(Some(TrainedJob {
                fitted,
                more,
                subject,
                held_out: None,
            }));
        }
        let (engine, shown) = (Arc::clone(&self.engine), progress.clone());
        let training = move || {
            let emit = &mut |event: Event<'_>| shown.wait(|| listener.hear_blocking(event));
            for files in [starts.newest.as_slice(), &starts.before]
                .into_iter()
                .filter(|files| !files.is_empty())
            {
                let from: Result<Vec<_>, _> = files.iter().map(|file| checkpoint::read(file)).collect();
                match from.and_then(|from| engine.fit(&job, &from.concat(), emit, &control)) {
                    // The checkpoints are intact, but of another version or for another kind of device.
                    Err(error @ EngineError::BadCheckpoint(_)) => {
                        warn!(job.id = %listener.lease().job_id, error = %error, "job begins anew");
                    }
                    ended => return ended,
                }
            }
            let ended = engine.fit(&job, &[], emit, &control);
            if ended.is_ok() {
                shown.wait(|| listener.end_blocking());
            }
            ended
        };
        match on_thread(self.progress_limit, progress, training).await?? {
            Outcome::Finished(fitted) => Ok(Some(TrainedJob {
                fitted,
                more: Vec::new(),
                subject,
                held_out,
            })),
            Outcome::Paused => Ok(None),
            Outcome::Interrupted => Err(JobError::Interrupted),
        }
    }

    async fn baselines(
        &self,
        connection: &Connection,
        lease: LeaseClaim,
        job: &Job,
        control: Control,
    ) -> Result<Vec<(Baseline, Vec<f64>)>, JobError> {
        let Some(ranking) = job.ranking else {
            return Ok(Vec::new());
        };
        // A study does well without baselines: only a lost device, or a training thread that hangs, fails the job.
        let cannot = |error: &dyn Display| {
            warn!(job.id = %lease.job_id, study.name = job.study, error = %error, "baselines cannot be measured");
            Ok(Vec::new())
        };
        // The training has left the tables in memory.
        let ready = match self.prepare(connection, lease, job).await {
            Ok(ready) => ready,
            Err(error) => return cannot(&error),
        };
        let (engine, of_thread) = (Arc::clone(&self.engine), control.clone());
        let measure = move || engine.baselines(&ready.job, &of_thread);
        let measured = on_thread(self.progress_limit, Progress::of(control.clone()), measure).await?;
        if control.must_end() {
            return Err(JobError::Interrupted);
        }
        let found = match measured {
            Err(error @ EngineError::DeviceLost(_)) => return Err(error.into()),
            Err(error) => return cannot(&error),
            Ok(found) => found,
        };
        let value = |folds: &[FoldMetrics]| -> Option<Vec<f64>> {
            folds.iter().map(|fold| ranking.objective.of_fold(*fold)).collect()
        };
        let found = found.into_iter();
        Ok(found
            .filter_map(|(baseline, folds)| Some((baseline, value(&folds)?)))
            .collect())
    }
}

/// The first of several networks with its results, and the other networks.
type Kept<N> = (Fitted<N>, Vec<N>);

/// The networks of folds, from their weights, and their test metrics as an ensemble; trains nothing.
fn keep<E: Engine>(
    engine: &E,
    job: &FitJob<E::Table>,
    split: Split,
    files: &[Vec<u8>],
    control: &Control,
) -> Result<Kept<E::Networks>, JobError> {
    if files.is_empty() {
        return Err(EngineError::BadJob("it has no folds".to_owned()).into());
    }
    let mut networks = Vec::with_capacity(files.len());
    for (fold, file) in (0..).zip(files) {
        if control.must_end() {
            return Err(JobError::Interrupted);
        }
        let parameters = from_safetensors(&job.architecture, file)
            .map_err(|error| EngineError::BadJob(format!("the weights of fold {fold}: {error}")))?;
        let fitted = job.data.fitted_on(split, job.seed, fold)?;
        networks.push(engine.network(job.architecture.clone(), parameters, fitted.as_ref())?);
    }
    let measured = match &job.test {
        Some(test) if test.is_labelled() => {
            let ensemble = Ensemble::new(networks.iter().collect())?;
            engine.measure(job, &outputs(&ensemble, test, networks[0].rows_at_once(), control)?)?
        }
        Some(_) | None => None,
    };
    let more = networks.split_off(1);
    let first = networks.swap_remove(0);
    let (test, row_losses) = measured.unzip();
    let fitted = Fitted {
        alive: vec![true],
        metrics: vec![None],
        test: vec![test],
        row_losses: vec![row_losses.unwrap_or_default()],
        networks: first,
    };
    Ok((fitted, more))
}

/// Outputs of an ensemble for all rows of a table.
fn outputs<N: Networks>(
    ensemble: &Ensemble<'_, N>,
    table: &N::Table,
    rows_at_once: u32,
    control: &Control,
) -> Result<Vec<f32>, JobError> {
    let mut outputs = Vec::new();
    let rows: Vec<u32> = (0..table.rows()).collect();
    for rows in rows.chunks(rows_at_once.max(1) as usize) {
        if control.must_end() {
            return Err(JobError::Interrupted);
        }
        outputs.extend(ensemble.outputs(table, rows)?);
    }
    Ok(outputs)
}

/// A trained job.
#[derive(Debug)]
pub struct TrainedJob<E: Engine> {
    fitted: Fitted<E::Networks>,
    /// Further networks of an ensemble with the first.
    more: Vec<E::Networks>,
    subject: Option<AnalysisInput<E::Table>>,
    /// For a job of a search: its rows, and the fold of each member.
    held_out: Option<(HeldOut<E::Table>, Vec<u32>)>,
}

impl<E: Engine> Trained for TrainedJob<E> {
    fn test(&self) -> Option<TestMetrics> {
        self.fitted.test[MEMBER]
    }

    fn metrics(&self) -> &[Option<FoldMetrics>] {
        &self.fitted.metrics
    }

    fn row_losses(&self) -> &[Vec<f32>] {
        &self.fitted.row_losses
    }

    fn weights(&self, member: usize) -> Result<Vec<u8>, EngineError> {
        if self.more.is_empty() {
            return self.fitted.networks.weights(member);
        }
        let all = std::iter::once(&self.fitted.networks).chain(&self.more);
        let parameters = all
            .map(|network| network.parameters(member))
            .collect::<Result<_, _>>()?;
        folds_to_safetensors(self.fitted.networks.architecture(), parameters)
    }

    fn leaves_held_out(&self) -> bool {
        self.held_out.is_some()
    }

    fn held_out(&self, member: usize, control: &Control) -> Result<Vec<u8>, SkippedArtifact> {
        match &self.held_out {
            Some((held_out, folds)) => held_out.predictions(&self.fitted.networks, member, folds[member], control),
            None => Ok(Vec::new()),
        }
    }

    fn leaves_artifacts(&self) -> bool {
        let Some(subject) = &self.subject else { return false };
        let is_measured = subject.test.as_ref().is_some_and(E::Table::is_labelled);
        match self.test() {
            Some(test) => test.loss.is_finite(),
            None => !is_measured && self.fitted.alive[MEMBER],
        }
    }

    fn analyse(&self, control: &Control, emit: &mut dyn FnMut(Artifact) -> bool) -> Result<(), SkippedArtifact> {
        match &self.subject {
            Some(subject) => {
                let all = std::iter::once(&self.fitted.networks).chain(&self.more);
                analyse(&Ensemble::new(all.collect())?, subject, control, emit)
            }
            None => Ok(()),
        }
    }
}
