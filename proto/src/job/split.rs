//! How a job's rows are split, on its way to a worker.

use trawl_domain::fold::{Scheme, Split, Validation};
use trawl_domain::limits::FOLDS_MAX;
use trawl_domain::violation::Violations;

use crate::v1;
use crate::v1::job_split::Kind;

pub(super) fn to_wire(split: Split) -> v1::JobSplit {
    let Split::Validation(validation) = split else {
        return v1::JobSplit {
            kind: Some(Kind::All(true)),
            ..v1::JobSplit::default()
        };
    };
    v1::JobSplit {
        kind: Some(match validation.scheme {
            Scheme::KFold { folds, repeats } => Kind::KFold(v1::JobKFold { folds, repeats }),
            Scheme::Holdout(share) => Kind::Holdout(share),
            Scheme::Given { folds } => Kind::Given(folds),
        }),
        shuffle: validation.shuffle,
        stratify: validation.stratify,
        by: validation.by.to_string(),
        seeds: validation.seeds,
    }
}

pub(super) fn from_wire(split: Option<&v1::JobSplit>, v: &mut Violations) -> Option<Split> {
    let validation = split.and_then(validation);
    if validation.is_none() {
        v.add("split", "is of no known kind, or out of range");
    }
    validation
}

fn validation(split: &v1::JobSplit) -> Option<Split> {
    let scheme = match split.kind? {
        Kind::All(_) => return Some(Split::All),
        Kind::KFold(v1::JobKFold { folds, repeats }) => Scheme::KFold { folds, repeats },
        Kind::Holdout(share) => Scheme::Holdout(share),
        Kind::Given(folds) => Scheme::Given { folds },
    };
    let splits = match scheme {
        Scheme::KFold { folds, repeats } if folds >= 2 => folds.checked_mul(repeats)?,
        Scheme::Holdout(share) if share > 0.0 && share < 1.0 => 1,
        Scheme::Given { folds } => folds,
        Scheme::KFold { .. } | Scheme::Holdout(_) => return None,
    };
    let folds = splits.checked_mul(split.seeds)?;
    let validation = Validation {
        scheme,
        shuffle: split.shuffle,
        stratify: split.stratify,
        by: split.by.parse().ok()?,
        seeds: split.seeds,
    };
    (1..=FOLDS_MAX)
        .contains(&folds)
        .then_some(Split::Validation(validation))
}
