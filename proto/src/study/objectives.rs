//! Checks the objectives.

use trawl_dataset::TargetKind;
use trawl_domain::loss::Loss;
use trawl_domain::metric::{At, Goal, Metric, Objective};
use trawl_domain::objectives::{Cost, Further, OBJECTIVES_MAX};
use trawl_domain::violation::Violations;

use super::{target_kind, word};
use crate::v1;

/// The first objective of a study and the others, if all are valid.
pub(super) fn check(study: &v1::Study, loss: Option<Loss>, v: &mut Violations) -> Option<(Objective, Vec<Further>)> {
    let written = &study.objectives;
    let Some((first, further)) = written.split_first() else {
        let left_out = v1::Objective::default();
        let objective = study.objective.as_ref().unwrap_or(&left_out);
        return Some((metric("objective", objective, loss, v)?, Vec::new()));
    };
    if study.objective.is_some() {
        v.add("objectives", "stands beside objective: write all of them in objectives");
        return None;
    }
    if written.len() > OBJECTIVES_MAX {
        v.add(
            "objectives",
            format!("must be at most {OBJECTIVES_MAX}, and {} are not", written.len()),
        );
        return None;
    }
    if first.metric.parse::<Cost>().is_ok() {
        let known = Metric::WORDS.join(", ");
        v.add(
            "objectives[0].metric",
            format!(
                "must be one of {known}: by the first objective trials are ranked and refitted, and what a trial costs comes after it"
            ),
        );
        return None;
    }
    let first = metric("objectives[0]", first, loss, v);
    let further: Vec<Option<Further>> = (1..)
        .zip(further)
        .map(|(place, objective)| one_further(&format!("objectives[{place}]"), objective, loss, v))
        .collect();
    let (first, further) = (first?, further.into_iter().collect::<Option<Vec<_>>>()?);
    let mut names = vec![first.metric.as_str()];
    for (place, objective) in (1..).zip(&further) {
        let name = objective.name();
        if names.contains(&name) {
            v.add(
                format!("objectives[{place}].metric"),
                format!("is {name}, which is an objective already"),
            );
        }
        names.push(name);
    }
    Some((first, further))
}

fn one_further(field: &str, objective: &v1::Objective, loss: Option<Loss>, v: &mut Violations) -> Option<Further> {
    let Ok(cost) = objective.metric.parse::<Cost>() else {
        if objective.metric.parse::<Metric>().is_err() && !objective.metric.is_empty() {
            let known = [Metric::WORDS, Cost::WORDS].concat().join(", ");
            v.add(
                format!("{field}.metric"),
                format!("'{}' is not known: it must be one of {known}", objective.metric),
            );
            return None;
        }
        return metric(field, objective, loss, v).map(Further::Metric);
    };
    let goal = word(&format!("{field}.goal"), &objective.goal, Some(Goal::Minimize), v);
    if goal == Some(Goal::Maximize) {
        v.add(format!("{field}.goal"), format!("must be minimize: {cost} is a cost"));
    }
    if !objective.at.is_empty() {
        v.add(
            format!("{field}.at"),
            format!("must be left out: {cost} is of no epoch"),
        );
    }
    Some(Further::Cost(cost))
}

/// The class whose F1 is measured, if an objective names one: no two objectives have the same metric.
pub(super) fn f1_class(study: &v1::Study, v: &mut Violations) -> Option<String> {
    let (of_f1, of_others): (Vec<_>, Vec<_>) = fields(study)
        .filter(|(_, objective)| !objective.class.is_empty())
        .partition(|(_, objective)| objective.metric == Metric::ValF1.as_str());
    for (field, _) in of_others {
        v.add(
            format!("{field}.class"),
            format!("must be left out: it is for {}", Metric::ValF1),
        );
    }
    let first = of_f1.first();
    if target_kind(study) == TargetKind::Binary
        && let Some((field, _)) = first
    {
        v.add(
            format!("{field}.class"),
            "is for classes, and yes or no is predicted: leave it out, and F1 is the mean over the targets",
        );
    }
    first.map(|(_, objective)| objective.class.clone())
}

/// The objectives of a study, each with the path of its field.
pub(super) fn fields(study: &v1::Study) -> impl Iterator<Item = (String, &v1::Objective)> {
    let several = (0..).zip(&study.objectives);
    let several = several.map(|(place, objective): (usize, _)| (format!("objectives[{place}]"), objective));
    let one = study
        .objective
        .iter()
        .map(|objective| ("objective".to_owned(), objective));
    one.chain(several)
}

/// An objective measured on the validation rows.
fn metric(field: &str, objective: &v1::Objective, loss: Option<Loss>, v: &mut Violations) -> Option<Objective> {
    let metric = word(&format!("{field}.metric"), &objective.metric, Some(Metric::ValLoss), v);
    let goal = word(&format!("{field}.goal"), &objective.goal, metric.map(Metric::goal), v);
    let at = word(&format!("{field}.at"), &objective.at, Some(At::Last), v);
    if let (Some(metric), Some(goal)) = (metric, goal)
        && metric.goal() != goal
    {
        let better = match metric.goal() {
            Goal::Minimize => "lower",
            Goal::Maximize => "higher",
        };
        let right = metric.goal();
        v.add(
            format!("{field}.goal"),
            format!("must be {right}: a {metric} is the better the {better} it is"),
        );
    }
    if let (Some(metric), Some(loss)) = (metric, loss)
        && !metric.is_for(loss.target_kind())
    {
        let needs = match metric.is_for(TargetKind::Class) {
            true => format!(
                "classes, which training.loss {} predicts",
                Loss::all_for(TargetKind::Class)
            ),
            false => format!("numbers, which training.loss {loss} does not predict"),
        };
        v.add(format!("{field}.metric"), format!("{metric} needs {needs}"));
    }
    Some(Objective {
        metric: metric?,
        goal: goal?,
        at: at?,
    })
}
