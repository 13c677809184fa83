//! Checks the racing of trials.

use prost_types::value::Kind;
use prost_types::{ListValue, Value};
use trawl_domain::fold::Validation;
use trawl_domain::objectives::{Cost, Further};
use trawl_domain::racing::{Racing, Rung};
use trawl_domain::violation::Violations;

/// Most rungs of a ladder.
const RUNGS_MAX: usize = 16;
/// The racing of a study with generations of this size; `Some(None)` without racing.
pub(super) fn check(
    racing: Option<&Value>,
    max_trials: u32,
    generation: u32,
    validation: Validation,
    epochs: Option<u32>,
    further: &[Further],
    v: &mut Violations,
) -> Option<Option<Racing>> {
    let goes_by_time = further.contains(&Further::Cost(Cost::WorkerSeconds));
    let kind = racing.and_then(|racing| racing.kind.as_ref());
    let (ladder, keep) = match kind {
        None | Some(Kind::NullValue(_)) => {
            let pays = max_trials / 2 >= generation && epochs.is_none_or(|epochs| epochs > 1);
            let pays = pays && !goes_by_time;
            let usual = || Racing::new(Racing::usual(validation), Racing::KEEP, validation, epochs);
            return Some(pays.then(usual).flatten());
        }
        Some(Kind::StringValue(word)) if word == "none" => return Some(None),
        Some(_) if goes_by_time => {
            v.add(
                "racing",
                "must be none beside the objective worker_seconds: which trials are dropped would depend on the workers",
            );
            return None;
        }
        Some(Kind::StructValue(settings)) => {
            for name in settings.fields.keys() {
                if !["ladder", "keep"].contains(&name.as_str()) {
                    v.add(format!("racing.{name}"), "is not known; allowed are ladder, keep");
                }
            }
            let keep = keep(settings.fields.get("keep"), v);
            let ladder = match settings.fields.get("ladder") {
                None => Some(Racing::usual(validation)),
                Some(written) => ladder(written, validation, v),
            };
            (ladder?, keep?)
        }
        Some(_) => {
            v.add("racing", "must be none, or a mapping with ladder and keep");
            return None;
        }
    };
    let racing = Racing::new(ladder, keep, validation, epochs);
    if racing.is_none() {
        v.add(
            "racing",
            "has one rung, a whole trial, and so nothing to compare before: add rungs with fewer folds or epochs, or write racing: none",
        );
        return None;
    }
    Some(racing)
}

fn keep(keep: Option<&Value>, v: &mut Violations) -> Option<f64> {
    match keep.and_then(|keep| keep.kind.as_ref()) {
        None => Some(Racing::KEEP),
        Some(Kind::NumberValue(keep)) if *keep > 0.0 && *keep < 1.0 => Some(*keep),
        Some(_) => {
            v.add("racing.keep", "must be a number above 0 and below 1");
            None
        }
    }
}

fn ladder(ladder: &Value, validation: Validation, v: &mut Violations) -> Option<Vec<Rung>> {
    let Some(Kind::ListValue(ListValue { values })) = &ladder.kind else {
        v.add(
            "racing.ladder",
            "must be a list of rungs, each [folds, share of the epochs]",
        );
        return None;
    };
    if !(1..=RUNGS_MAX).contains(&values.len()) {
        v.add("racing.ladder", format!("must have 1 to {RUNGS_MAX} rungs"));
        return None;
    }
    let mut rungs: Vec<Rung> = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let field = format!("racing.ladder[{index}]");
        let rung = rung(value, validation).map_err(|wrong| v.add(&field, wrong)).ok()?;
        if let Some(before) = rungs.last() {
            let ascends = rung.folds >= before.folds && rung.share >= before.share && rung != *before;
            if !ascends {
                v.add(
                    field,
                    "must have more folds or epochs than the rung before it, and not fewer of either",
                );
                return None;
            }
        }
        rungs.push(rung);
    }
    Some(rungs)
}

fn rung(value: &Value, validation: Validation) -> Result<Rung, String> {
    let numbers = match &value.kind {
        Some(Kind::ListValue(ListValue { values })) => values.iter().map(|value| match value.kind {
            Some(Kind::NumberValue(number)) => Some(number),
            _ => None,
        }),
        _ => return Err("must be [folds, share of the epochs]".to_owned()),
    };
    let numbers: Option<Vec<f64>> = numbers.collect();
    let Some(&[folds, share]) = numbers.as_deref() else {
        return Err("must be [folds, share of the epochs]: two numbers".to_owned());
    };
    let folds_max = validation.folds();
    if folds.fract() != 0.0 || !(1.0..=f64::from(folds_max)).contains(&folds) {
        return Err(format!(
            "must begin with a number of folds, from 1 to {folds_max}, and {folds} is not"
        ));
    }
    if !(share > 0.0 && share <= 1.0) {
        return Err(format!(
            "must end with a share of the epochs, above 0 and at most 1, and {share} is not"
        ));
    }
    Ok(Rung {
        folds: folds as u32,
        share,
    })
}
