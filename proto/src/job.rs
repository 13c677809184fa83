//! Jobs on their way from the coordinator to a worker. The worker checks each job, because the two may be of different
//! versions.

mod csv;
mod split;

use trawl_dataset::{ArrayNames, ArrayRules, Arrays, FileHash, Format, Layout, Part, SampleShape, Scale, TargetKind};
use trawl_domain::artifact::Ranking;
use trawl_domain::job::{Job, JobMember};
use trawl_domain::limits::{FOLDS_MAX, JOB_MEMBERS_MAX};
use trawl_domain::loss::Loss;
use trawl_domain::metric::{Metric, Objective};
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::Hyperparameters;
use trawl_domain::seed::{FitOwner, Seed};
use trawl_domain::violation::{Violation, Violations};

use crate::class_weights;
use crate::layers::{layers_from_wire, layers_to_wire};
use crate::v1;

impl From<&Job> for v1::Job {
    fn from(job: &Job) -> Self {
        Self {
            study: job.study.clone(),
            seed: job.seed.0,
            dataset: Some(v1::JobDataset {
                train: Some(part_to_wire(job.train)),
                validation: job.validation.map(part_to_wire),
                test: job.test.map(part_to_wire),
                layout: layout_of(&job.format).map_or_else(String::new, |layout| layout.to_string()),
                array_prepare: array_scale_of(&job.format).map_or_else(String::new, |scale| scale.to_string()),
                format: Some(format_to_wire(&job.format)),
            }),
            engine: job.engine.to_string(),
            metrics: job.metrics.iter().map(Metric::to_string).collect(),
            f1_class: job.f1_class.clone().unwrap_or_default(),
            layers: layers_to_wire(&job.architecture.layers),
            loss: job.architecture.loss.to_string(),
            batch_size: job.architecture.batch_size,
            epochs: job.architecture.epochs,
            first_epoch: job.epochs.start,
            end_epoch: job.epochs.end,
            split: Some(split::to_wire(job.split)),
            members: job.members.iter().map(member_to_wire).collect(),
            input_shape: job.architecture.input.dims(),
            input_words: job.architecture.input.words(),
            inputs: job
                .inputs
                .iter()
                .map(|values| v1::JobInput { values: values.clone() })
                .collect(),
            ranking: job.ranking.map(|ranking| v1::JobRanking {
                metric: ranking.objective.metric.to_string(),
                goal: ranking.objective.goal.to_string(),
                at: ranking.objective.at.to_string(),
                folds: ranking.folds,
                third_best: ranking.third_best,
            }),
            row_losses: job.row_losses.map_or_else(String::new, |metric| metric.to_string()),
            class_weights: job.class_weights.as_ref().map(class_weights::write),
            calibrate_folds: job.calibrate_folds.unwrap_or_default(),
            ensemble_folds: job.ensemble_folds.unwrap_or_default(),
        }
    }
}

fn part_to_wire(part: Part<FileHash>) -> v1::JobDatasetPart {
    v1::JobDatasetPart {
        features_sha256: part.features.to_string(),
        targets_sha256: part.targets.map_or_else(String::new, |hash| hash.to_string()),
    }
}

fn layout_of(format: &Format) -> Option<Layout> {
    match format {
        Format::Idx(rules) | Format::Npy(rules) | Format::Npz(_, rules) => rules.layout,
        Format::Csv(_) | Format::FashionMnist(_) | Format::Pictures(..) => None,
    }
}

fn array_scale_of(format: &Format) -> Option<Scale> {
    match format {
        Format::Csv(_) => None,
        Format::Idx(rules) | Format::Npy(rules) | Format::Npz(_, rules) => Some(rules.scale),
        Format::FashionMnist(scale) | Format::Pictures(_, scale) => Some(*scale),
    }
}

fn format_to_wire(format: &Format) -> v1::job_dataset::Format {
    use v1::job_dataset::Format as Wire;
    let or_empty = |target: &Option<String>| target.clone().unwrap_or_default();
    match format {
        Format::Csv(columns) => Wire::Csv(csv::to_wire(columns)),
        Format::Idx(_) => Wire::Idx(true),
        Format::FashionMnist(_) => Wire::FashionMnist(true),
        Format::Pictures(classes, _) => Wire::Pictures(v1::JobPictures {
            classes: classes.clone(),
        }),
        Format::Npy(_) => Wire::Npy(true),
        Format::Npz(arrays, _) => Wire::Npz(v1::JobNpz {
            features: arrays.train.features.clone(),
            target: or_empty(&arrays.train.target),
            test_features: arrays.test.features.clone(),
            test_target: or_empty(&arrays.test.target),
            validation_features: arrays.validation.features.clone(),
            validation_target: or_empty(&arrays.validation.target),
        }),
    }
}

fn member_to_wire(member: &JobMember) -> v1::JobMember {
    use v1::job_member_owner::Kind;
    let owner = match member.owner {
        FitOwner::Trial(trial) => Kind::Trial(trial),
        FitOwner::Refit(refit) => Kind::Refit(refit),
    };
    let hyperparameters = &member.hyperparameters;
    v1::JobMember {
        owner: Some(v1::JobMemberOwner { kind: Some(owner) }),
        fold: member.fold,
        optimizer: hyperparameters.optimizer.to_string(),
        hyperparameters: hyperparameters
            .settings()
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        dropout: hyperparameters.dropout.clone(),
        schedule: hyperparameters.schedule.to_string(),
        stops_by: hyperparameters
            .early_stopping
            .map_or_else(String::new, |stopping| stopping.metric.to_string()),
    }
}

impl TryFrom<v1::Job> for Job {
    type Error = Violations;

    fn try_from(job: v1::Job) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let v = &mut violations;
        note_wrong_numbers(&job, v);
        let dataset = job.dataset.unwrap_or_default();
        let layout = optional("dataset.layout", &dataset.layout, v);
        let scale = optional("dataset.array_prepare", &dataset.array_prepare, v);
        let rules = layout.zip(scale).map(|(layout, scale)| ArrayRules {
            layout,
            scale: scale.unwrap_or(Scale::None),
        });
        let format = rules.and_then(|rules| format(dataset.format, rules, v));
        let train = part("dataset.train", &dataset.train.unwrap_or_default(), v);
        let in_pairs = matches!(format, Some(Format::Idx(_) | Format::FashionMnist(_) | Format::Npy(_)));
        if in_pairs && train.is_some_and(|train| train.targets.is_none()) {
            v.add(
                "dataset.train.targets_sha256",
                "is missing: what is learned from has targets",
            );
        }
        let mut further = |field: &str, named: &Option<v1::JobDatasetPart>| match named {
            None => Some(None),
            Some(named) => part(field, named, v).map(Some),
        };
        let validation = further("dataset.validation", &dataset.validation);
        let test = further("dataset.test", &dataset.test);
        let engine = parse("engine", &job.engine, v);
        let named = job.metrics.iter().enumerate();
        let metrics: Option<Vec<Metric>> = named
            .map(|(index, metric)| parse(&format!("metrics[{index}]"), metric, v))
            .collect();
        let row_losses = optional("row_losses", &job.row_losses, v);
        let class_weights = class_weights::read("class_weights", job.class_weights.as_ref(), v);
        let input = SampleShape::from_dims(&job.input_shape);
        if input.is_none() {
            v.add("input_shape", "must be one or three sizes above 0");
        }
        let input = input.and_then(|input| {
            let words = input.with_words(&job.input_words);
            if words.is_none() {
                v.add("input_words", "must be columns and features of a table, or empty");
            }
            words
        });
        let layers = noted(layers_from_wire(&job.layers), v);
        let loss: Option<Loss> = parse("loss", &job.loss, v);
        let split = split::from_wire(job.split.as_ref(), v);
        if job.members.is_empty() || job.members.len() > JOB_MEMBERS_MAX {
            v.add("members", format!("must be 1 to {JOB_MEMBERS_MAX}"));
        }
        let ranking = match &job.ranking {
            None => Some(None),
            Some(ranking) => self::ranking(ranking, v).map(Some),
        };
        let members: Option<Vec<JobMember>> = job
            .members
            .into_iter()
            .enumerate()
            .map(|(index, m)| member(index, m, v))
            .collect();
        let architecture = (|| {
            Some(Architecture {
                input: input?,
                layers: layers?,
                loss: loss?,
                batch_size: job.batch_size,
                epochs: job.epochs,
            })
        })();
        if let (Some(metrics), Some(loss)) = (&metrics, loss) {
            let is_weighted = matches!(class_weights, Some(Some(_)));
            note_wrong_metrics(metrics, row_losses.flatten(), loss, is_weighted, v);
        }
        if let Some(architecture) = &architecture {
            noted(architecture.output(), v);
            note_wrong_dropouts(architecture, members.as_deref().unwrap_or_default(), v);
        }
        let converted = (|| {
            Some(Self {
                study: job.study,
                seed: Seed(job.seed),
                format: format?,
                train: train?,
                validation: validation?,
                test: test?,
                engine: engine?,
                metrics: metrics?,
                f1_class: Some(job.f1_class).filter(|class| !class.is_empty()),
                architecture: architecture?,
                epochs: job.first_epoch..job.end_epoch,
                split: split?,
                members: members?,
                inputs: job.inputs.into_iter().map(|input| input.values).collect(),
                ranking: ranking?,
                class_weights: class_weights?,
                calibrate_folds: Some(job.calibrate_folds).filter(|folds| *folds > 0),
                ensemble_folds: Some(job.ensemble_folds).filter(|folds| *folds > 0),
                row_losses: row_losses?,
            })
        })();
        violations.into_result(converted)
    }
}

/// A word that may be left out.
fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    word: &str,
    v: &mut Violations,
) -> Option<Option<T>> {
    match word {
        "" => Some(None),
        word => parse(field, word, v).map(Some),
    }
}

fn note_wrong_numbers(job: &v1::Job, v: &mut Violations) {
    for (field, value) in [("batch_size", job.batch_size), ("epochs", job.epochs)] {
        if value == 0 {
            v.add(field, "must be at least 1");
        }
    }
    let keeps_folds = job.ensemble_folds > 0 && job.first_epoch == job.end_epoch;
    if (job.first_epoch >= job.end_epoch && !keeps_folds) || job.end_epoch > job.epochs {
        v.add("end_epoch", "must be after first_epoch, and at most epochs");
    }
    for (field, folds) in [
        ("calibrate_folds", job.calibrate_folds),
        ("ensemble_folds", job.ensemble_folds),
    ] {
        if folds > FOLDS_MAX {
            v.add(field, format!("must be at most {FOLDS_MAX}"));
        }
    }
}

fn note_wrong_metrics(
    metrics: &[Metric],
    row_losses: Option<Metric>,
    loss: Loss,
    is_weighted: bool,
    v: &mut Violations,
) {
    let kind = loss.target_kind();
    if !metrics.contains(&Metric::ValLoss) || !metrics.iter().all(|metric| metric.is_for(kind)) {
        v.add("metrics", "must be val_loss, and what else there is of such targets");
    }
    if is_weighted && kind != TargetKind::Class {
        v.add("class_weights", "must be left out: the loss is not of classes");
    }
    let is_of_rows = |metric: Metric| metric.is_mean_of_rows() && metric.is_for(kind);
    let is_one = |metric: Metric| is_of_rows(metric) && !(is_weighted && metric.is_loss());
    if !row_losses.is_none_or(is_one) {
        v.add("row_losses", "must be of a metric that each row of such targets has");
    }
}

fn note_wrong_dropouts(architecture: &Architecture, members: &[JobMember], v: &mut Violations) {
    let dropouts = architecture.dropout_layers();
    for (index, member) in members.iter().enumerate() {
        if member.hyperparameters.dropout.len() != dropouts {
            v.add(
                format!("members[{index}].dropout"),
                format!("must have one value for each of the {dropouts} dropout layers"),
            );
        }
    }
}

fn part(field: &str, part: &v1::JobDatasetPart, v: &mut Violations) -> Option<Part<FileHash>> {
    let features = parse(&format!("{field}.features_sha256"), &part.features_sha256, v);
    let targets = match part.targets_sha256.as_str() {
        "" => Some(None),
        hash => parse(&format!("{field}.targets_sha256"), hash, v).map(Some),
    };
    Some(Part {
        features: features?,
        targets: targets?,
    })
}

fn format(format: Option<v1::job_dataset::Format>, rules: ArrayRules, v: &mut Violations) -> Option<Format> {
    use v1::job_dataset::Format as Wire;
    Some(match format {
        Some(Wire::Csv(csv)) => Format::Csv(csv::from_wire(csv, v)?),
        Some(Wire::Idx(_)) => Format::Idx(rules),
        Some(Wire::FashionMnist(_)) => Format::FashionMnist(rules.scale),
        Some(Wire::Pictures(pictures)) => Format::Pictures(pictures.classes, rules.scale),
        Some(Wire::Npy(_)) => Format::Npy(rules),
        Some(Wire::Npz(npz)) => {
            if npz.target.is_empty() {
                v.add("dataset.npz.target", "is missing: what is learned from has targets");
            }
            let names = |features, target: String| ArrayNames {
                features,
                target: (!target.is_empty()).then_some(target),
            };
            let arrays = Arrays {
                train: names(npz.features, npz.target),
                validation: names(npz.validation_features, npz.validation_target),
                test: names(npz.test_features, npz.test_target),
            };
            Format::Npz(arrays, rules)
        }
        None => {
            v.add("dataset.format", "is of no known kind");
            return None;
        }
    })
}

fn ranking(ranking: &v1::JobRanking, v: &mut Violations) -> Option<Ranking> {
    let metric = parse("ranking.metric", &ranking.metric, v);
    let goal = parse("ranking.goal", &ranking.goal, v);
    let at = parse("ranking.at", &ranking.at, v);
    if !(1..=FOLDS_MAX).contains(&ranking.folds) {
        v.add("ranking.folds", format!("must be 1 to {FOLDS_MAX}"));
    }
    Some(Ranking {
        objective: Objective {
            metric: metric?,
            goal: goal?,
            at: at?,
        },
        folds: ranking.folds,
        third_best: ranking.third_best,
    })
}

fn member(index: usize, member: v1::JobMember, v: &mut Violations) -> Option<JobMember> {
    use v1::job_member_owner::Kind;
    let field = |name: &str| format!("members[{index}].{name}");
    let owner = match member.owner.and_then(|owner| owner.kind) {
        Some(Kind::Trial(trial)) => Some(FitOwner::Trial(trial)),
        Some(Kind::Refit(refit)) => Some(FitOwner::Refit(refit)),
        None => {
            v.add(field("owner"), "is of no known kind");
            None
        }
    };
    let optimizer = parse(&field("optimizer"), &member.optimizer, v);
    let schedule = parse(&field("schedule"), &member.schedule, v);
    let stops_by = optional(&field("stops_by"), &member.stops_by, v);
    // A patience of 0 means no early stopping.
    let words = (optimizer?, schedule?, stops_by?.unwrap_or(Metric::ValLoss));
    let hyperparameters = Hyperparameters::read(words, member.dropout, |rule| {
        let value = member.hyperparameters.get(rule.name).copied();
        value.ok_or_else(|| Violation {
            field: format!("members[{index}].hyperparameters.{}", rule.name),
            description: "is missing".to_owned(),
        })
    });
    Some(JobMember {
        owner: owner?,
        fold: member.fold,
        hyperparameters: noted(hyperparameters, v)?,
    })
}

/// The value that was read; notes a broken rule.
fn noted<T>(read: Result<T, Violation>, v: &mut Violations) -> Option<T> {
    read.map_err(|violation| v.add(violation.field, violation.description))
        .ok()
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str, v: &mut Violations) -> Option<T> {
    text.parse()
        .map_err(|error: T::Err| v.add(field, error.to_string()))
        .ok()
}
