//! The coordinator: samples configurations, keeps studies in Postgres, leases jobs to workers.
//!
//! A request comes in through [`grpc`], and [`app`] carries it out: one file a step of a trial's life, one transaction
//! each. All SQL is in [`store`]; [`files`] has the bytes of files.

pub mod app;
mod args;
pub mod connections;
pub mod database;
pub mod files;
pub mod grpc;
pub mod http;
pub mod metrics;
mod pages;
mod program;
pub mod protocol;
pub mod server;
pub mod store;
pub mod tls;

pub use program::main;
