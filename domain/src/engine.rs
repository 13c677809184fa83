//! Engines, which compute the networks of a job.

use trawl_dataset::words;

words!(
    /// The engine that computes the networks of a job.
    EngineName {
        /// libtorch: every network, on CPUs and GPUs.
        Torch = "torch",
    }
);

words!(
    /// A study's choice of engine.
    EngineChoice {
        /// The best one for its jobs.
        Auto = "auto",
        /// [`EngineName::Torch`].
        Torch = "torch",
    }
);

impl EngineChoice {
    /// The engine that trains a study's jobs. It does not depend on the workers present, so results are a function of the study.
    pub fn engine(self) -> EngineName {
        match self {
            Self::Auto | Self::Torch => EngineName::Torch,
        }
    }
}
