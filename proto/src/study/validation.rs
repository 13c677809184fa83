//! Checks how a trial is validated.

use serde_json::Value as Json;
use trawl_domain::dataset::{DatasetShape, TargetKind};
use trawl_domain::fold::{Scheme, Validation};
use trawl_domain::limits::FOLDS_MAX;
use trawl_domain::violation::Violations;

use crate::json::{from_json, to_json};
use crate::v1;
use crate::v1::validation::Kind;

/// What is written at `k_fold` or `holdout`.
struct Written {
    /// Path of the field that says it.
    field: &'static str,
    scheme: Option<Scheme>,
    shuffle: Option<bool>,
    stratify: Option<bool>,
}

/// How a study whose targets are of this kind is validated. `kind` is `None` where something is wrong with the loss.
pub(super) fn check(
    validation: Option<&v1::Validation>,
    kind: Option<TargetKind>,
    shape: Option<DatasetShape>,
    v: &mut Violations,
) -> Option<Validation> {
    let written = read(validation, v)?;
    let stratify = stratify(&written, kind, v);
    let has_rows = shape.is_none_or(|shape| has_rows(&written, shape.train_rows, v));
    Some(Validation {
        scheme: written.scheme.filter(|_| has_rows)?,
        shuffle: written.shuffle.unwrap_or(true),
        stratify: stratify?,
    })
}

fn read(validation: Option<&v1::Validation>, v: &mut Violations) -> Option<Written> {
    let kind = validation.and_then(|validation| validation.kind.as_ref());
    let field = match kind {
        None => {
            v.add("validation", "is missing: name k_fold or holdout");
            return None;
        }
        Some(Kind::KFold(_)) => "validation.k_fold",
        Some(Kind::Holdout(_)) => "validation.holdout",
    };
    // Messages have a JSON form, and the value of one of their fields is read as it stands there.
    let json = validation.and_then(|validation| to_json(validation).ok());
    let name = field.rsplit('.').next().unwrap_or(field);
    let json = json.as_ref().and_then(|json| json.get(name)).unwrap_or(&Json::Null);
    match kind {
        Some(Kind::KFold(_)) => k_fold(field, json, v),
        _ => holdout(field, json, v),
    }
}

fn k_fold(field: &'static str, json: &Json, v: &mut Violations) -> Option<Written> {
    let Some(number) = number(json) else {
        let k_fold = mapping::<v1::KFold>(field, json, "a number of folds, or a mapping with folds", v)?;
        let at_folds = format!("{field}.folds");
        if k_fold.folds.is_none() {
            v.add(&at_folds, "is missing");
        }
        let folds = k_fold.folds.and_then(|count| folds(&at_folds, count.into(), v));
        let repeats = repeats(field, &k_fold, v);
        return Some(Written {
            field,
            scheme: folds
                .zip(repeats)
                .map(|(folds, repeats)| Scheme::KFold { folds, repeats }),
            shuffle: k_fold.shuffle,
            stratify: k_fold.stratify,
        });
    };
    Some(Written {
        field,
        scheme: folds(field, number, v).map(|folds| Scheme::KFold { folds, repeats: 1 }),
        shuffle: None,
        stratify: None,
    })
}

fn folds(field: &str, number: f64, v: &mut Violations) -> Option<u32> {
    if number.fract() == 0.0 && (2.0..=f64::from(FOLDS_MAX)).contains(&number) {
        return Some(number as u32);
    }
    v.add(field, format!("must be from 2 to {FOLDS_MAX}, and {number} is not"));
    None
}

fn repeats(field: &str, k_fold: &v1::KFold, v: &mut Violations) -> Option<u32> {
    let repeats = k_fold.repeats.unwrap_or(1);
    let folds = k_fold.folds.unwrap_or(1).max(1);
    let reason = if repeats == 0 {
        "must be at least 1".to_owned()
    } else if repeats > FOLDS_MAX / folds && repeats > 1 {
        format!("makes {repeats} times {folds} folds, and there may be {FOLDS_MAX} in all")
    } else if repeats > 1 && k_fold.shuffle == Some(false) {
        "would repeat the same folds, as rows are not shuffled: leave it out, or set shuffle: true".to_owned()
    } else {
        return Some(repeats);
    };
    v.add(format!("{field}.repeats"), reason);
    None
}

fn holdout(field: &'static str, json: &Json, v: &mut Violations) -> Option<Written> {
    let (place, holdout) = match number(json) {
        Some(share) => {
            let holdout = v1::Holdout {
                share: Some(share),
                ..v1::Holdout::default()
            };
            (field.to_owned(), holdout)
        }
        None => {
            let holdout = mapping(field, json, "a share of the rows, or a mapping with share", v)?;
            (format!("{field}.share"), holdout)
        }
    };
    match holdout.share {
        None => v.add(&place, "is missing"),
        Some(share) if !(share > 0.0 && share < 1.0) => {
            v.add(&place, format!("must be above 0 and below 1, and {share} is not"));
        }
        Some(_) => {}
    }
    let share = holdout.share.filter(|share| *share > 0.0 && *share < 1.0);
    Some(Written {
        field,
        scheme: share.map(Scheme::Holdout),
        shuffle: holdout.shuffle,
        stratify: holdout.stratify,
    })
}

/// A number, or a text that is one.
fn number(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn mapping<M: prost::Message + prost::Name + Default>(
    field: &str,
    json: &Json,
    wanted: &str,
    v: &mut Violations,
) -> Option<M> {
    if !json.is_object() {
        v.add(field, format!("must be {wanted}"));
        return None;
    }
    let wrong = match from_json(json) {
        Ok(message) => return Some(message),
        Err(wrong) => wrong,
    };
    for error in wrong.iter() {
        let help = error.help.as_ref().map(|help| format!("; {help}"));
        let help = help.unwrap_or_default();
        v.add(format!("{field}.{}", error.field), format!("{}{help}", error.reason));
    }
    None
}

/// Whether classes are kept in their shares; `None` where that cannot be, or cannot be told.
fn stratify(written: &Written, kind: Option<TargetKind>, v: &mut Violations) -> Option<bool> {
    match (written.stratify, kind?) {
        (Some(true), TargetKind::Number) => {
            v.add(
                format!("{}.stratify", written.field),
                "is for classes, and numbers are predicted: leave it out",
            );
            None
        }
        (Some(stratify), _) => Some(stratify),
        (None, TargetKind::Number) => Some(false),
        (None, TargetKind::Class) => Some(written.shuffle != Some(false)),
    }
}

fn has_rows(written: &Written, rows: u32, v: &mut Violations) -> bool {
    let reason = match written.scheme {
        Some(Scheme::KFold { folds, .. }) if rows < folds => {
            format!("is {folds}, and there are only {rows} training rows")
        }
        Some(Scheme::Holdout(_)) if rows < 2 => "needs at least two training rows".to_owned(),
        _ => return true,
    };
    v.add(written.field, reason);
    false
}
