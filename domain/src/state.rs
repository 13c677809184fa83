//! The states of studies, trials (and their folds), refits and jobs. ARCHITECTURE.md shows the transitions.

use trawl_dataset::words;

words!(
    /// State of a study.
    StudyState {
        /// Trials are planned and leased.
        Running = "running",
        /// Nothing is leased until it is resumed.
        Paused = "paused",
        /// The search has ended; its `refit` section's refit trains.
        Refitting = "refitting",
        /// All trials ended, and so did the refit.
        Completed = "completed",
        /// No trial completed.
        Failed = "failed",
        /// A user ended it.
        Cancelled = "cancelled",
    }
);

impl StudyState {
    /// True if no state follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

words!(
    /// State of a trial, a fold or a refit.
    TrialState {
        /// Not leased yet.
        Queued = "queued",
        /// One of its jobs was leased.
        Running = "running",
        /// A fold that was trained up to a rung, and waits for the decision about its trial. Only folds have this state.
        Paused = "paused",
        /// All of its folds completed.
        Completed = "completed",
        /// Stopped before its end because others are better.
        Pruned = "pruned",
        /// A fold failed; the error says why.
        Failed = "failed",
        /// Its study was cancelled.
        Cancelled = "cancelled",
    }
);

impl TrialState {
    /// True if no state follows.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Paused)
    }
}

/// Error of a trial with a non-finite loss: it is never retried and never ranked.
pub const DIVERGED: &str = "diverged";
