//! Calls without a token. They are answered at once; when there are too many, the oldest makes room, so that a caller
//! who waits gets an answer, even if others leave their calls unfinished.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Most calls under way.
const PROBES_MAX: usize = 256;

/// Calls under way, in their order of arrival.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    begun: u64,
    probes: BTreeMap<u64, Arc<Notify>>,
}

/// One call.
#[derive(Debug)]
pub(super) struct Probe {
    number: u64,
    makes_room: Arc<Notify>,
    of: Arc<Probes>,
}

impl Probes {
    /// Begins one more call.
    pub(super) fn begin(self: &Arc<Self>) -> Probe {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, makes_room) = (under_way.begun, Arc::new(Notify::new()));
        under_way.begun += 1;
        under_way.probes.insert(number, Arc::clone(&makes_room));
        if under_way.probes.len() > PROBES_MAX
            && let Some((_, oldest)) = under_way.probes.pop_first()
        {
            oldest.notify_one();
        }
        Probe {
            number,
            makes_room,
            of: Arc::clone(self),
        }
    }
}

impl Probe {
    /// Waits until this call has to make room.
    pub(super) async fn makes_room(&self) {
        self.makes_room.notified().await;
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut under_way = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.probes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_probe_that_does_not_come_to_its_end_makes_room_for_the_next_one() {
        let probes = Arc::new(Probes::default());
        let mut held: Vec<Probe> = (0..PROBES_MAX).map(|_| probes.begin()).collect();
        let next = probes.begin();
        held.remove(0).makes_room().await;
        for stays in [&held[0], &next] {
            let told = timeout(Duration::from_millis(1), stays.makes_room()).await;
            assert!(told.is_err(), "one was enough");
        }
        drop(held);
        drop(next);
        assert!(probes.0.lock().expect("not poisoned").probes.is_empty());
    }
}
