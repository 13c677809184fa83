//! The coordinator: samples configurations, keeps studies in Postgres, leases jobs to workers.
//!
//! A request comes in through [`grpc`], is carried out by [`app`] (one file a step of a trial's way, one transaction each),
//! all SQL is in [`store`], and the bytes of files are in [`files`].

pub mod app;
pub mod connections;
pub mod database;
pub mod files;
pub mod grpc;
pub mod http;
pub mod metrics;
mod pages;
pub mod protocol;
pub mod server;
pub mod store;
pub mod tls;
