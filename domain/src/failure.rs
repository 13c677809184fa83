//! Causes of failed attempts at a job, and the number of attempts for each.

use trawl_dataset::words;

words!(
    /// Why an attempt at a job failed. A non-finite loss is not among these: it is a result.
    FailureCause {
        /// The worker went silent.
        WorkerLost = "worker_lost",
        /// The worker's device has too little memory.
        OutOfMemory = "out_of_memory",
        /// Training stood still on a live worker.
        Hung = "hung",
        /// The job or its dataset is invalid.
        BadInput = "bad_input",
        /// Any other failure that the worker reports.
        Error = "error",
    }
);

impl FailureCause {
    /// Attempts with this cause after which a job has failed for good.
    pub fn attempts_max(self) -> u32 {
        match self {
            // A job is not at fault if machines are taken away, and checkpoints keep its progress; but a job that kills
            // its workers has to end too.
            Self::WorkerLost => 10,
            // Another worker may have more memory, and gets the job first.
            Self::OutOfMemory => 3,
            // A device or a driver may have hung: another worker gets the job first. Each attempt costs a worker's whole process.
            Self::Hung => 3,
            // Every worker would fail likewise.
            Self::BadInput => 1,
            Self::Error => 3,
        }
    }
}
