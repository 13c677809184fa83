//! Commands from other threads to training, which looks for one before every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Action of training before its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Takes the step.
    Continue,
    /// Emits a checkpoint, and takes the step.
    Checkpoint,
    /// Emits a checkpoint, and ends.
    Drain,
    /// Ends.
    Stop,
}

const CHECKPOINT: u8 = 1;
const DRAIN: u8 = 2;
const STOP: u8 = 4;

/// Commands of other threads; each look for one is also a sign of life. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Control {
    commands: Arc<AtomicU8>,
    /// Counts the looks, one before every step.
    looks: Arc<AtomicU64>,
}

impl Control {
    /// No command.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes training end at once, for good.
    pub fn stop(&self) {
        self.commands.fetch_or(STOP, Ordering::Relaxed);
    }

    /// Makes training end, for good, after a last checkpoint.
    pub fn drain(&self) {
        self.commands.fetch_or(DRAIN, Ordering::Relaxed);
    }

    /// Asks for one checkpoint.
    pub fn request_checkpoint(&self) {
        self.commands.fetch_or(CHECKPOINT, Ordering::Relaxed);
    }

    /// True once training has to end. Only for training and the work after it: a call counts as a sign of life.
    pub fn must_end(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.commands.load(Ordering::Relaxed) & (DRAIN | STOP) != 0
    }

    /// The number of looks so far: while it does not change, training stands still.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// A control without commands, whose looks count as this one's: for work that must be done in any case.
    pub fn without_commands(&self) -> Self {
        Self {
            commands: Arc::default(),
            looks: Arc::clone(&self.looks),
        }
    }

    /// The next command; a requested checkpoint is returned once.
    pub fn next_command(&self) -> Command {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let commands = self.commands.load(Ordering::Relaxed);
        if commands & STOP != 0 {
            Command::Stop
        } else if commands & DRAIN != 0 {
            Command::Drain
        } else if commands & CHECKPOINT != 0 {
            self.commands.fetch_and(!CHECKPOINT, Ordering::Relaxed);
            Command::Checkpoint
        } else {
            Command::Continue
        }
    }
}
