//! The reaper of leases: on one tick, looks whether the store answers, gives every lease its grace when it does so again, and takes back
//! those that ran out. One after the other: what ran out while nobody could renew must not be taken back before its grace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::WorkerStore;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks after the leases until `stop`, and tells whether the store answers and leases can be relied on. At its start they have their grace.
pub async fn reap_leases<S: WorkerStore>(store: Arc<S>, is_up: watch::Sender<bool>, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // False from the moment when the store was away until every lease had its grace for that.
    let mut may_expire = true;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let answers = store.answers().await;
        may_expire &= answers;
        if answers && !may_expire {
            match store.grant_grace().await {
                Ok(()) => may_expire = true,
                Err(error) => warn!(error = %error, "leases could not be extended; the next tick tries again"),
            }
        }
        // The coordinator says that it serves once leases had their grace.
        let serves = answers && may_expire;
        is_up.send_if_modified(|was_up| std::mem::replace(was_up, serves) != serves);
        if may_expire && let Err(error) = store.expire_leases().await {
            warn!(error = %error, "leases that ran out could not be taken back; the next tick tries again");
        }
    }
}
