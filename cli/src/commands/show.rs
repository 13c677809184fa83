//! `trawl show`: one study with its best trial and its refits.

use std::time::Duration;

use prost_types::Struct;
use trawl_proto::to_json;
use trawl_proto::v1::{GetStudyRequest, GetTrialRequest, Race, RefitSummary, StudySummary, Trial};

use super::studies;
use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::{Cell, Format, Output, Page, percent, shown, six_digits, time_text};
use crate::progress::elapsed_text;

/// Prints one study.
pub(super) async fn show(client: &mut Client, study: &str, format: Format, output: &mut Output) -> Result<(), Error> {
    let answer = client
        .get_study(unary(GetStudyRequest {
            study: study.to_owned(),
        }))
        .await?
        .into_inner();
    let summary = answer.study.clone().unwrap_or_default();
    match format {
        Format::Json => output.json(&to_json(&answer)?)?,
        Format::Csv { .. } => {
            let once = async |_| {
                Ok(Page {
                    items: vec![summary.clone()],
                    next_page_token: String::new(),
                })
            };
            studies::listing().print(format, output, once).await?;
        }
        Format::Table => {
            let best = match summary.best_trial {
                Some(trial) => {
                    let request = GetTrialRequest {
                        study: summary.study_id.clone(),
                        trial,
                    };
                    client.get_trial(unary(request)).await?.into_inner().trial
                }
                None => None,
            };
            output.text(&lines(&facts(&summary, best.as_ref())))?;
        }
    }
    output.flush()
}

type Fact = (String, String);

fn facts(study: &StudySummary, best: Option<&Trial>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            facts.push((key.to_owned(), value));
        }
    };
    add("name", study.name.clone());
    add("id", study.study_id.clone());
    add("state", study.state.clone());
    add("error", study.error.clone());
    add("paused because", study.pause_reason.clone());
    add("stopped early", study.stop_reason.clone());
    add("goal", study.goal.clone());
    add(
        "trials",
        format!(
            "{} of {} completed, {} running, {} pruned, {} failed",
            study.trials_completed, study.trials_total, study.trials_running, study.trials_pruned, study.trials_failed
        ),
    );
    add(
        "epochs",
        match study.epochs_total {
            0 => study.epochs_reported.to_string(),
            total => format!("{} of {total} reported", study.epochs_reported),
        },
    );
    add("racing", study.race.as_ref().map(race).unwrap_or_default());
    add("created", study.created_at.as_ref().map(time_text).unwrap_or_default());
    add(
        "finished",
        study.finished_at.as_ref().map(time_text).unwrap_or_default(),
    );
    add("took", elapsed_text(study).unwrap_or_default());
    if let Some(trial) = best {
        facts.push(("best trial".into(), trial.trial.to_string()));
        facts.push((
            "  value".into(),
            Cell::spread(trial.value, trial.value_std).for_people(),
        ));
        facts.extend(params(trial.params.as_ref()));
    }
    for refit in &study.refits {
        facts.extend(refit_facts(refit));
    }
    facts
}

/// How trials are raced, in words.
fn race(race: &Race) -> String {
    let rungs: Vec<String> = race
        .rungs
        .iter()
        .map(|rung| format!("{} x {}", rung.folds, percent(rung.share)))
        .collect();
    let without = match race.epochs_without {
        0 => String::new(),
        epochs => format!("; without it {epochs} epochs"),
    };
    format!(
        "folds x epochs {}; {} go on from each{without}",
        rungs.join(", "),
        percent(race.keep)
    )
}

fn refit_facts(refit: &RefitSummary) -> Vec<Fact> {
    let what = format!("trial {}, {} epochs, {}", refit.trial, refit.epochs, refit.state);
    let mut facts = vec![(format!("refit {}", refit.refit), what)];
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            facts.push((format!("  {key}"), value));
        }
    };
    add("error", refit.error.clone());
    add("test loss", refit.test_loss.map(six_digits).unwrap_or_default());
    add("test accuracy", refit.test_accuracy.map(percent).unwrap_or_default());
    add("value", Cell::spread(refit.value, refit.value_std).for_people());
    for artifact in &refit.artifacts {
        add(
            "artifact",
            format!("{} ({}, {} bytes)", artifact.name, artifact.kind, artifact.bytes),
        );
        add("  sha256", artifact.sha256.clone());
    }
    facts.extend(params(refit.params.as_ref()));
    facts
}

fn params(params: Option<&Struct>) -> impl Iterator<Item = Fact> {
    let names = params.into_iter().flat_map(|params| params.fields.keys());
    names.map(move |name| (format!("  {name}"), Cell::param(params, name).for_people()))
}

fn lines(facts: &[Fact]) -> String {
    let width = facts.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    facts
        .iter()
        .map(|(key, value)| (shown(key), value))
        .map(|(key, value)| format!("{key:width$}  {}\n", shown(value)))
        .collect()
}

/// The length of a protobuf duration; a negative one, which no coordinator sends, is none.
pub(super) fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(duration).ok())
}

#[cfg(test)]
mod tests {
    use prost_types::Value;
    use prost_types::value::Kind;
    use trawl_proto::v1::Rung;

    use super::*;

    #[test]
    fn a_study_is_shown_with_its_best_trial_and_its_refit() {
        let number = |number| Value {
            kind: Some(Kind::NumberValue(number)),
        };
        let params = Struct {
            fields: [("l2".to_owned(), number(1e-4))].into(),
        };
        let study = StudySummary {
            name: "s".into(),
            state: "completed".into(),
            trials_total: 3,
            trials_completed: 2,
            trials_failed: 1,
            epochs_reported: 20,
            epochs_total: 30,
            race: Some(Race {
                rungs: vec![
                    Rung {
                        folds: 1,
                        share: 1.0 / 3.0,
                    },
                    Rung { folds: 5, share: 1.0 },
                ],
                keep: 0.5,
                epochs_without: 90,
            }),
            refits: vec![RefitSummary {
                trial: 1,
                state: "completed".into(),
                epochs: 500,
                test_loss: Some(0.25),
                ..Default::default()
            }],
            ..Default::default()
        };
        let best = Trial {
            trial: 1,
            value: Some(0.5),
            value_std: Some(0.125),
            params: Some(params),
            ..Default::default()
        };
        let want = "\
name         s
state        completed
trials       2 of 3 completed, 0 running, 0 pruned, 1 failed
epochs       20 of 30 reported
racing       folds x epochs 1 x 33.33 %, 5 x 100.00 %; 50.00 % go on from each; without it 90 epochs
best trial   1
  value      0.5 ± 0.125
  l2         0.0001
refit 0      trial 1, 500 epochs, completed
  test loss  0.25
";
        assert_eq!(lines(&facts(&study, Some(&best))), want);
    }
}
