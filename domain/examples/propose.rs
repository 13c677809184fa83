//! Proposals for programs in other languages, such as benchmarks: a request a line on standard input, an answer a line
//! on standard output. One process serves any number of searches, as nothing is kept between requests.
//!
//! ```json
//! {"sampler": "gp", "generation": 16, "lag": 1, "seed": 1, "space": {"x": {"uniform": {"low": 0, "high": 1}}},
//! "history": [{"params": {"x": 0.5}, "key": 0.3}], "first": 32, "n": 16}
//! ```
//!
//! is answered `{"params": [{"x": 0.25}, …]}`. The history has every earlier trial, in trial order. A trial with a
//! `key` completed, or, if it has a `rung` too, was dropped there; one that `failed` is the worst there is; any other
//! is pending. Trials `first` … are one generation.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use trawl_domain::search::{Generations, Past, Sampler, Standing, propose};
use trawl_domain::seed::Seed;
use trawl_domain::space::{Distribution, ParamValue, Params, Space};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    sampler: SamplerName,
    generation: u32,
    lag: u32,
    seed: u64,
    space: BTreeMap<String, Written>,
    history: Vec<WrittenPast>,
    first: u32,
    n: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SamplerName {
    Random,
    Grid,
    Sobol,
    Gp,
    Tpe,
    Auto,
}

/// A distribution, as in a study file.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Choice(Vec<ParamValue>),
    Uniform { low: f64, high: f64 },
    LogUniform { low: f64, high: f64 },
    IntUniform { low: i64, high: i64, step: Option<i64> },
    IntLogUniform { low: i64, high: i64, step: Option<i64> },
    Ordered(Vec<ParamValue>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPast {
    params: Params,
    key: Option<f64>,
    rung: Option<u32>,
    #[serde(default)]
    failed: bool,
}

#[derive(Serialize)]
struct Answer {
    params: Vec<Params>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = answer(serde_json::from_str(&line?)?)?;
        writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        output.flush()?;
    }
    Ok(())
}

fn answer(request: Request) -> Result<Answer, Box<dyn std::error::Error>> {
    let space: Space = request
        .space
        .into_iter()
        .map(|(name, written)| (name, distribution(written)))
        .collect();
    let generations = Generations {
        size: request.generation,
        lag: request.lag,
    };
    let sampler = match request.sampler {
        SamplerName::Random => Sampler::Random,
        SamplerName::Grid => Sampler::Grid,
        SamplerName::Sobol => Sampler::Sobol,
        SamplerName::Gp => Sampler::Gp(generations),
        SamplerName::Tpe => Sampler::Tpe(generations),
        SamplerName::Auto => Sampler::Auto(generations),
    };
    sampler.check(Seed(request.seed), &space)?;
    let history: Vec<Past> = (0..)
        .zip(request.history)
        .map(|(trial, written)| past(trial, written))
        .collect();
    let generation = request.first / request.generation.max(1);
    let (seed, first) = (Seed(request.seed), request.first);
    Ok(Answer {
        params: propose(&sampler, seed, &space, generation, first, request.n, &history),
    })
}

fn distribution(written: Written) -> Distribution {
    match written {
        Written::Choice(values) => Distribution::Choice(values),
        Written::Uniform { low, high } => Distribution::Uniform { low, high },
        Written::LogUniform { low, high } => Distribution::LogUniform { low, high },
        Written::IntUniform { low, high, step } => Distribution::IntUniform {
            low,
            high,
            step: step.unwrap_or(1),
        },
        Written::IntLogUniform { low, high, step } => Distribution::IntLogUniform {
            low,
            high,
            step: step.unwrap_or(1),
        },
        Written::Ordered(values) => Distribution::Ordered(values),
    }
}

fn past(trial: u32, written: WrittenPast) -> Past {
    let standing = match (written.failed, written.key, written.rung) {
        (true, _, _) => Standing::Failed,
        (false, Some(key), Some(rung)) => Standing::Pruned { rung, key },
        (false, Some(key), None) => Standing::Completed { key },
        (false, None, _) => Standing::Pending,
    };
    Past {
        trial,
        params: written.params,
        standing,
    }
}
