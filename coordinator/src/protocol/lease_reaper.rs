//! The reaper of leases. Each tick checks that the store answers, extends every lease after an outage, and then takes back leases that ran
//! out. This order matters: a lease that ran out while nobody could renew it must be extended before it can be taken back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::WorkerStore;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches the leases until `stop`; `is_up` says whether the store answers and leases are reliable. The caller has extended all leases before.
pub async fn reap_leases<S: WorkerStore>(store: Arc<S>, is_up: watch::Sender<bool>, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // False from the start of an outage until every lease has been extended for it.
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
                Ok(()) => {
                    may_expire = true;
                    info!("the database answers again: leases were extended for the time that it was away");
                }
                Err(error) => warn!(error = %error, "leases could not be extended; the next tick tries again"),
            }
        }
        // The coordinator reports that it serves once leases are extended.
        let serves = answers && may_expire;
        is_up.send_if_modified(|was_up| std::mem::replace(was_up, serves) != serves);
        if may_expire && let Err(error) = store.expire_leases().await {
            warn!(error = %error, "leases that ran out could not be taken back; the next tick tries again");
        }
    }
}
