//! Whole searches on a table of losses, for benchmarks: a request a line on standard input, an answer a line on standard
//! output. The coordinator's own functions decide proposals, training and pruning; only losses come from the table.
//!
//! ```json
//! {"sampler": "gp", "generation": 16, "lag": 1, "seed": 1, "racing": {"ladder": [[1, 0.5]], "keep": 0.5},
//! "space": {"x": {"int_uniform": {"low": 0, "high": 99}}}, "table": "x.npy", "budget": 4050}
//! ```
//!
//! is answered `{"trials": 32, "completed": [{"trial": 3, "spent": 1012, "value": 0.25}, …]}`: completed trials in order
//! of completion, with the epochs trained by then over all folds. `racing` is `null` for none, and `{}` for the default.
//! The table has little-endian doubles, [configuration, fold, epoch]; configurations in the order of
//! `trawl_domain::space::Configurations`, and NaN from the epoch in which a fold diverged.
//!
//! Simulates one worker, which ends each generation before the next, and trains the trials of a rung one after the other.

mod request;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use request::{SamplerName, Written, space};
use serde::{Deserialize, Serialize};
use trawl_domain::fold::Validation;
use trawl_domain::metric::{At, FoldMetrics, Goal, Metric, Metrics, Objective};
use trawl_domain::racing::{AtRung, Racing, Rung};
use trawl_domain::search::{Generations, Past, Sampler, Standing, propose};
use trawl_domain::seed::Seed;
use trawl_domain::space::{Params, Space};

const OBJECTIVE: Objective = Objective {
    metric: Metric::ValLoss,
    goal: Goal::Minimize,
    at: At::Last,
};

type Failure = Box<dyn std::error::Error>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    sampler: SamplerName,
    generation: u32,
    lag: u32,
    seed: u64,
    racing: Option<WrittenRacing>,
    space: BTreeMap<String, Written>,
    table: PathBuf,
    budget: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRacing {
    ladder: Option<Vec<(u32, f64)>>,
    keep: Option<f64>,
}

#[derive(Serialize)]
struct Answer {
    trials: u32,
    completed: Vec<Completed>,
}

#[derive(Serialize)]
struct Completed {
    trial: u32,
    spent: u64,
    value: f64,
}

fn main() -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let mut read: Option<(PathBuf, Table)> = None;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let table = match read.take() {
            Some((path, table)) if path == request.table => table,
            _ => Table::read(&request.table)?,
        };
        let (_, table) = read.insert((request.table.clone(), table));
        let answer = search(request, table)?;
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        output.flush()?;
    }
    Ok(())
}

fn search(request: Request, table: &Table) -> Result<Answer, Failure> {
    let generations = Generations {
        size: request.generation,
        lag: request.lag,
    };
    let sampler = request.sampler.sampler(generations);
    let space = space(request.space);
    sampler.check(Seed(request.seed), &space)?;
    let mut search = Search {
        table,
        space: &space,
        racing: request.racing.and_then(|written| racing(written, table)),
        spent: 0,
        past: Vec::new(),
        completed: Vec::new(),
    };
    let mut generation = 0;
    while search.spent < request.budget {
        if !search.generation(&sampler, generations, Seed(request.seed), generation)? {
            break;
        }
        generation += 1;
    }
    Ok(Answer {
        trials: search.past.len() as u32,
        completed: search.completed,
    })
}

fn racing(written: WrittenRacing, table: &Table) -> Option<Racing> {
    let ladder = match written.ladder {
        Some(rungs) => rungs.into_iter().map(|(folds, share)| Rung { folds, share }).collect(),
        None => Racing::usual(table.validation()),
    };
    let keep = written.keep.unwrap_or(Racing::KEEP);
    Racing::new(ladder, keep, table.validation(), Some(table.epochs))
}

struct Search<'a> {
    table: &'a Table,
    space: &'a Space,
    racing: Option<Racing>,
    /// Epochs trained, over all folds.
    spent: u64,
    /// All trials, with their results.
    past: Vec<Past>,
    completed: Vec<Completed>,
}

/// A trial of the current generation.
struct Racer {
    trial: u32,
    config: u32,
    /// Epochs that each fold was trained.
    trained: Vec<u32>,
    standing: Standing,
}

impl Search<'_> {
    /// Proposes and trains a generation; false if there is nothing left to propose.
    fn generation(
        &mut self,
        sampler: &Sampler,
        generations: Generations,
        seed: Seed,
        generation: u32,
    ) -> Result<bool, Failure> {
        let known = generations.known_trials(generation);
        let mut history = self.past.clone();
        for past in history.iter_mut().filter(|past| past.trial >= known) {
            past.standing = Standing::Pending;
        }
        let first = self.past.len() as u32;
        let proposed = propose(sampler, seed, self.space, generation, first, generations.size, &history);
        let mut racers = Vec::new();
        for (trial, params) in (first..).zip(&proposed) {
            racers.push(Racer {
                trial,
                config: config(self.space, params)?,
                trained: vec![0; self.table.folds as usize],
                standing: Standing::Pending,
            });
        }
        self.race(&mut racers, generation);
        let ended = racers.into_iter().zip(proposed);
        self.past.extend(ended.map(|(racer, params)| Past {
            trial: racer.trial,
            params,
            standing: racer.standing,
        }));
        Ok(self.past.len() as u32 > first)
    }

    /// Trains a generation rung by rung, until each trial is dropped or whole.
    fn race(&mut self, racers: &mut [Racer], generation: u32) {
        let validation = self.table.validation();
        let last = self.racing.as_ref().map_or(0, Racing::last_rung);
        for rung in 0..=last {
            let (folds, end) = match &self.racing {
                Some(racing) => racing.folds(generation, rung, validation, self.table.epochs),
                None => ((0..self.table.folds).collect(), self.table.epochs),
            };
            let mut came = Vec::new();
            for racer in racers.iter_mut().filter(|racer| racer.standing == Standing::Pending) {
                self.spent += self.table.train(racer, &folds, end);
                let value = self.table.value(racer, &folds, end);
                racer.standing = match value {
                    None => Standing::Failed,
                    Some(value) if rung == last => {
                        self.completed.push(Completed {
                            trial: racer.trial,
                            spent: self.spent,
                            value,
                        });
                        Standing::Completed {
                            key: OBJECTIVE.rank_key(value),
                        }
                    }
                    Some(_) => Standing::Pending,
                };
                came.push(AtRung {
                    trial: racer.trial,
                    keys: value.map(|value| vec![OBJECTIVE.rank_key(value)]),
                });
            }
            if let Some(racing) = self.racing.as_ref().filter(|_| rung < last) {
                let promoted = racing.promote(&came);
                for at in came.iter().filter(|at| !promoted.contains(&at.trial)) {
                    let dropped = racers.iter_mut().find(|racer| racer.trial == at.trial);
                    if let Some((racer, key)) = dropped.zip(at.keys.as_ref().and_then(|keys| keys.first().copied())) {
                        racer.standing = Standing::Pruned { rung, key };
                    }
                }
            }
        }
    }
}

/// The number of a configuration in the table.
fn config(space: &Space, params: &Params) -> Result<u32, Failure> {
    let mut index = 0;
    for (name, distribution) in space {
        let value = params.get(name).and_then(|value| distribution.index(value));
        let value = value.ok_or_else(|| format!("{name}: not in the table"))?;
        index = index * distribution.cardinality().unwrap_or(1) + value;
    }
    Ok(u32::try_from(index)?)
}

/// Losses of all configurations.
struct Table {
    folds: u32,
    epochs: u32,
    losses: Vec<f64>,
}

impl Table {
    /// Reads an array [configurations, folds, epochs] of little-endian doubles.
    fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = || {
            format!(
                "{}: not an array [configurations, folds, epochs] of '<f8'",
                path.display()
            )
        };
        let bytes = std::fs::read(path)?;
        let length = bytes.get(8..10).ok_or_else(wrong)?;
        let start = 10 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        let header = std::str::from_utf8(bytes.get(10..start).ok_or_else(wrong)?)?;
        let (_, shape) = header.split_once("'shape': (").ok_or_else(wrong)?;
        let (shape, _) = shape.split_once(')').ok_or_else(wrong)?;
        let shape: Vec<u32> = shape
            .split(", ")
            .map(|size| size.trim_end_matches(',').parse())
            .collect::<Result<_, _>>()?;
        let is_plain = header.contains("'<f8'") && header.contains("'fortran_order': False");
        let &[configs, folds, epochs] = shape.as_slice() else {
            return Err(wrong().into());
        };
        let (losses, rest) = bytes[start..].as_chunks::<8>();
        let losses: Vec<f64> = losses.iter().map(|loss| f64::from_le_bytes(*loss)).collect();
        let is_whole = rest.is_empty() && losses.len() as u64 == u64::from(configs) * u64::from(folds * epochs);
        if !is_plain || !is_whole {
            return Err(wrong().into());
        }
        Ok(Self { folds, epochs, losses })
    }

    fn validation(&self) -> Validation {
        Validation::k_fold(self.folds)
    }

    fn curve(&self, config: u32, fold: u32) -> &[f64] {
        let first = (config * self.folds + fold) as usize * self.epochs as usize;
        &self.losses[first..first + self.epochs as usize]
    }

    /// Trains folds of a trial up to an epoch, each until it diverges; returns the number of epochs trained.
    fn train(&self, racer: &mut Racer, folds: &[u32], end: u32) -> u64 {
        let mut spent = 0;
        for fold in folds {
            let curve = self.curve(racer.config, *fold);
            let diverged = curve.iter().position(|loss| loss.is_nan());
            let end = diverged.map_or(end, |epoch| end.min(epoch as u32 + 1));
            let trained = &mut racer.trained[*fold as usize];
            spent += u64::from(end - *trained);
            *trained = end;
        }
        spent
    }

    /// The value of a trial after these folds and epochs; `None` if one diverged.
    fn value(&self, racer: &Racer, folds: &[u32], end: u32) -> Option<f64> {
        let metrics = |fold: &u32| {
            let loss = self.curve(racer.config, *fold)[end as usize - 1];
            let last = (!loss.is_nan()).then_some((Metric::ValLoss, loss));
            FoldMetrics {
                last: Metrics::from_iter(last),
                best: Metrics::default(),
            }
        };
        let metrics: Vec<FoldMetrics> = folds.iter().map(metrics).collect();
        OBJECTIVE.of_trial(&metrics, 1).map(|value| value.mean)
    }
}
