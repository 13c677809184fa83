//! The workers' protocol above a store's transactions: waits for jobs, batches of reports, the tick that takes leases
//! back, and files. All of it is written against [`WorkerStore`], so it also runs in a simulation.

pub mod job_wait;
pub mod lease_reaper;
pub mod report_writer;
mod uploads;
mod worker_store;

pub use uploads::{read_checkpoint, read_dataset, read_trial_file};
pub use worker_store::{Answer, WorkerStore};
