//! Notices a training that stands still. Its worker's heartbeats go on meanwhile, so nobody else can notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use trawl_engine::Control;

/// Looks within one limit. All of them in a row have to see no step; elapsed time alone is not enough. So a process
/// suspended for hours, with its training, is not blamed.
const LOOKS_PER_LIMIT: u32 = 8;

/// The progress of one training, as its thread shows it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    control: Control,
    /// True while training waits for others, as for acknowledgements of reports.
    waits: Arc<AtomicBool>,
}

impl Progress {
    /// The progress of the training under this control.
    pub(super) fn of(control: Control) -> Self {
        Self {
            control,
            waits: Arc::default(),
        }
    }

    /// Waits for others on the training's thread: this does not count as standing still.
    pub(super) fn wait<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.waits.store(true, Ordering::Relaxed);
        let waited = wait();
        self.waits.store(false, Ordering::Relaxed);
        waited
    }

    /// Waits until training has made no step for this long.
    pub(super) async fn stalled(&self, limit: Duration) {
        let every = limit / LOOKS_PER_LIMIT;
        let mut looks = interval_at(Instant::now() + every, every);
        // After a suspension of the whole process, one look comes at once, and the next one an interval later.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.control.looks();
        let mut still = 0;
        while still < LOOKS_PER_LIMIT {
            looks.tick().await;
            let now = self.control.looks();
            still = if now == seen && !self.waits.load(Ordering::Relaxed) {
                still + 1
            } else {
                0
            };
            seen = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_training_without_a_step_for_the_limit_is_noticed_and_not_before() {
        let progress = Progress::of(Control::new());
        let began = Instant::now();
        assert!(timeout(2 * LIMIT, progress.stalled(LIMIT)).await.is_ok());
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn steps_are_signs_of_life() {
        let control = Control::new();
        let progress = Progress::of(control.clone());
        let steps = async {
            for _ in 0..10 {
                tokio::time::sleep(LIMIT / 2).await;
                control.must_end();
            }
        };
        tokio::select! {
            () = progress.stalled(LIMIT) => panic!("it made steps"),
            () = steps => {}
        }
        assert!(
            timeout(2 * LIMIT, progress.stalled(LIMIT)).await.is_ok(),
            "now it makes none"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_others_does_not_count() {
        let progress = Progress::of(Control::new());
        progress.waits.store(true, Ordering::Relaxed);
        assert!(timeout(10 * LIMIT, progress.stalled(LIMIT)).await.is_err());
        assert!(progress.wait(|| true), "what it waited for");
        let began = Instant::now();
        assert!(timeout(2 * LIMIT, progress.stalled(LIMIT)).await.is_ok());
        assert_eq!(
            began.elapsed().as_secs(),
            LIMIT.as_secs(),
            "from the end of the wait on"
        );
    }
}
