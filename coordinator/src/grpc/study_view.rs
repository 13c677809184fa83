//! Converts stored studies, trials and losses to messages.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use prost_types::{Duration, Timestamp};
use trawl_dataset::{Cells, InputColumn, Source};
use trawl_domain::baseline::Baseline;
use trawl_domain::estimate::UNCERTAINTY;
use trawl_domain::metric::{FoldMetrics, Metric, Metrics, TrialValue};
use trawl_domain::seed::FitOwner;
use trawl_domain::state::TrialState;
use trawl_proto::{params_to_struct, v1};

use crate::app::outline::Outline;
use crate::app::read_study::StudyView;
use crate::store::artifacts::ArtifactRecord;
use crate::store::curves::ReportRecord;
use crate::store::folds::FoldRecord;
use crate::store::refits::RefitRecord;
use crate::store::studies::StudyRecord;
use crate::store::trials::TrialRecord;
use crate::store::winners::ImportanceRecord;
use crate::store::workers::WorkerRecord;

pub(super) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// The current state of a study.
pub(super) fn study(view: &StudyView) -> v1::StudySummary {
    let record = &view.record;
    v1::StudySummary {
        study_id: record.study_id.to_string(),
        name: record.name.clone(),
        state: record.state.to_string(),
        error: record.error.clone().unwrap_or_default(),
        pause_reason: record.pause_reason.clone().unwrap_or_default(),
        stop_reason: record.stop_reason.clone().unwrap_or_default(),
        goal: record.goal.to_string(),
        trials_total: record.max_trials,
        trials_running: view.trials_running,
        trials_completed: record.trials_completed,
        trials_pruned: record.trials_pruned,
        trials_failed: record.trials_failed,
        generation: view.generation.map(|(generation, _)| generation),
        generations: view.generation.map_or(0, |(_, generations)| generations),
        epochs_reported: record.epochs_reported,
        epochs_total: view.epochs_total.unwrap_or(0),
        race: view.race.as_ref().map(|(racing, epochs_without)| v1::Race {
            rungs: racing
                .ladder()
                .iter()
                .map(|rung| v1::Rung {
                    folds: rung.folds,
                    share: rung.share,
                })
                .collect(),
            keep: racing.keep(),
            epochs_without: epochs_without.unwrap_or(0),
        }),
        best_trial: view.best.as_ref().map(|best| best.trial),
        best_value: view.best.as_ref().and_then(|best| best.value).map(|value| value.mean),
        created_at: Some(timestamp(record.created_at)),
        finished_at: record.finished_at.map(timestamp),
        refits: view
            .refits
            .iter()
            .map(|(refit, artifacts)| self::refit(refit, artifacts))
            .collect(),
        winner: winner(view),
        importance: view.importance.as_ref().map(importance).unwrap_or_default(),
        baselines: view.baselines.iter().map(baseline).collect(),
    }
}

fn winner(view: &StudyView) -> Option<v1::Winner> {
    let winner = view.winner.as_ref()?;
    let best = view.best.as_ref().filter(|best| best.trial == winner.trial)?;
    let is_of_winner = |refit: &&RefitRecord| refit.trial == winner.trial && refit.state == TrialState::Completed;
    let refit = view.refits.iter().rev().map(|(refit, _)| refit).find(is_of_winner);
    let test = refit.and_then(|refit| refit.test_interval);
    let corrected = winner.corrected;
    Some(v1::Winner {
        trial: winner.trial,
        value: best.value?.mean,
        corrected_value: corrected.map(|corrected| corrected.value),
        corrected_low: corrected.map(|corrected| corrected.interval.low),
        corrected_high: corrected.map(|corrected| corrected.interval.high),
        contenders: corrected.map_or(0, |corrected| corrected.contenders),
        p_better: winner.p_better,
        not_separable_from: winner.not_separable_from.clone(),
        test_loss: refit.and_then(|refit| refit.test_loss),
        test_low: test.map(|interval| interval.low),
        test_high: test.map(|interval| interval.high),
    })
}

fn baseline((baseline, value): &(Baseline, TrialValue)) -> v1::Baseline {
    v1::Baseline {
        baseline: baseline.to_string(),
        value: value.mean,
        value_std: value.std,
    }
}

fn importance(record: &ImportanceRecord) -> Vec<v1::ParameterImportance> {
    let mut shares: Vec<_> = record.importance.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    let message = |(parameter, importance): (&String, &f64)| v1::ParameterImportance {
        parameter: parameter.clone(),
        importance: *importance,
        trials: record.trials,
        rung: record.rung,
    };
    shares.into_iter().map(message).collect()
}

/// The current state of a refit.
pub(super) fn refit(record: &RefitRecord, artifacts: &[ArtifactRecord]) -> v1::RefitSummary {
    v1::RefitSummary {
        refit: record.refit,
        trial: record.trial,
        state: record.state.to_string(),
        error: record.error.clone().unwrap_or_default(),
        epochs: record.epochs,
        params: Some(params_to_struct(&record.params)),
        value: record.value.map(|value| value.mean),
        value_std: record.value.and_then(|value| value.std),
        value_seed_std: record.value.and_then(|value| value.seed_std),
        test_loss: record.test_loss,
        test_accuracy: record.test_accuracy,
        test_low: record.test_interval.map(|interval| interval.low),
        test_high: record.test_interval.map(|interval| interval.high),
        finished_at: record.finished_at.map(timestamp),
        artifacts: artifacts.iter().map(artifact).collect(),
    }
}

/// An artifact without its bytes.
pub(super) fn artifact(record: &ArtifactRecord) -> v1::Artifact {
    let (trial, refit) = match record.owner {
        FitOwner::Trial(trial) => (Some(trial), None),
        FitOwner::Refit(refit) => (None, Some(refit)),
    };
    v1::Artifact {
        kind: record.kind.to_string(),
        name: record.name.clone(),
        bytes: record.bytes,
        sha256: record.sha256.to_string(),
        trial,
        refit,
        created_at: Some(timestamp(record.created_at)),
    }
}

/// A trial, with these folds.
pub(super) fn trial(record: &TrialRecord, folds: &[FoldRecord]) -> v1::Trial {
    let whole = record.worker_seconds.trunc();
    v1::Trial {
        trial: record.trial,
        state: record.state.to_string(),
        value: record.value.map(|value| value.mean),
        value_std: record.value.and_then(|value| value.std),
        value_seed_std: record.value.and_then(|value| value.seed_std),
        params: Some(params_to_struct(&record.params)),
        epochs: record.epochs,
        worker_time: Some(Duration {
            seconds: whole as i64,
            nanos: ((record.worker_seconds - whole) * 1e9) as i32,
        }),
        attempts: record.attempts,
        generation: record.generation,
        chosen: record.chosen,
        twin_of: record.twin_of,
        objectives: record.objectives.clone().into_iter().collect(),
        rung: record.rung.map(|at| at.rung),
        rung_value: record.rung.and_then(|at| at.compared).map(|(value, _)| value),
        rung_trials: record.rung.and_then(|at| at.compared).map(|(_, trials)| trials),
        error: record.error.clone().unwrap_or_default(),
        started_at: record.started_at.map(timestamp),
        finished_at: record.finished_at.map(timestamp),
        folds: folds.iter().map(fold).collect(),
    }
}

fn fold(record: &FoldRecord) -> v1::Fold {
    let FoldMetrics { last, best } = record.metrics;
    v1::Fold {
        fold: record.fold,
        state: record.state.to_string(),
        epochs: record.epochs,
        train_loss: record.train_loss,
        val_loss: last.get(Metric::ValLoss),
        best_epoch: record.best_epoch,
        best_val_loss: best.get(Metric::ValLoss),
        val_accuracy: last.get(Metric::ValAccuracy),
        best_val_accuracy: best.get(Metric::ValAccuracy),
        metrics: by_name(last),
        best_metrics: by_name(best),
    }
}

/// The losses of one epoch.
pub(super) fn epoch_report(record: &ReportRecord) -> v1::EpochReport {
    v1::EpochReport {
        fold: record.fold,
        epoch: record.epoch,
        train_loss: record.train_loss,
        val_loss: record.metrics.get(Metric::ValLoss),
        reported_at: Some(timestamp(record.reported_at)),
        val_accuracy: record.metrics.get(Metric::ValAccuracy),
        metrics: by_name(record.metrics),
    }
}

fn by_name(metrics: Metrics) -> HashMap<String, f64> {
    metrics
        .iter()
        .map(|(metric, value)| (metric.to_string(), value))
        .collect()
}

/// A worker.
pub(super) fn worker(record: &WorkerRecord) -> v1::Worker {
    v1::Worker {
        worker_id: record.worker_id.to_string(),
        host: record.host.clone(),
        device: record.device.clone(),
        state: record.state.clone(),
        jobs: record.jobs,
        slots: record.slots,
        last_seen_at: Some(timestamp(record.last_seen_at)),
    }
}

/// The data of a study, which was submitted as this one.
pub(super) fn data(record: &StudyRecord, spec: &v1::Study) -> v1::DataSummary {
    let source = trawl_proto::study::source(spec);
    let mut files: Vec<v1::DataFile> = Vec::new();
    for (file, sha256) in source.iter().flat_map(Source::files).zip(record.files()) {
        // One field may name the files of several parts.
        if files.iter().all(|named| named.field != file.field) {
            files.push(v1::DataFile {
                field: file.field.clone(),
                name: record.file_names.get(&file.field).cloned().unwrap_or_default(),
                sha256: sha256.to_string(),
            });
        }
    }
    v1::DataSummary {
        files,
        train_rows: record.shape.train_rows,
        input: record.shape.sample.dims(),
    }
}

/// The outline of a study on the wire.
pub(super) fn outline(outline: &Outline) -> v1::StudyOutline {
    let column = |(column, missing): &(InputColumn, u32)| v1::ColumnOutline {
        name: column.name.clone(),
        kind: match column.cells {
            Cells::Number { .. } => "number",
            Cells::Boolean { .. } => "boolean",
            Cells::Date { .. } => "date",
            Cells::Words { .. } => "words",
        }
        .to_owned(),
        missing: *missing,
        inputs: column.len() as u32,
        preparation: column.preparation(),
    };
    v1::StudyOutline {
        columns: outline.columns.iter().map(column).collect(),
        train_rows: outline.train_rows,
        classes: outline
            .classes
            .iter()
            .map(|(name, rows)| v1::ClassOutline {
                name: name.clone(),
                rows: *rows,
            })
            .collect(),
        folds: outline
            .folds
            .iter()
            .map(|(size, folds)| v1::FoldOutline {
                folds: *folds,
                train_rows: size.train,
                validation_rows: size.validate,
            })
            .collect(),
        input: outline.input.dims(),
        layers: outline
            .layers
            .iter()
            .map(|layer| v1::LayerOutline {
                name: layer.name.clone(),
                text: layer.text.clone(),
                output: layer.output.dims(),
                weights: layer.weights,
            })
            .collect(),
        first_jobs: outline.first_jobs,
        first_trials: outline.first_trials,
        fold_epochs: outline.fold_epochs,
        core_seconds_low: outline.core_seconds.map(|seconds| seconds / UNCERTAINTY),
        core_seconds_high: outline.core_seconds.map(|seconds| seconds * UNCERTAINTY),
        slots: outline.slots,
    }
}
