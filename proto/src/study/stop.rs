//! Checks the conditions that end a search early.

use trawl_domain::metric::Objective;
use trawl_domain::stop::Stop;
use trawl_domain::violation::Violations;

use crate::v1;

/// Most hours: a hundred years.
const HOURS_MAX: f64 = 876_600.0;

/// The valid conditions; `None` without any.
pub(super) fn check(stop: Option<&v1::Stop>, objective: Option<Objective>, v: &mut Violations) -> Option<Stop> {
    let stop = stop?;
    if let Some(hours) = stop.hours.filter(|hours| !(*hours > 0.0 && *hours <= HOURS_MAX)) {
        v.add(
            "stop.hours",
            format!("must be above 0 and at most {HOURS_MAX}, and {hours} is not"),
        );
    }
    if let Some(value) = stop.value.filter(|value| !value.is_finite()) {
        v.add("stop.value", format!("must be finite, and {value} is not"));
    }
    let counts = [
        ("fold_epochs", stop.fold_epochs),
        ("generations_without_gain", stop.generations_without_gain.map(u64::from)),
        ("failed_trials", stop.failed_trials.map(u64::from)),
    ];
    for (name, _) in counts.into_iter().filter(|(_, count)| *count == Some(0)) {
        v.add(format!("stop.{name}"), "must be at least 1");
    }
    if *stop == v1::Stop::default() {
        v.add(
            "stop",
            "names no bound: hours, fold_epochs, value, generations_without_gain or failed_trials",
        );
    }
    Some(Stop {
        hours: stop.hours,
        fold_epochs: stop.fold_epochs,
        rank_key: stop
            .value
            .zip(objective)
            .map(|(value, objective)| objective.rank_key(value)),
        generations_without_gain: stop.generations_without_gain,
        failed_trials: stop.failed_trials,
    })
}
