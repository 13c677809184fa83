//! Runs a job to its end and keeps its events.

use trawl_domain::metric::Metric;
use trawl_engine::{Control, Engine as _, Event, FitJob, Fitted, MemberLosses, Outcome};
use trawl_engine_torch::{DeviceNetworks, DeviceTable, Torch};

use crate::device::device;

/// Measurements of one member by epoch, as bits: the training loss, and the metrics on the validation rows.
pub(crate) type Bits = Vec<(u64, Vec<(Metric, u64)>)>;

/// The result of a job.
pub(crate) struct Ran {
    /// By member.
    pub(crate) losses: Vec<Bits>,
    /// Members and the epochs in which they diverged.
    pub(crate) diverged: Vec<(u32, usize)>,
    pub(crate) trained: Fitted<DeviceNetworks>,
}

pub(crate) fn run(job: &FitJob<DeviceTable>) -> Ran {
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
            metrics,
        } in losses
        {
            let measured = metrics.iter().map(|(metric, value)| (metric, value.to_bits()));
            all[*member].push((train_loss.to_bits(), measured.collect()));
        }
        gone.extend(diverged.iter().map(|member| (epoch, *member)));
    };
    let outcome = Torch::new(device())
        .fit(job, &[], &mut emit, &Control::new())
        .expect("trains");
    let Outcome::Finished(trained) = outcome else {
        panic!("nobody interrupted")
    };
    Ran {
        losses: all,
        diverged: gone,
        trained,
    }
}
