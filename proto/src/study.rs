//! A submitted study as a draft for the domain to check. Nothing is judged here: every rule lives in one place.

use prost_types::Value;
use prost_types::value::Kind as ValueKind;
use trawl_domain::study_draft::{
    ColumnsDraft, CsvDraft, DatasetDraft, DistributionDraft, IdxDraft, NpyDraft, NpzDraft, ObjectiveDraft, RangeDraft,
    RefitDraft, StudyDraft, TrainingDraft, ValidationDraft,
};

use crate::params::raw_value;
use crate::settings::{layer_draft, settings};
use crate::v1;

/// The study as it was written down.
pub fn study_draft(study: v1::Study) -> StudyDraft {
    let objective = study.objective.unwrap_or_default();
    let dataset = study.dataset.unwrap_or_default();
    StudyDraft {
        name: study.name,
        seed: study.seed,
        test_is_train: dataset.test_is_train,
        dataset: dataset.kind.map(self::dataset),
        model: study.model.iter().map(layer_draft).collect(),
        training: study.training.map(|training| TrainingDraft {
            settings: settings(&training),
            loss: training.loss,
        }),
        validation: study
            .validation
            .and_then(|validation| validation.kind)
            .map(|kind| match kind {
                v1::validation::Kind::KFold(k) => ValidationDraft::KFold(k),
                v1::validation::Kind::Holdout(share) => ValidationDraft::Holdout(share),
            }),
        objective: ObjectiveDraft {
            metric: objective.metric,
            goal: objective.goal,
            at: objective.at,
        },
        space: study
            .space
            .into_iter()
            .map(|(name, d)| (name, d.kind.map(distribution)))
            .collect(),
        max_trials: study.max_trials,
        refit: study.refit.map(|refit| RefitDraft {
            epochs: refit.epochs,
            set: refit
                .set
                .into_iter()
                .map(|(name, value)| (name, raw_value(value)))
                .collect(),
            inputs: refit
                .inputs
                .into_iter()
                .map(|row| row.values.into_iter().map(raw_value).collect())
                .collect(),
        }),
    }
}

fn dataset(kind: v1::dataset::Kind) -> DatasetDraft {
    use v1::dataset::Kind;
    match kind {
        Kind::Csv(csv) => DatasetDraft::Csv(CsvDraft {
            train: csv.train,
            test: csv.test,
            features: csv.features.map(columns),
            target: csv.target.map(raw_value),
            header: csv.header,
        }),
        Kind::Idx(idx) => DatasetDraft::Idx(IdxDraft {
            train_images: idx.train_images,
            train_labels: idx.train_labels,
            test_images: idx.test_images,
            test_labels: idx.test_labels,
            layout: idx.layout,
        }),
        Kind::FashionMnist(_) => DatasetDraft::FashionMnist,
        Kind::Npy(npy) => DatasetDraft::Npy(NpyDraft {
            train_features: npy.train_features,
            train_targets: npy.train_targets,
            test_features: npy.test_features,
            test_targets: npy.test_targets,
            layout: npy.layout,
        }),
        Kind::Npz(npz) => DatasetDraft::Npz(NpzDraft {
            train: npz.train,
            test: npz.test,
            features: npz.features,
            target: npz.target,
            test_features: npz.test_features,
            test_target: npz.test_target,
            layout: npz.layout,
        }),
    }
}

fn columns(value: Value) -> ColumnsDraft {
    match value.kind {
        Some(ValueKind::ListValue(list)) => ColumnsDraft::List(list.values.into_iter().map(raw_value).collect()),
        _ => ColumnsDraft::Other(raw_value(value)),
    }
}

fn distribution(kind: v1::distribution::Kind) -> DistributionDraft {
    use v1::distribution::Kind;
    match kind {
        Kind::Choice(values) => DistributionDraft::Choice(values.values.into_iter().map(raw_value).collect()),
        Kind::Uniform(range) => DistributionDraft::Uniform(RangeDraft {
            low: range.low,
            high: range.high,
        }),
        Kind::LogUniform(range) => DistributionDraft::LogUniform(RangeDraft {
            low: range.low,
            high: range.high,
        }),
        Kind::IntUniform(range) => DistributionDraft::IntUniform(
            RangeDraft {
                low: range.low,
                high: range.high,
            },
            range.step,
        ),
        Kind::IntLogUniform(range) => DistributionDraft::IntLogUniform(RangeDraft {
            low: range.low,
            high: range.high,
        }),
    }
}
