//! Why an attempt at a job failed, and how often it is tried again for that reason.

use crate::word::words;

words!(
    /// Why an attempt at a job failed. That a loss is not finite is none of these: it is a result.
    FailureCause {
        /// The worker went silent.
        WorkerLost = "worker_lost",
        /// The worker's device has too little memory.
        OutOfMemory = "out_of_memory",
        /// Training stood still on a worker that lives.
        Hung = "hung",
        /// What is to be trained, or its dataset, is not what it should be.
        BadInput = "bad_input",
        /// Anything else that the worker tells.
        Error = "error",
    }
);

impl FailureCause {
    /// After so many attempts that failed for this reason, a job has failed for good.
    pub fn attempts_max(self) -> u32 {
        match self {
            // Machines that are taken away are no fault of the job, and checkpoints keep what was done; but a job that kills
            // its workers has to end too.
            Self::WorkerLost => 10,
            // Another worker may have more of it, and is asked first.
            Self::OutOfMemory => 3,
            // What hung may be a device or a driver: another worker is asked first. Each costs a worker's whole process.
            Self::Hung => 3,
            // It is the same for every worker.
            Self::BadInput => 1,
            Self::Error => 3,
        }
    }
}
