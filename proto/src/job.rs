//! Jobs on their way from the coordinator to a worker. The worker checks what it is sent: the two may be of different
//! versions.

use trawl_domain::dataset::Columns;
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::{Job, JobMember};
use trawl_domain::limits::{FOLDS_MAX, JOB_MEMBERS_MAX};
use trawl_domain::network::{Architecture, Hyperparameters, Layer};
use trawl_domain::seed::{Owner, Seed};
use trawl_domain::violation::Violations;

use crate::v1;

impl From<&Job> for v1::Job {
    fn from(job: &Job) -> Self {
        use v1::job_layer::Kind;
        let layer = |layer: &Layer| v1::JobLayer {
            kind: Some(match layer {
                Layer::Linear { units } => Kind::LinearUnits(*units),
                Layer::Activation(activation) => Kind::Activation(activation.to_string()),
                Layer::Dropout => Kind::Dropout(true),
            }),
        };
        Self {
            study: job.study.clone(),
            seed: job.seed.0,
            dataset: Some(v1::JobDataset {
                train_sha256: job.train_file.to_string(),
                test_sha256: job.test_file.map_or_else(String::new, |hash| hash.to_string()),
                features: job.columns.features.clone(),
                target: job.columns.target.clone(),
            }),
            layers: job.architecture.layers.iter().map(layer).collect(),
            loss: job.architecture.loss.to_string(),
            batch_size: job.architecture.batch_size,
            epochs: job.architecture.epochs,
            split: Some(split_to_wire(job.split)),
            members: job.members.iter().map(member_to_wire).collect(),
        }
    }
}

fn split_to_wire(split: Split) -> v1::JobSplit {
    use v1::job_split::Kind;
    v1::JobSplit {
        kind: Some(match split {
            Split::Validation(Validation::KFold(k)) => Kind::KFold(k),
            Split::Validation(Validation::Holdout(share)) => Kind::Holdout(share),
            Split::All => Kind::All(true),
        }),
    }
}

fn member_to_wire(member: &JobMember) -> v1::JobMember {
    use v1::job_member_owner::Kind;
    let owner = match member.owner {
        Owner::Trial(trial) => Kind::Trial(trial),
        Owner::Refit(refit) => Kind::Refit(refit),
    };
    let hyperparameters = &member.hyperparameters;
    v1::JobMember {
        owner: Some(v1::JobMemberOwner { kind: Some(owner) }),
        fold: member.fold,
        optimizer: hyperparameters.optimizer.to_string(),
        learning_rate: hyperparameters.learning_rate,
        l2: hyperparameters.l2,
        momentum: hyperparameters.momentum,
        dropout: hyperparameters.dropout.clone(),
    }
}

impl TryFrom<v1::Job> for Job {
    type Error = Violations;

    fn try_from(job: v1::Job) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let v = &mut violations;
        let dataset = job.dataset.unwrap_or_default();
        let train_file = parse("dataset.train_sha256", &dataset.train_sha256, v);
        let test_file = match dataset.test_sha256.as_str() {
            "" => Some(None),
            hash => parse("dataset.test_sha256", hash, v).map(Some),
        };
        let layers: Option<Vec<Layer>> = job
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| self::layer(index, layer, v))
            .collect();
        let dropouts = layers
            .iter()
            .flatten()
            .filter(|layer| **layer == Layer::Dropout)
            .count();
        let loss = parse("loss", &job.loss, v);
        for (field, value) in [("batch_size", job.batch_size), ("epochs", job.epochs)] {
            if value == 0 {
                v.add(field, "must be at least 1");
            }
        }
        let split = split(job.split.as_ref(), v);
        if job.members.is_empty() || job.members.len() > JOB_MEMBERS_MAX {
            v.add("members", format!("must be 1 to {JOB_MEMBERS_MAX}"));
        }
        let members: Option<Vec<JobMember>> = job
            .members
            .into_iter()
            .enumerate()
            .map(|(index, m)| member(index, m, dropouts, v))
            .collect();
        let converted = (|| {
            Some(Self {
                study: job.study,
                seed: Seed(job.seed),
                train_file: train_file?,
                test_file: test_file?,
                columns: Columns {
                    features: dataset.features,
                    target: dataset.target,
                },
                architecture: Architecture {
                    layers: layers?,
                    loss: loss?,
                    batch_size: job.batch_size,
                    epochs: job.epochs,
                },
                split: split?,
                members: members?,
            })
        })();
        violations.into_result(converted)
    }
}

fn layer(index: usize, layer: &v1::JobLayer, v: &mut Violations) -> Option<Layer> {
    use v1::job_layer::Kind;
    match &layer.kind {
        Some(Kind::LinearUnits(0)) => {
            v.add(format!("layers[{index}].linear_units"), "must be at least 1");
            None
        }
        Some(Kind::LinearUnits(units)) => Some(Layer::Linear { units: *units }),
        Some(Kind::Activation(word)) => parse(&format!("layers[{index}].activation"), word, v).map(Layer::Activation),
        Some(Kind::Dropout(_)) => Some(Layer::Dropout),
        None => {
            v.add(format!("layers[{index}]"), "is of no known kind");
            None
        }
    }
}

fn split(split: Option<&v1::JobSplit>, v: &mut Violations) -> Option<Split> {
    use v1::job_split::Kind;
    match split.and_then(|split| split.kind) {
        Some(Kind::KFold(k)) if (2..=FOLDS_MAX).contains(&k) => Some(Split::Validation(Validation::KFold(k))),
        Some(Kind::Holdout(share)) if share > 0.0 && share < 1.0 => Some(Split::Validation(Validation::Holdout(share))),
        Some(Kind::All(_)) => Some(Split::All),
        _ => {
            v.add("split", "is of no known kind, or out of range");
            None
        }
    }
}

fn member(index: usize, member: v1::JobMember, dropouts: usize, v: &mut Violations) -> Option<JobMember> {
    use v1::job_member_owner::Kind;
    let field = |name: &str| format!("members[{index}].{name}");
    let owner = match member.owner.and_then(|owner| owner.kind) {
        Some(Kind::Trial(trial)) => Some(Owner::Trial(trial)),
        Some(Kind::Refit(refit)) => Some(Owner::Refit(refit)),
        None => {
            v.add(field("owner"), "is of no known kind");
            None
        }
    };
    let optimizer = parse(&field("optimizer"), &member.optimizer, v);
    if member.dropout.len() != dropouts {
        v.add(
            field("dropout"),
            format!("must have one value for each of the {dropouts} dropout layers"),
        );
    }
    Some(JobMember {
        owner: owner?,
        fold: member.fold,
        hyperparameters: Hyperparameters {
            optimizer: optimizer?,
            learning_rate: member.learning_rate,
            l2: member.l2,
            momentum: member.momentum,
            dropout: member.dropout,
        },
    })
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str, v: &mut Violations) -> Option<T> {
    text.parse()
        .map_err(|error: T::Err| v.add(field, error.to_string()))
        .ok()
}
