//! How other threads control training, which looks for a command before every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What training does at its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Takes it.
    Continue,
    /// Tells a checkpoint, and takes it.
    Checkpoint,
    /// Tells a checkpoint, and ends.
    Drain,
    /// Ends.
    Stop,
}

const CHECKPOINT: u8 = 1;
const DRAIN: u8 = 2;
const STOP: u8 = 4;

/// Commands of other threads, and the sign of life that training gives with each look for one. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Control {
    commands: Arc<AtomicU8>,
    /// Counts up with every look, which comes before every step.
    looks: Arc<AtomicU64>,
}

impl Control {
    /// Without a command.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells training to end at once, for good.
    pub fn stop(&self) {
        self.commands.fetch_or(STOP, Ordering::Relaxed);
    }

    /// Tells training to end, for good, with a checkpoint as its last word.
    pub fn drain(&self) {
        self.commands.fetch_or(DRAIN, Ordering::Relaxed);
    }

    /// Asks for one checkpoint.
    pub fn request_checkpoint(&self) {
        self.commands.fetch_or(CHECKPOINT, Ordering::Relaxed);
    }

    /// True once training was told to end. For training and what follows it alone: a look is a sign of life.
    pub fn must_end(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.commands.load(Ordering::Relaxed) & (DRAIN | STOP) != 0
    }

    /// How often training looked for a command: a number that stays is a training that stands still.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// One that is never given a command, whose looks count as this one's: for work that is to be done in any case.
    pub fn without_commands(&self) -> Self {
        Self {
            commands: Arc::default(),
            looks: Arc::clone(&self.looks),
        }
    }

    /// What training does next; a checkpoint that was asked for is told once.
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
