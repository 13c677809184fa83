//! The whole system: the real binaries on a real Postgres, a file for each thing that they promise.
//!
//! All tests are one program, so that their common code is linked once and one Postgres serves them. A test that counts or crowds a process or
//! a machine is a program of its own beside this folder.

mod access;
mod checkpoints;
mod classes;
mod clients;
mod coordinators;
mod dataset_forms;
mod datasets;
mod forgotten;
mod growing;
mod interrupted_uploads;
mod leases;
mod lying_workers;
mod metrics;
mod object_store;
mod objectives;
mod operations;
mod pages;
mod pictures;
mod predict;
mod quotas;
mod racing;
mod readers;
mod refit_artifacts;
mod s3;
mod search;
mod secrets;
mod slurm;
mod splits;
mod study;
mod submission;
mod submitted_again;
mod tables;
mod tls;
mod traces;
mod training_faults;
mod up;
mod up_is_closed;
mod winner;
