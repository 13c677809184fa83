//! What becomes of scripted workers: most of them do their jobs, and some vanish or fall silent at a random point of one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use trawl_domain::id::JobId;
use trawl_domain::seed::Stream;

/// Faults leave a job alone that has lost so many workers: after ten it would be given up, which is no fault of trawl's.
const LOSSES_OF_JOB_MAX: u32 = 6;

/// What becomes of a worker with one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// It finishes the job.
    Finish,
    /// It breaks its connection and is gone.
    Vanish(Point),
    /// It keeps its connection, and is silent until its lease has ended and twice its time limit has passed. Then it tries to
    /// go on.
    Silence(Point),
}

/// Where in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// After this epoch was sent, with reports under way.
    Epoch(u32),
    /// Amid the checkpoint after so many epochs.
    Checkpoint(u32),
    /// Amid the upload of a file, after all epochs.
    Upload,
    /// Just before the result.
    Result,
}

/// Decides, and counts what it decided.
#[derive(Debug, Default)]
pub struct Behaviours {
    vanish_per_mille: AtomicU64,
    silence_per_mille: AtomicU64,
    losses: Mutex<HashMap<JobId, u32>>,
    vanished: AtomicUsize,
    silenced: AtomicUsize,
}

impl Behaviours {
    /// From now on so many workers of a thousand jobs vanish, and so many fall silent.
    pub fn set(&self, vanish_per_mille: u64, silence_per_mille: u64) {
        self.vanish_per_mille.store(vanish_per_mille, Ordering::Relaxed);
        self.silence_per_mille.store(silence_per_mille, Ordering::Relaxed);
    }

    /// Workers that vanished so far.
    pub fn vanished(&self) -> usize {
        self.vanished.load(Ordering::Relaxed)
    }

    /// Workers that fell silent so far.
    pub fn silenced(&self) -> usize {
        self.silenced.load(Ordering::Relaxed)
    }

    /// True if the worker of this job may be lost; the loss then counts.
    pub fn may_lose(&self, job_id: JobId) -> bool {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let losses = losses.entry(job_id).or_default();
        *losses += 1;
        *losses <= LOSSES_OF_JOB_MAX
    }

    /// The behaviour of a worker with a job that goes on from epoch `from` of `epochs`.
    pub(super) fn draw(&self, job_id: JobId, from: u32, epochs: u32, chance: &mut Stream) -> Behaviour {
        let vanish = self.vanish_per_mille.load(Ordering::Relaxed);
        let silence = self.silence_per_mille.load(Ordering::Relaxed);
        let drawn = chance.below(1_000);
        let epoch = from + chance.below(u64::from((epochs - from).max(1))) as u32;
        let point = match chance.below(8) {
            0..4 => Point::Epoch(epoch),
            4..6 => Point::Checkpoint(epoch.max(1)),
            6 => Point::Upload,
            _ => Point::Result,
        };
        if drawn >= vanish + silence || !self.may_lose(job_id) {
            Behaviour::Finish
        } else if drawn < vanish {
            Behaviour::Vanish(point)
        } else {
            Behaviour::Silence(if chance.below(2) == 0 {
                Point::Result
            } else {
                Point::Epoch(epoch)
            })
        }
    }

    /// Counts a worker that met its behaviour.
    pub(super) fn met(&self, behaviour: Behaviour) {
        let counter = match behaviour {
            Behaviour::Finish => return,
            Behaviour::Silence(_) => &self.silenced,
            Behaviour::Vanish(_) => &self.vanished,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
