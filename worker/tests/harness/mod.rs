//! Runs a job to its end and keeps what it told.

use trawl_worker::trainer::{Event, Interrupter, MemberLosses, Outcome, TrainJob, Trained, train};

use crate::device::device;

/// Metrics of one member by epoch, as bits: training loss, validation loss, validation accuracy.
pub(crate) type Bits = Vec<(u64, Option<u64>, Option<u64>)>;

/// What came of a job.
pub(crate) struct Ran {
    /// By member.
    pub(crate) losses: Vec<Bits>,
    /// Members and the epochs in which they diverged.
    pub(crate) diverged: Vec<(u32, usize)>,
    pub(crate) trained: Trained,
}

pub(crate) fn run(job: &TrainJob) -> Ran {
    let mut all: Vec<Bits> = vec![Vec::new(); job.members.len()];
    let mut gone = Vec::new();
    let mut emit = |event: Event<'_>| {
        let Event::Epoch {
            epoch,
            losses,
            diverged,
        } = event
        else {
            return;
        };
        for MemberLosses {
            member,
            train_loss,
            val_loss,
            val_accuracy,
        } in losses
        {
            all[*member].push((
                train_loss.to_bits(),
                val_loss.map(f64::to_bits),
                val_accuracy.map(f64::to_bits),
            ));
        }
        gone.extend(diverged.iter().map(|member| (epoch, *member)));
    };
    let outcome = train(job, device(), &mut emit, &Interrupter::new()).expect("trains");
    let Outcome::Finished(trained) = outcome else {
        panic!("nobody interrupted")
    };
    Ran {
        losses: all,
        diverged: gone,
        trained,
    }
}
