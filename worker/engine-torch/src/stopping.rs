//! Early stopping of the members of a stack. A stopped member keeps its place among others that train on; its result is
//! its best epoch, and later changes of its place do not count.

use tch::Tensor;
use trawl_domain::optimizer::EarlyStopping;
use trawl_engine::FitJob;
use trawl_engine::early_stopping::{EpochLosses, Standing, Verdict};

use super::DeviceTable;
use super::stack::Stack;

/// The state of each member's patience.
#[derive(Debug)]
pub(super) struct Stopping {
    /// By place in the stack.
    members: Vec<(Option<EarlyStopping>, Standing)>,
    /// The weights and batch norms of each member's best epoch, in the form of [`Stack::with_statistics`]; `None` if no
    /// member has a patience.
    best: Option<Tensor>,
}

impl Stopping {
    pub(super) fn new(stack: &Stack, job: &FitJob<DeviceTable>) -> Self {
        let rule = |member: &usize| job.members[*member].hyperparameters.early_stopping;
        let members: Vec<_> = stack
            .places()
            .iter()
            .map(|member| (rule(member), Standing::default()))
            .collect();
        let stops = members.iter().any(|(rule, _)| rule.is_some());
        Self {
            members,
            best: stops.then(|| stack.with_statistics(stack.slice(0, stack.size())).copy()),
        }
    }

    /// True if a member may stop.
    pub(super) fn stops(&self) -> bool {
        self.best.is_some()
    }

    /// The state of the member at a place.
    pub(super) fn standing(&self, place: usize) -> Standing {
        self.members[place].1
    }

    /// Continues from this state.
    pub(super) fn set_standing(&mut self, place: usize, standing: Standing) {
        self.members[place].1 = standing;
    }

    /// The best epoch of the member at a place, if it has stopped.
    pub(super) fn stopped(&self, place: usize) -> Option<EpochLosses> {
        let (rule, standing) = &self.members[place];
        standing
            .best
            .filter(|_| rule.is_some_and(|rule| standing.has_stopped(rule)))
    }

    /// The tensor with the best epoch's weights of the member at a place, in its row; `None` if it has none.
    pub(super) fn best(&self, place: usize) -> Option<(&Tensor, usize)> {
        let (rule, standing) = &self.members[place];
        let has_best = rule.is_some() && standing.best.is_some();
        self.best.as_ref().filter(|_| has_best).map(|best| (best, place))
    }

    /// Records an epoch of a member that has not stopped; `measured` has all members' weights after it, in the form of
    /// [`Stack::with_statistics`]. Returns the losses to report for the epoch: the best epoch's losses if the member
    /// stops now. Called without autograd.
    pub(super) fn note(&mut self, place: usize, losses: EpochLosses, measured: Option<&Tensor>) -> EpochLosses {
        let (Some(rule), standing) = &mut self.members[place] else {
            return losses;
        };
        match standing.note(*rule, losses) {
            Verdict::Best => {
                if let (Some(best), Some(measured)) = (&self.best, measured) {
                    best.get(place as i64).copy_(&measured.get(place as i64));
                }
                losses
            }
            Verdict::Endured => losses,
            Verdict::Stopped => standing.best.unwrap_or(losses),
        }
    }

    /// Gives stopped members the weights of their best epoch. Called without autograd.
    pub(super) fn settle(&self, stack: &Stack) {
        let weights = stack.slice(0, stack.size());
        for place in 0..self.members.len() {
            if let (Some(best), Some(_)) = (&self.best, self.stopped(place)) {
                let (best, statistics) = stack.parts(best);
                weights.get(place as i64).copy_(&best.get(place as i64));
                if let Some(statistics) = statistics {
                    stack.statistics().copy(place as i64, &statistics.get(place as i64));
                }
            }
        }
    }
}
