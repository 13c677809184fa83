//! `trawl show`: one study with its best trial and its refits.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::Struct;
use trawl_domain::importance::TRIALS_FEW;
use trawl_proto::to_json;
use trawl_proto::v1::{
    Distribution, GetStudyRequest, GetStudyResponse, GetTrialRequest, ParameterImportance, Race, RefitSummary, SlotUse,
    Study, StudySummary, Trial, Winner, distribution,
};
use trawl_report::words::{Parameter, parameter};

use super::studies;
use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::{
    Cell, Format, Output, Page, alike, baselines_text, data_text, elapsed_text, number, percent, shown, spread,
    time_text, trial_list, trials_text,
};
use crate::progress::is_final;

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
            let best = best_trial(client, &summary).await?;
            let facts = facts(&answer, best.as_ref());
            output.text(&lines(&facts))?;
        }
    }
    output.flush()
}

/// The best trial of a study; `None` before one completed.
pub(super) async fn best_trial(client: &mut Client, study: &StudySummary) -> Result<Option<Trial>, Error> {
    let Some(trial) = study.best_trial else { return Ok(None) };
    let request = GetTrialRequest {
        study: study.study_id.clone(),
        trial,
    };
    Ok(client.get_trial(unary(request)).await?.into_inner().trial)
}

type Fact = (String, String);

/// Goal and metric of the first objective.
pub(super) fn objective(answer: &GetStudyResponse) -> String {
    let goal = answer.study.as_ref().map_or("", |study| study.goal.as_str());
    let Some(spec) = &answer.spec else {
        return goal.to_owned();
    };
    let first = spec.objective.as_ref().or(spec.objectives.first());
    let metric = first.map(|objective| objective.metric.as_str());
    format!(
        "{goal} {}",
        metric.filter(|metric| !metric.is_empty()).unwrap_or("val_loss")
    )
}

fn facts(answer: &GetStudyResponse, best: Option<&Trial>) -> Vec<Fact> {
    let none = StudySummary::default();
    let study = answer.study.as_ref().unwrap_or(&none);
    let mut facts = Vec::new();
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            facts.push((key.to_owned(), value));
        }
    };
    add("name", study.name.clone());
    add("state", study.state.clone());
    add("error", study.error.clone());
    add("paused because", study.pause_reason.clone());
    add("stopped early", study.stop_reason.clone());
    if let Some(trial) = best {
        facts.extend(best_facts(study, trial));
        let ends = answer
            .spec
            .as_ref()
            .map(|spec| at_ends(spec, trial))
            .unwrap_or_default();
        facts.extend((!ends.is_empty()).then(|| ("  at an end".to_owned(), ends)));
    }
    for refit in &study.refits {
        facts.extend(refit_facts(&study.name, refit));
    }
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            facts.push((key.to_owned(), value));
        }
    };
    let data = answer.data.as_ref().map(|data| data_text(data, false));
    add("data", data.unwrap_or_default());
    add("objective", objective(answer));
    add("trials", trials_text(study));
    add("epochs", epochs_text(study));
    add("racing", study.race.as_ref().map(race).unwrap_or_default());
    add("slots", answer.slots.as_ref().map(slot_use).unwrap_or_default());
    add("created", study.created_at.as_ref().map(time_text).unwrap_or_default());
    add(
        "finished",
        study.finished_at.as_ref().map(time_text).unwrap_or_default(),
    );
    add("took", elapsed_text(study).unwrap_or_default());
    add("id", study.study_id.clone());
    facts.extend(importance_facts(&study.importance));
    facts
}

/// The best trial: its value and its configuration, then what is known of them.
fn best_facts(study: &StudySummary, trial: &Trial) -> Vec<Fact> {
    let mut facts = vec![
        ("best trial".to_owned(), trial.trial.to_string()),
        ("  value".into(), spread(trial.value, trial.value_std)),
    ];
    let baselines = baselines_text(study);
    facts.extend((!baselines.is_empty()).then(|| ("  baselines".to_owned(), baselines)));
    facts.extend(params(trial.params.as_ref()));
    facts.extend(
        trial
            .value_seed_std
            .map(|std| ("  spread over seeds".into(), number(std))),
    );
    let objectives: BTreeMap<&String, &f64> = trial.objectives.iter().collect();
    let objectives = objectives.into_iter();
    facts.extend(objectives.map(|(name, value)| (format!("  {name}"), number(*value))));
    facts.extend(study.winner.as_ref().map(winner_facts).unwrap_or_default());
    facts
}

/// Share of a range within which a value counts as at its end.
const END_SHARE: f64 = 0.01;

/// Parameters of a trial that are at an end of their range; empty without any. A better value may be beyond it.
fn at_ends(spec: &Study, trial: &Trial) -> String {
    let params = trial.params.as_ref();
    let ends = params
        .into_iter()
        .flat_map(|params| params.fields.keys())
        .filter_map(|name| {
            let Some(Parameter::Number(value)) = parameter(params, name) else {
                return None;
            };
            let place = place_in_range(spec.space.get(name)?, value)?;
            match place {
                _ if place < END_SHARE => Some(format!("{name} at its lower end")),
                _ if place > 1.0 - END_SHARE => Some(format!("{name} at its upper end")),
                _ => None,
            }
        });
    match ends.collect::<Vec<_>>().join(", ") {
        ends if ends.is_empty() => ends,
        ends => format!("{ends}; a wider range may hold better"),
    }
}

/// Where a value is between the ends of its range, from 0 to 1; `None` for a parameter without ends.
fn place_in_range(distribution: &Distribution, value: f64) -> Option<f64> {
    let (low, high, is_log) = match distribution.kind.as_ref()? {
        distribution::Kind::Uniform(range) => (range.low?, range.high?, false),
        distribution::Kind::LogUniform(range) => (range.low?, range.high?, true),
        distribution::Kind::IntUniform(range) => (range.low? as f64, range.high? as f64, false),
        distribution::Kind::IntLogUniform(range) => (range.low? as f64, range.high? as f64, true),
        distribution::Kind::Choice(_)
        | distribution::Kind::Ordered(_)
        | distribution::Kind::Normal(_)
        | distribution::Kind::LogNormal(_) => return None,
    };
    let at = |x: f64| if is_log { x.ln() } else { x };
    Some((at(value) - at(low)) / (at(high) - at(low)))
}

fn epochs_text(study: &StudySummary) -> String {
    let reported = study.epochs_reported;
    match study.epochs_total.saturating_sub(reported) {
        0 => reported.to_string(),
        rest if is_final(&study.state) => {
            format!("{reported}; {rest} were not trained: trials failed or were pruned, or fits stopped early")
        }
        _ => format!("{reported} of {}", study.epochs_total),
    }
}

/// Share of idle slots from which it is said what would help.
const IDLE_MUCH: f64 = 0.1;

/// What the workers' slots did, and whether more trials at once would keep them busy.
fn slot_use(used: &SlotUse) -> String {
    let told = format!("{:.1}, idle for {} of their time", used.slots, percent(used.idle));
    match used.under_way_max {
        Some(trials) if used.idle > IDLE_MUCH => format!(
            "{told}; at most {trials} trials are under way: a larger sampler.generation or sampler.lag keeps more slots busy"
        ),
        _ => told,
    }
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

/// What the best trial is worth.
fn winner_facts(winner: &Winner) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |key: &str, value: Option<String>| {
        facts.extend(value.map(|value| (format!("  {key}"), value)));
    };
    let corrected = interval(winner.corrected_value, winner.corrected_low, winner.corrected_high);
    add(
        "corrected",
        corrected.map(|value| format!("{value}, chosen among {}", winner.contenders)),
    );
    add(
        "test loss",
        interval(winner.test_loss, winner.test_low, winner.test_high),
    );
    add(
        "P(better)",
        winner.p_better.map(|p| format!("{} than the second best", percent(p))),
    );
    add("not separable from", trial_list(&winner.not_separable_from));
    facts
}

/// A value, and where it is with 90 %.
fn interval(value: Option<f64>, low: Option<f64>, high: Option<f64>) -> Option<String> {
    Some(match (value?, low, high) {
        (value, Some(low), Some(high)) => {
            let [value, low, high] = alike([value, low, high]);
            format!("{value} [{low}, {high}]")
        }
        (value, ..) => number(value),
    })
}

fn importance_facts(importance: &[ParameterImportance]) -> Vec<Fact> {
    let Some(first) = importance.first() else {
        return Vec::new();
    };
    let at = first.rung.map_or_else(String::new, |rung| format!(" at rung {rung}"));
    let few = if first.trials < TRIALS_FEW {
        ": few, read it with care"
    } else {
        ""
    };
    let mut facts = vec![("importance".to_owned(), format!("of {} trials{at}{few}", first.trials))];
    facts.extend(
        importance
            .iter()
            .map(|one| (format!("  {}", one.parameter), percent(one.importance))),
    );
    facts
}

fn refit_facts(study: &str, refit: &RefitSummary) -> Vec<Fact> {
    let what = format!("trial {}, {} epochs, {}", refit.trial, refit.epochs, refit.state);
    let mut facts = vec![(format!("refit {}", refit.refit), what)];
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            facts.push((format!("  {key}"), value));
        }
    };
    add("error", refit.error.clone());
    add(
        "test loss",
        interval(refit.test_loss, refit.test_low, refit.test_high).unwrap_or_default(),
    );
    add("test accuracy", refit.test_accuracy.map(percent).unwrap_or_default());
    add("value", spread(refit.value, refit.value_std));
    add(
        "spread over seeds",
        refit.value_seed_std.map(number).unwrap_or_default(),
    );
    if !refit.artifacts.is_empty() {
        add(
            "files",
            format!("{}; `trawl artifacts {study}` lists them", refit.artifacts.len()),
        );
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
    use trawl_proto::v1::{Baseline, DataFile, DataSummary, FloatLogRange, Rung};

    use super::*;

    const SLOTS: SlotUse = SlotUse {
        slots: 3.96,
        idle: 0.125,
        under_way_max: Some(32),
    };

    /// A configuration of one parameter.
    fn one(name: &str, number: f64) -> Struct {
        let kind = Some(Kind::NumberValue(number));
        Struct {
            fields: [(name.to_owned(), Value { kind })].into(),
        }
    }

    #[test]
    fn a_study_is_shown_with_its_best_trial_and_its_refit() {
        let study = StudySummary {
            name: "s".into(),
            state: "completed".into(),
            trials_total: 3,
            trials_completed: 2,
            trials_failed: 1,
            epochs_reported: 20,
            epochs_total: 30,
            winner: Some(Winner {
                trial: 1,
                value: 0.5,
                corrected_value: Some(0.53),
                corrected_low: Some(0.5),
                corrected_high: Some(0.56),
                contenders: 2,
                p_better: Some(0.75),
                not_separable_from: vec![0],
                test_loss: Some(0.25),
                test_low: Some(0.2),
                test_high: Some(0.3),
            }),
            baselines: vec![Baseline {
                baseline: "constant".into(),
                value: 1.052,
                value_std: Some(0.11),
            }],
            importance: vec![ParameterImportance {
                parameter: "l2".into(),
                importance: 1.0,
                trials: 12,
                rung: Some(0),
            }],
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
            value_std: Some(0.0534),
            params: Some(one("l2", 1e-4)),
            ..Default::default()
        };
        let want = "\
name                  s
state                 completed
best trial            1
  value               0.500 ± 0.053
  baselines           constant 1.05 ± 0.11
  l2                  1e-4
  corrected           0.53 [0.50, 0.56], chosen among 2
  test loss           0.25 [0.20, 0.30]
  P(better)           75.00 % than the second best
  not separable from  trial 0
refit 0               trial 1, 500 epochs, completed
  test loss           0.25
data                  houses.csv, 506 rows, 12 inputs
trials                2 of 3 completed, 1 failed
epochs                20; 10 were not trained: trials failed or were pruned, or fits stopped early
racing                folds x epochs 1 x 33.33 %, 5 x 100.00 %; 50.00 % go on from each; without it 90 epochs
slots                 4.0, idle for 12.50 % of their time; at most 32 trials are under way: a larger sampler.generation or sampler.lag keeps more slots busy
importance            of 12 trials at rung 0: few, read it with care
  l2                  100.00 %
";
        let data = DataSummary {
            files: vec![DataFile {
                field: "dataset.csv.train".into(),
                name: "houses.csv".into(),
                sha256: "b1529bd7".into(),
            }],
            train_rows: 506,
            input: vec![12],
        };
        let answer = GetStudyResponse {
            study: Some(study),
            data: Some(data),
            slots: Some(SLOTS),
            ..Default::default()
        };
        assert_eq!(lines(&facts(&answer, Some(&best))), want);
    }

    #[test]
    fn a_value_at_an_end_of_its_range_is_said() {
        let rate = Distribution {
            kind: Some(distribution::Kind::LogUniform(FloatLogRange {
                low: Some(1e-4),
                high: Some(0.1),
            })),
            ..Default::default()
        };
        for (value, want) in [(1e-4, 0.0), (0.1, 1.0), (10_f64.powf(-2.5), 0.5)] {
            let place = place_in_range(&rate, value).unwrap();
            assert!((place - want).abs() < 1e-9, "{value}: {place}");
        }
        let spec = Study {
            space: [("rate".to_owned(), rate)].into(),
            ..Default::default()
        };
        let at = |rate| Trial {
            params: Some(one("rate", rate)),
            ..Default::default()
        };
        assert_eq!(
            at_ends(&spec, &at(0.0999)),
            "rate at its upper end; a wider range may hold better"
        );
        assert_eq!(at_ends(&spec, &at(0.05)), "");
    }
}
