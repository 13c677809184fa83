//! What others wish of training, from other threads. Asked before every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

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

/// Wishes of other threads, and the sign of life that training gives with each look at them. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Interrupter {
    wishes: Arc<AtomicU8>,
    /// Counts up with every look, which comes before every step.
    looks: Arc<AtomicU64>,
}

impl Interrupter {
    /// Without a wish.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells training to stop, for good.
    pub fn interrupt(&self) {
        self.wishes.fetch_or(STOP, Ordering::Relaxed);
    }

    /// Tells training to stop, for good, with a checkpoint as its last word.
    pub fn leave(&self) {
        self.wishes.fetch_or(LEAVE, Ordering::Relaxed);
    }

    /// Asks for one checkpoint.
    pub fn ask_checkpoint(&self) {
        self.wishes.fetch_or(CHECKPOINT, Ordering::Relaxed);
    }

    /// True once training was told to stop. For training and what follows it alone: a look is a sign of life.
    pub fn is_interrupted(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.wishes.load(Ordering::Relaxed) & (LEAVE | STOP) != 0
    }

    /// How often training looked at the wishes: a number that stays is a training that stands still.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// One without a wish, ever, whose looks count as this one's.
    pub(super) fn unheeding(&self) -> Self {
        Self {
            wishes: Arc::default(),
            looks: Arc::clone(&self.looks),
        }
    }

    /// What is wished; a checkpoint that was asked for is told once.
    pub fn wish(&self) -> Wish {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let wishes = self.wishes.load(Ordering::Relaxed);
        if wishes & STOP != 0 {
            Wish::Stop
        } else if wishes & LEAVE != 0 {
            Wish::Leave
        } else if wishes & CHECKPOINT != 0 {
            self.wishes.fetch_and(!CHECKPOINT, Ordering::Relaxed);
            Wish::Checkpoint
        } else {
            Wish::GoOn
        }
    }
}
