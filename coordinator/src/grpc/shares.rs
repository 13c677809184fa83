//! Permits with a share for each caller, so that one caller cannot hold all of them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most permits: of all callers together, and of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) all: usize,
    pub(super) share: usize,
}

/// A number of permits, and a share of them for each caller.
#[derive(Debug)]
pub(super) struct Shares<C> {
    limit: Limit,
    all: Arc<Semaphore>,
    /// Free permits in the shares of callers that hold a permit or wait for one.
    own: Mutex<HashMap<C, Arc<Semaphore>>>,
}

/// One permit.
#[derive(Debug)]
pub(super) struct Permit {
    // Declared first, so released first: a caller that waits for its share then finds a free permit.
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The caller holds its whole share.
    Share,
    /// All are taken.
    All,
}

impl<C: Clone + Debug + Eq + Hash> Shares<C> {
    /// All permits free.
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            all: Arc::new(Semaphore::new(limit.all)),
            own: Mutex::default(),
        }
    }

    /// How many there are.
    pub(super) fn limit(&self) -> Limit {
        self.limit
    }

    /// Takes a permit, if there is one.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn try_take(&self, caller: &C) -> Result<Permit, Full> {
        let own = self.own(caller).try_acquire_owned().map_err(|_| Full::Share)?;
        let all = Arc::clone(&self.all).try_acquire_owned();
        Ok(Permit {
            _all: all.map_err(|_| Full::All)?,
            _own: own,
        })
    }

    /// Waits for a permit: first for one of the caller's share, then for one of all, each in order of arrival.
    pub(super) async fn take(&self, caller: &C) -> Option<Permit> {
        let own = self.own(caller).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permit { _all: all, _own: own })
    }

    fn own(&self, caller: &C) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = own.get(caller) {
            return Arc::clone(own);
        }
        // Callers that hold a permit or wait for one keep their entries.
        own.retain(|_, share| Arc::strong_count(share) > 1);
        let share = Arc::new(Semaphore::new(self.limit.share));
        own.insert(caller.clone(), Arc::clone(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_a_share_and_all_together_no_more_than_there_are() {
        let shares = Shares::new(Limit { all: 5, share: 2 });
        let mut held: Vec<Permit> = Vec::new();
        for caller in ["a", "b"] {
            for _ in 0..2 {
                held.push(shares.try_take(&caller).expect("its share"));
            }
            assert_eq!(shares.try_take(&caller).expect_err("more"), Full::Share);
        }
        held.push(shares.try_take(&"c").expect("the last one"));
        assert_eq!(shares.try_take(&"c").expect_err("none is left"), Full::All);
        drop(held);
        assert!(shares.try_take(&"a").is_ok());
        assert!(shares.own.lock().expect("not poisoned").len() <= 3);
        assert!(shares.try_take(&"d").is_ok());
        assert_eq!(
            shares.own.lock().expect("not poisoned").len(),
            1,
            "others are forgotten"
        );
    }

    #[tokio::test]
    async fn one_that_waits_for_its_share_is_in_nobodys_way() {
        let shares = Arc::new(Shares::new(Limit { all: 2, share: 1 }));
        let first = shares.take(&"a").await.expect("a permit");
        let of_a = Arc::clone(&shares);
        let second = tokio::spawn(async move { of_a.take(&"a").await });
        tokio::task::yield_now().await;
        let other = shares.take(&"b").await.expect("a permit");
        drop(first);
        assert!(second.await.expect("no panic").is_some());
        drop(other);
    }
}
