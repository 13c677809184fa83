//! Checks the validation of trials.

use prost_types::Value;
use serde_json::Value as Json;
use trawl_dataset::{Says, TRAINS, TargetKind};
use trawl_domain::fold::{By, CannotSplit, FoldSize, Scheme, Validation};
use trawl_domain::limits::FOLDS_MAX;
use trawl_domain::seed::Seed;
use trawl_domain::violation::Violations;

use super::{Folds, TrainingRows};
use crate::json::{from_json, to_json};
use crate::v1;
use crate::v1::dataset::Kind as DatasetKind;
use crate::v1::validation::Kind;

/// The value of `k_fold`, `holdout` or `split_column`.
struct Written {
    /// Path of its field.
    field: &'static str,
    scheme: Option<Scheme>,
    shuffle: Option<bool>,
    stratify: Option<bool>,
    by: By,
}

const GROUP: [&str; 2] = ["validation.k_fold.group", "validation.holdout.group"];
const ORDER: [&str; 2] = ["validation.k_fold.order", "validation.holdout.order"];
const SEEDS: &str = "validation.seeds";
const SPLIT_COLUMN: &str = "validation.split_column";

/// The split column: the field that names it, its value, and the meaning of its cells.
pub(super) fn split_column(validation: Option<&v1::Validation>) -> Option<(&'static str, Value, Says)> {
    let validation = validation?;
    let (place, group, order) = match validation.kind.as_ref()? {
        Kind::SplitColumn(column) => return Some((SPLIT_COLUMN, column.clone(), Says::Folds)),
        Kind::KFold(_) => {
            let k_fold: v1::KFold = from_json(&written(validation)).ok()?;
            (0, k_fold.group, k_fold.order)
        }
        Kind::Holdout(_) => {
            let holdout: v1::Holdout = from_json(&written(validation)).ok()?;
            (1, holdout.group, holdout.order)
        }
    };
    let group = group.map(|column| (GROUP[place], column, Says::Groups));
    group.or_else(|| order.map(|column| (ORDER[place], column, Says::Order)))
}

/// The validation of a study with targets of this kind, and the sizes of its folds. `kind` is `None` if the loss is
/// invalid.
pub(super) fn check(
    study: &v1::Study,
    kind: Option<TargetKind>,
    rows: Option<TrainingRows<'_>>,
    v: &mut Violations,
) -> (Option<Validation>, Option<Vec<FoldSize>>) {
    let written = study.validation.as_ref();
    if written.is_some_and(|written| written.seeds == Some(0)) {
        // Noted whatever else is wrong.
        v.add(SEEDS, "must be at least 1");
    }
    if let Some(field) = super::dataset::validation_field(study.dataset.as_ref()) {
        return of_files(field, written, rows, v);
    }
    let Some(written) = written.filter(|validation| validation.kind.is_some()) else {
        v.add(
            "validation",
            "is missing: name k_fold, holdout or split_column, or a validation part in dataset",
        );
        return (None, None);
    };
    let column = split_column(Some(written));
    let is_table = matches!(
        study.dataset.as_ref().and_then(|dataset| dataset.kind.as_ref()),
        Some(DatasetKind::Csv(_))
    );
    if let Some((field, ..)) = column.as_ref().filter(|_| !is_table) {
        v.add(
            *field,
            "is for tables: only dataset.csv has columns that rows can be split by",
        );
        return (None, None);
    }
    let Some(validation) = read(written, kind, rows, v) else {
        return (None, None);
    };
    let sizes = rows.map(|rows| match rows.folds {
        Folds::OfRows(keys) => validation.fold_sizes(Seed(study.seed), keys),
        Folds::Sizes(sizes) => Ok(sizes.to_vec()),
    });
    match sizes {
        None => (Some(validation), None),
        Some(Ok(sizes)) => (Some(validation), Some(sizes)),
        // Another fault kept the files from being read for this column.
        Some(Err(CannotSplit::MissingKeys(_))) => (Some(validation), None),
        Some(Err(error)) => {
            v.add(column.map_or("validation", |(field, ..)| field), error.to_string());
            (None, None)
        }
    }
}

/// The only fold of a study whose validation rows have files of their own, named by `field`.
fn of_files(
    field: &str,
    written: Option<&v1::Validation>,
    rows: Option<TrainingRows<'_>>,
    v: &mut Violations,
) -> (Option<Validation>, Option<Vec<FoldSize>>) {
    let named = written
        .and_then(|written| written.kind.as_ref())
        .map(|kind| match kind {
            Kind::KFold(_) => "validation.k_fold",
            Kind::Holdout(_) => "validation.holdout",
            Kind::SplitColumn(_) => SPLIT_COLUMN,
        });
    if let Some(named) = named {
        v.add(
            named,
            format!("goes without {field}, which names the rows that validate: leave out one of them"),
        );
    }
    let validation = Validation {
        scheme: Scheme::Given { folds: 1 },
        shuffle: false,
        stratify: false,
        by: By::Rows,
        seeds: written.and_then(|written| written.seeds).unwrap_or(1),
    };
    if !seeds(validation, v) {
        return (None, None);
    }
    let sizes = rows.and_then(|rows| match rows.folds {
        Folds::Sizes(sizes) => Some(sizes.first()?.to_owned()),
        Folds::OfRows(_) => None,
    });
    (
        Some(validation),
        sizes.map(|size| vec![size; validation.folds() as usize]),
    )
}

fn read(
    validation: &v1::Validation,
    kind: Option<TargetKind>,
    rows: Option<TrainingRows<'_>>,
    v: &mut Violations,
) -> Option<Validation> {
    let json = written(validation);
    let written = match validation.kind.as_ref()? {
        Kind::KFold(_) => k_fold("validation.k_fold", &json, v),
        Kind::Holdout(_) => holdout("validation.holdout", &json, v),
        Kind::SplitColumn(_) => Some(Written {
            field: SPLIT_COLUMN,
            scheme: rows.and_then(|rows| given(rows, validation.seeds.unwrap_or(1), v)),
            shuffle: Some(false),
            stratify: Some(false),
            by: By::Rows,
        }),
    }?;
    let stratify = stratify(&written, kind, v);
    let has_rows = rows.is_none_or(|rows| has_rows(&written, rows.shape.train_rows, v));
    let checked = Validation {
        scheme: written.scheme.filter(|_| has_rows)?,
        shuffle: written.shuffle.unwrap_or(written.by != By::Order),
        stratify: stratify?,
        by: written.by,
        seeds: validation.seeds.unwrap_or(1),
    };
    seeds(checked, v).then_some(checked)
}

/// The value of the present field, in its JSON form: messages have one, and a field's value can be read from it.
fn written(validation: &v1::Validation) -> Json {
    let json = to_json(validation).unwrap_or(Json::Null);
    let of_kind = ["k_fold", "holdout"].iter().find_map(|name| json.get(name));
    of_kind.cloned().unwrap_or(Json::Null)
}

fn seeds(validation: Validation, v: &mut Violations) -> bool {
    let splits = validation.splits();
    let seeds = validation.seeds;
    let is_sound = seeds <= FOLDS_MAX / splits.clamp(1, FOLDS_MAX);
    if !is_sound {
        v.add(
            SEEDS,
            format!("makes {seeds} times {splits} folds, and there may be {FOLDS_MAX} in all"),
        );
    }
    is_sound && seeds > 0
}

/// The folds in a split column.
fn given(rows: TrainingRows<'_>, seeds: u32, v: &mut Violations) -> Option<Scheme> {
    let folds = match rows.folds {
        Folds::OfRows(keys) => {
            let last = keys.column?.iter().filter(|fold| **fold != TRAINS).max();
            last.map_or(0, |last| last + 1)
        }
        Folds::Sizes(sizes) => sizes.len() as u32 / seeds.max(1),
    };
    if folds == 0 {
        v.add(SPLIT_COLUMN, "says train of every row: no row validates");
        return None;
    }
    Some(Scheme::Given { folds })
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
            by: by(field, k_fold.group.as_ref(), k_fold.order.as_ref(), k_fold.shuffle, v),
        });
    };
    Some(Written {
        field,
        scheme: folds(field, number, v).map(|folds| Scheme::KFold { folds, repeats: 1 }),
        shuffle: None,
        stratify: None,
        by: By::Rows,
    })
}

/// The constraint on splitting rows.
fn by(field: &str, group: Option<&Value>, order: Option<&Value>, shuffle: Option<bool>, v: &mut Violations) -> By {
    if order.is_some() && group.is_some() {
        v.add(format!("{field}.group"), "goes without order: name one of them");
    }
    if order.is_some() && shuffle == Some(true) {
        v.add(
            format!("{field}.shuffle"),
            "would break the order of the rows: leave it out, or leave out order",
        );
    }
    match (group, order) {
        (_, Some(_)) => By::Order,
        (Some(_), None) => By::Groups,
        (None, None) => By::Rows,
    }
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
    } else if repeats > 1 && k_fold.order.is_some() {
        "would repeat the same folds, as rows have an order: leave it out".to_owned()
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
            let holdout: v1::Holdout = mapping(field, json, "a share of the rows, or a mapping with share", v)?;
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
        by: by(
            field,
            holdout.group.as_ref(),
            holdout.order.as_ref(),
            holdout.shuffle,
            v,
        ),
    })
}

/// A number, or a text of one.
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

/// True if folds keep the classes' shares; `None` if that is impossible or unknown.
fn stratify(written: &Written, kind: Option<TargetKind>, v: &mut Violations) -> Option<bool> {
    let kind = kind?;
    let why_not = match (kind, written.by, written.scheme) {
        (TargetKind::Number, ..) => Some("is for classes, and numbers are predicted: leave it out"),
        (TargetKind::Binary, ..) => Some("is for classes, and yes or no is predicted: leave it out"),
        (_, By::Order, _) => Some("would break the order of the rows: leave it out, or leave out order"),
        (_, By::Groups, Some(Scheme::Holdout(_))) => {
            Some("goes without group at a holdout: leave it out, or use k_fold")
        }
        _ => None,
    };
    match (written.stratify, why_not) {
        (Some(true), Some(reason)) => {
            v.add(format!("{}.stratify", written.field), reason);
            None
        }
        (Some(stratify), _) => Some(stratify),
        (None, Some(_)) => Some(false),
        (None, None) => Some(written.shuffle != Some(false)),
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
