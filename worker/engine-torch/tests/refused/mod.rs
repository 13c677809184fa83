//! Checkpoints from which training does not go on.

use trawl_engine::checkpoint::MemberCheckpoint;
use trawl_engine::{Control, Engine as _, EngineError, Event, FitJob};
use trawl_engine_torch::{DeviceTable, Torch};

use crate::device::device;

/// Why training from these checkpoints is refused, before anything is told.
pub(crate) fn refused(job: &FitJob<DeviceTable>, from: &[MemberCheckpoint<'_>]) -> String {
    let mut emit = |event: Event<'_>| panic!("told {event:?}");
    match Torch::new(device()).fit(job, from, &mut emit, &Control::new()) {
        Err(EngineError::BadCheckpoint(reason)) => reason,
        other => panic!("{other:?}"),
    }
}
