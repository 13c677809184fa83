//! What others wish of training, from other threads. Asked before every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What training does at its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Takes it.
    GoOn,
    /// Tells a checkpoint, and takes it.
    Checkpoint,
    /// Tells a checkpoint, and stops.
    Leave,
    /// Stops.
    Stop,
}

const CHECKPOINT: u8 = 1;
const LEAVE: u8 = 2;
const STOP: u8 = 4;

/// Wishes of other threads. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Interrupter(Arc<AtomicU8>);

impl Interrupter {
    /// Without a wish.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells training to stop, for good.
    pub fn interrupt(&self) {
        self.0.fetch_or(STOP, Ordering::Relaxed);
    }

    /// Tells training to stop, for good, with a checkpoint as its last word.
    pub fn leave(&self) {
        self.0.fetch_or(LEAVE, Ordering::Relaxed);
    }

    /// Asks for one checkpoint.
    pub fn ask_checkpoint(&self) {
        self.0.fetch_or(CHECKPOINT, Ordering::Relaxed);
    }

    /// True once training was told to stop.
    pub fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) & (LEAVE | STOP) != 0
    }

    /// What is wished; a checkpoint that was asked for is told once.
    pub fn wish(&self) -> Wish {
        let wishes = self.0.load(Ordering::Relaxed);
        if wishes & STOP != 0 {
            Wish::Stop
        } else if wishes & LEAVE != 0 {
            Wish::Leave
        } else if wishes & CHECKPOINT != 0 {
            self.0.fetch_and(!CHECKPOINT, Ordering::Relaxed);
            Wish::Checkpoint
        } else {
            Wish::GoOn
        }
    }
}
