//! The states of studies, trials (and their folds), refits and jobs. ARCHITECTURE.md draws how they follow each other.

use crate::word::words;

words!(
    /// State of a study.
    StudyState {
        /// Trials are planned and leased.
        Running = "running",
        /// Nothing is leased until it is resumed.
        Paused = "paused",
        /// The search is over; the refit that its `refit` section asks for trains.
        Refitting = "refitting",
        /// All trials ended, and the refit with them.
        Completed = "completed",
        /// No trial completed.
        Failed = "failed",
        /// A user ended it.
        Cancelled = "cancelled",
    }
);

impl StudyState {
    /// True if nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

words!(
    /// State of a trial, a fold or a refit.
    TrialState {
        /// Not leased yet.
        Queued = "queued",
        /// A job of it was leased.
        Running = "running",
        /// A fold that was trained up to a rung, and waits for what becomes of its trial. Trials and refits are never in it.
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
    /// True if nothing follows.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Paused)
    }
}

/// Error of a trial whose loss is not finite: it is never retried and never ranked.
pub const DIVERGED: &str = "diverged";
