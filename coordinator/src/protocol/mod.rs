//! The workers' protocol above the transactions of a store: waits for jobs, batches of reports, the tick that takes leases back, and
//! files. All of it is written over [`WorkerStore`], and runs in a simulation too.

pub mod job_wait;
pub mod lease_reaper;
pub mod report_writer;
mod uploads;
mod worker_store;

pub use uploads::{read_checkpoint, read_dataset, read_trial_file};
pub use worker_store::{Answer, WorkerStore};
