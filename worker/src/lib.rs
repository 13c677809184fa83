//! The worker: leases jobs, trains them on its device and reports what came of them.
//!
//! [`agent`] speaks with the coordinator, [`trainer`] trains and knows nothing of it, [`dataset`] brings the rows, from files that
//! [`file_cache`] keeps, [`analysis`] looks into what was trained, [`predict`] answers for new rows with what a refit left.

pub mod agent;
pub mod alive;
pub mod analysis;
pub mod dataset;
pub mod device;
pub mod file_cache;
mod network_file;
pub mod predict;
pub mod trainer;
