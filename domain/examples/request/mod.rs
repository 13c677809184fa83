//! Parts of requests that the examples share.

use std::collections::BTreeMap;

use serde::Deserialize;
use trawl_domain::search::{Generations, Sampler};
use trawl_domain::space::{Distribution, ParamValue, Space};

/// A sampler, as in a study file.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SamplerName {
    Random,
    Grid,
    Sobol,
    Gp,
    Tpe,
    Auto,
}

impl SamplerName {
    pub(crate) fn sampler(self, generations: Generations) -> Sampler {
        match self {
            Self::Random => Sampler::Random,
            Self::Grid => Sampler::Grid,
            Self::Sobol => Sampler::Sobol,
            Self::Gp => Sampler::Gp(generations),
            Self::Tpe => Sampler::Tpe(generations),
            Self::Auto => Sampler::Auto(generations),
        }
    }
}

/// A distribution, as in a study file.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Written {
    Choice(Vec<ParamValue>),
    Uniform { low: f64, high: f64 },
    LogUniform { low: f64, high: f64 },
    IntUniform { low: i64, high: i64, step: Option<i64> },
    IntLogUniform { low: i64, high: i64, step: Option<i64> },
    Ordered(Vec<ParamValue>),
}

pub(crate) fn space(written: BTreeMap<String, Written>) -> Space {
    written
        .into_iter()
        .map(|(name, written)| (name, distribution(written)))
        .collect()
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
