//! How far a study is and how fast it goes: arithmetic and words alone, so that tests choose the times.

use std::collections::VecDeque;
use std::time::Duration;

use trawl_proto::v1::{RefitSummary, StudySummary};

use crate::output::{duration_text, elapsed_text, number, percent};

/// Rates look back this far: long enough to be steady, short enough to notice a lost worker.
const WINDOW: Duration = Duration::from_secs(60);
const SAMPLES_MAX: usize = 600;

/// Trials that came to their end.
pub(crate) fn trials_done(study: &StudySummary) -> u32 {
    study
        .trials_completed
        .saturating_add(study.trials_pruned)
        .saturating_add(study.trials_failed)
}

/// True if nothing more happens by itself.
pub(crate) fn is_final(state: &str) -> bool {
    matches!(state, "completed" | "failed" | "cancelled")
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    epochs: u64,
    trials: u32,
}

/// Recent samples, from which rates follow.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    samples: VecDeque<Sample>,
}

impl Pace {
    /// Notes how far the study is at a time since the watch began.
    pub(crate) fn record(&mut self, at: Duration, study: &StudySummary) {
        let sample = Sample {
            at,
            epochs: study.epochs_reported,
            trials: trials_done(study),
        };
        self.samples.push_back(sample);
        // The newest sample before the window stays, so that the window is always spanned.
        while self.samples.len() > SAMPLES_MAX || self.samples.get(1).is_some_and(|next| next.at + WINDOW <= at) {
            self.samples.pop_front();
        }
    }

    /// Epochs per second; `None` until there are two moments to compare.
    pub(crate) fn epochs_per_second(&self) -> Option<f64> {
        self.rate(|sample| sample.epochs as f64)
    }

    /// Time left, by epochs where their total is known, by trials otherwise; `None` while nothing moves.
    pub(crate) fn time_left(&self, study: &StudySummary) -> Option<Duration> {
        if is_idle(study) {
            return None;
        }
        let (left, rate) = if study.epochs_total > 0 {
            (
                study.epochs_total.saturating_sub(study.epochs_reported) as f64,
                self.epochs_per_second()?,
            )
        } else {
            let left = study.trials_total.saturating_sub(trials_done(study));
            (f64::from(left), self.rate(|sample| f64::from(sample.trials))?)
        };
        Duration::try_from_secs_f64(left / rate).ok().filter(|_| rate > 0.0)
    }

    fn rate(&self, count: impl Fn(&Sample) -> f64) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let seconds = last.at.saturating_sub(first.at).as_secs_f64();
        (seconds > 0.0).then(|| (count(last) - count(first)).max(0.0) / seconds)
    }
}

/// True if nothing trains by intent: a rate would only show how long ago it did.
fn is_idle(study: &StudySummary) -> bool {
    study.state == "paused" || (is_final(&study.state) && open_refit(study).is_none())
}

fn open_refit(study: &StudySummary) -> Option<&RefitSummary> {
    study.refits.iter().rev().find(|refit| !is_final(&refit.state))
}

/// How much of a study is done, and how much there is: epochs where their total is known, else trials.
pub(crate) fn done_of_total(study: &StudySummary) -> (u64, u64) {
    match study.epochs_total {
        0 => (u64::from(trials_done(study)), u64::from(study.trials_total)),
        total => (study.epochs_reported, total),
    }
}

/// The text beside a bar. Its beginning survives a narrow terminal: `5 min left, best 0.0123 (trial 3), 12/300 trials, 45 epochs/s`.
pub(crate) fn bar_text(study: &StudySummary, pace: &Pace) -> String {
    let mut parts = states(study);
    parts.extend(time_left_text(study, pace));
    parts.extend(best(study).map(|best| format!("best {best}")));
    parts.push(format!("{}/{} trials", trials_done(study), study.trials_total));
    parts.extend(generation_text(study));
    parts.extend(speed_text(study, pace));
    parts.join(", ")
}

/// What stands beside the count of trials in a line: speed, the best so far, time left, and a refit that trains.
fn details(study: &StudySummary, pace: &Pace) -> String {
    let mut parts = states(study);
    parts.extend(generation_text(study));
    parts.extend(speed_text(study, pace));
    parts.extend(best(study).map(|best| format!("best {best}")));
    parts.extend(time_left_text(study, pace));
    parts.join(", ")
}

/// Why a study does not search, and the refit under way.
fn states(study: &StudySummary) -> Vec<String> {
    let mut parts = Vec::new();
    match (study.state.as_str(), study.pause_reason.as_str()) {
        ("running", _) => {}
        ("paused", reason) if !reason.is_empty() => parts.push(format!("paused because {reason}")),
        (state, _) => parts.push(state.to_owned()),
    }
    if let Some(refit) = open_refit(study).filter(|_| study.state != "paused") {
        parts.push(format!(
            "refit {} of trial {} {}",
            refit.refit, refit.trial, refit.state
        ));
    }
    parts
}

fn generation_text(study: &StudySummary) -> Option<String> {
    let generation = study.generation?;
    (study.state == "running" && study.generations > 1)
        .then(|| format!("generation {} of {}", generation + 1, study.generations))
}

fn speed_text(study: &StudySummary, pace: &Pace) -> Option<String> {
    let rate = pace.epochs_per_second().filter(|_| !is_idle(study))?;
    Some(format!("{} epochs/s", rate_text(rate)))
}

fn time_left_text(study: &StudySummary, pace: &Pace) -> Option<String> {
    Some(format!("{} left", duration_text(pace.time_left(study)?)))
}

/// A line for a log: `12 of 300 trials, 45 epochs/s, best 0.0123 (trial 3), 5 min left`.
pub(crate) fn progress_line(study: &StudySummary, pace: &Pace) -> String {
    let details = details(study, pace);
    let separator = if details.is_empty() { "" } else { ", " };
    format!(
        "{}: {} of {} trials{separator}{details}",
        study.name,
        trials_done(study),
        study.trials_total
    )
}

/// The last line of a watch.
pub(crate) fn outcome_line(study: &StudySummary) -> String {
    let mut parts = vec![format!("study {} {}", study.name, study.state)];
    let counts = [
        (study.trials_completed, "completed"),
        (study.trials_pruned, "pruned"),
        (study.trials_failed, "failed"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let counts = if counts.is_empty() {
        "none ended".to_owned()
    } else {
        counts.join(", ")
    };
    parts.push(format!("{} trials: {counts}", study.trials_total));
    parts.extend(best(study).map(|best| format!("best {best}")));
    parts.extend(saved(study));
    parts.extend(
        study
            .refits
            .iter()
            .filter(|refit| is_final(&refit.state))
            .map(refit_text),
    );
    parts.extend(elapsed_text(study).map(|elapsed| format!("took {elapsed}")));
    parts.join("; ")
}

/// The outcome of a refit.
pub(crate) fn refit_text(refit: &RefitSummary) -> String {
    let what = format!("refit {} of trial {}", refit.refit, refit.trial);
    match (refit.test_loss, refit.test_accuracy) {
        (Some(loss), None) => format!("{what}: test loss {}", number(loss)),
        (Some(loss), Some(accuracy)) => {
            format!(
                "{what}: test accuracy {}, test loss {}",
                percent(accuracy),
                number(loss)
            )
        }
        (None, _) if refit.error.is_empty() => format!("{what}: {}", refit.state),
        (None, _) => format!("{what}: {}, {}", refit.state, refit.error),
    }
}

/// What racing saved of a study whose trials all ended with a result.
fn saved(study: &StudySummary) -> Option<String> {
    let race = study.race.as_ref()?;
    let is_whole = study.trials_completed + study.trials_pruned == study.trials_total;
    let is_whole = is_whole && study.state == "completed";
    (race.epochs_without > study.epochs_reported && is_whole).then(|| {
        let share = 1.0 - study.epochs_reported as f64 / race.epochs_without as f64;
        format!(
            "{} epochs instead of {} without racing: {} saved",
            study.epochs_reported,
            race.epochs_without,
            percent(share)
        )
    })
}

fn best(study: &StudySummary) -> Option<String> {
    Some(format!("{} (trial {})", number(study.best_value?), study.best_trial?))
}

fn rate_text(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn study(epochs: u64, epochs_total: u64, completed: u32) -> StudySummary {
        StudySummary {
            name: "s".into(),
            state: "running".into(),
            trials_total: 100,
            trials_completed: completed,
            epochs_reported: epochs,
            epochs_total,
            ..Default::default()
        }
    }

    #[test]
    fn one_look_gives_no_rate() {
        let mut pace = Pace::default();
        assert_eq!(pace.epochs_per_second(), None);
        pace.record(at(5), &study(1000, 2000, 0));
        assert_eq!(pace.epochs_per_second(), None);
        assert_eq!(pace.time_left(&study(1000, 2000, 0)), None);
    }

    #[test]
    fn what_was_done_before_the_watch_does_not_count_into_the_rate() {
        let mut pace = Pace::default();
        pace.record(at(0), &study(1000, 2000, 50));
        pace.record(at(10), &study(1200, 2000, 55));
        assert_eq!(pace.epochs_per_second(), Some(20.0));
        assert_eq!(pace.time_left(&study(1200, 2000, 55)), Some(at(40)));
    }

    #[test]
    fn trials_give_the_time_left_where_the_epochs_are_open() {
        let mut pace = Pace::default();
        pace.record(at(0), &study(0, 0, 50));
        pace.record(at(10), &study(500, 0, 60));
        assert_eq!(pace.time_left(&study(500, 0, 60)), Some(at(40)));
    }

    #[test]
    fn a_bar_counts_epochs_and_its_text_begins_with_the_time_left() {
        let mut pace = Pace::default();
        pace.record(at(0), &study(1000, 2000, 50));
        let now = study(1200, 2000, 55);
        pace.record(at(10), &now);
        assert_eq!(done_of_total(&now), (1200, 2000));
        assert_eq!(done_of_total(&study(1200, 0, 55)), (55, 100));
        assert_eq!(bar_text(&now, &pace), "40 s left, 55/100 trials, 20 epochs/s");
        let paused = StudySummary {
            state: "paused".into(),
            pause_reason: "the quota of bytes does not suffice".into(),
            ..now
        };
        assert_eq!(
            bar_text(&paused, &pace),
            "paused because the quota of bytes does not suffice, 55/100 trials"
        );
    }

    #[test]
    fn old_moments_are_forgotten() {
        let mut pace = Pace::default();
        pace.record(at(0), &study(0, 0, 0));
        for second in 100..=200 {
            pace.record(at(second), &study(second * 10, 0, 0));
        }
        assert_eq!(pace.epochs_per_second(), Some(10.0));
        assert!(pace.samples.len() <= 62, "{}", pace.samples.len());
        for millis in 0..10_000 {
            pace.record(at(200) + Duration::from_millis(millis), &study(2000, 0, 0));
        }
        assert!(pace.samples.len() <= SAMPLES_MAX);
    }

    #[test]
    fn nothing_is_left_to_wait_for_when_nothing_moves() {
        let mut pace = Pace::default();
        pace.record(at(0), &study(10, 100, 1));
        pace.record(at(10), &study(10, 100, 1));
        assert_eq!(pace.epochs_per_second(), Some(0.0));
        assert_eq!(pace.time_left(&study(10, 100, 1)), None);
        pace.record(at(20), &study(50, 100, 1));
        let paused = StudySummary {
            state: "paused".into(),
            ..study(50, 100, 1)
        };
        assert_eq!(pace.time_left(&paused), None);
        assert_eq!(progress_line(&paused, &pace), "s: 1 of 100 trials, paused");
    }

    #[test]
    fn a_line_tells_how_far_how_fast_and_how_long() {
        let mut pace = Pace::default();
        let mut now = study(0, 2000, 12);
        assert_eq!(progress_line(&now, &pace), "s: 12 of 100 trials");
        pace.record(at(0), &now);
        now.epochs_reported = 500;
        (now.best_trial, now.best_value) = (Some(3), Some(0.012_345_678));
        pace.record(at(10), &now);
        assert_eq!(
            progress_line(&now, &pace),
            "s: 12 of 100 trials, 50 epochs/s, best 0.01235 (trial 3), 30 s left"
        );
        now.state = "refitting".into();
        now.refits = vec![RefitSummary {
            trial: 3,
            state: "running".into(),
            ..Default::default()
        }];
        assert_eq!(
            progress_line(&now, &pace),
            "s: 12 of 100 trials, refitting, refit 0 of trial 3 running, 50 epochs/s, best 0.01235 (trial 3), 30 s left"
        );
    }

    #[test]
    fn the_outcome_names_the_test_loss() {
        let mut ended = StudySummary {
            state: "completed".into(),
            trials_failed: 2,
            ..study(0, 0, 98)
        };
        (ended.best_trial, ended.best_value) = (Some(3), Some(0.5));
        ended.refits = vec![RefitSummary {
            trial: 3,
            state: "completed".into(),
            test_loss: Some(0.25),
            ..Default::default()
        }];
        assert_eq!(
            outcome_line(&ended),
            "study s completed; 100 trials: 98 completed, 2 failed; best 0.5 (trial 3); refit 0 of trial 3: test loss 0.25"
        );
    }
}
