//! trawl's core: how a study is checked, sampled, split into folds, planned into jobs and ranked.
//!
//! Everything here is a function of its arguments. No clock, no global random numbers, no tokio, tonic, sqlx or tch.
//! Datasets are read a crate below, `trawl-dataset`.

pub mod access;
pub mod artifact;
pub mod augment;
pub mod baseline;
pub mod block;
pub mod engine;
pub mod estimate;
pub mod failure;
pub mod fold;
pub mod id;
pub mod importance;
pub mod job;
pub mod layer;
pub mod lease;
pub mod limits;
pub mod loss;
pub mod metric;
pub mod network;
mod normal;
pub mod objectives;
pub mod optimizer;
pub mod pareto;
pub mod racing;
pub mod rule;
pub mod schedule;
pub mod search;
pub mod secret;
pub mod seed;
pub mod space;
pub mod state;
pub mod stop;
pub mod study;
pub mod text;
pub mod violation;
pub mod winner;
