//! Checkpoints that training refuses.

use trawl_engine::checkpoint::MemberCheckpoint;
use trawl_engine::{Control, Engine as _, EngineError, Event, FitJob};
use trawl_engine_torch::{DeviceTable, Torch};

use crate::device::device;

/// Why training refuses these checkpoints before any event.
pub(crate) fn refused(job: &FitJob<DeviceTable>, from: &[MemberCheckpoint<'_>]) -> String {
    let mut emit = |event: Event<'_>| panic!("told {event:?}");
    match Torch::new(device()).fit(job, from, &mut emit, &Control::new()) {
        Err(EngineError::BadCheckpoint(reason)) => reason,
        other => panic!("{other:?}"),
    }
}
