//! A flag by which others stop training. Asked before every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stops training from another thread. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupter(Arc<AtomicBool>);

impl Interrupter {
    /// A flag that is down.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells training to stop, for good.
    pub fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once training was told to stop.
    pub fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
