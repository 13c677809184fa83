//! Engines: what computes the networks of a job.

use crate::word::words;

words!(
    /// What computes the networks of a job.
    EngineName {
        /// libtorch: every network, on CPUs and GPUs.
        Torch = "torch",
    }
);

words!(
    /// Which engine a study asks for.
    EngineChoice {
        /// The one that is best for its jobs.
        Auto = "auto",
        /// [`EngineName::Torch`].
        Torch = "torch",
    }
);

impl EngineChoice {
    /// The engine that trains the jobs of a study: whichever workers there are, so that results are a function of the study.
    pub fn engine(self) -> EngineName {
        match self {
            Self::Auto | Self::Torch => EngineName::Torch,
        }
    }
}
