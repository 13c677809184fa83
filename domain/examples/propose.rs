//! Proposals for programs in other languages, such as benchmarks: a request a line on standard input, an answer a line
//! on standard output. One process serves any number of searches, because it keeps nothing between requests.
//!
//! ```json
//! {"sampler": "gp", "generation": 16, "lag": 1, "seed": 1, "space": {"x": {"uniform": {"low": 0, "high": 1}}},
//! "history": [{"params": {"x": 0.5}, "key": 0.3}], "first": 32, "n": 16}
//! ```
//!
//! is answered `{"params": [{"x": 0.25}, …]}`. The history has every earlier trial, in trial order. A trial with a
//! `key` completed, or, if it has a `rung` too, was dropped there; one that `failed` is the worst there is; any other
//! is pending. Trials `first` … are one generation.

mod request;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use request::{SamplerName, Written, space};
use serde::{Deserialize, Serialize};
use trawl_domain::search::{Generations, Past, Standing, propose};
use trawl_domain::seed::Seed;
use trawl_domain::space::Params;

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
    let space = space(request.space);
    let generations = Generations {
        size: request.generation,
        lag: request.lag,
    };
    let sampler = request.sampler.sampler(generations);
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
