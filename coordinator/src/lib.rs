//! The coordinator: samples configurations, keeps studies in Postgres, leases jobs to workers.
//!
//! A request comes in through [`grpc`], is carried out by [`app`] (one file a step of a trial's way, one transaction each),
//! and all SQL is in [`store`].

pub mod app;
pub mod grpc;
pub mod http;
pub mod server;
pub mod store;
