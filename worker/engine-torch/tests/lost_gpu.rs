//! A lost GPU is distinguished from a failed job. Runs in a process of its own, which is useless afterwards.

mod reference;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::{Device, Kind, Tensor};
use trawl_domain::layer::Activation;
use trawl_engine::{Control, Engine as _, EngineError};
use trawl_engine_torch::{
    Torch,
    device::{self, DeviceChoice},
};

#[test]
fn a_gpu_that_is_lost_is_told_from_a_job_that_failed() {
    let device = match device::take(DeviceChoice::Cuda(0), 1, None) {
        Ok(taken) => taken.device,
        Err(error) => {
            // Not `eprintln!`, whose output is hidden for tests that pass.
            let _ = writeln!(std::io::stderr(), "skipped: {error}");
            return;
        }
    };
    let (_, batch_size, epochs) = reference::VARIANTS[1];
    let job = reference::job(Activation::Tanh, batch_size, epochs, device);
    assert!(Torch::new(device).fit(&job, &[], &mut |_| {}, &Control::new()).is_ok());

    // Jobs that fail on a working GPU: their rows are elsewhere.
    let images = reference::Images::ALL.map(|network| (network.name(), reference::cnn_job(network, Device::Cpu)));
    let tables = reference::LOSSES.map(|loss| (loss.as_str(), reference::loss_job(loss, Device::Cpu)));
    let classes = reference::class_runs().into_iter();
    let classes = classes.map(|run| (run.name, reference::class_job(&run, Device::Cpu)));
    let methods = reference::methods::jobs(Device::Cpu);
    let networks = reference::network_runs().into_iter();
    let networks = networks.map(|run| (run.name, reference::network_job(&run, Device::Cpu)));
    for (name, elsewhere) in images
        .into_iter()
        .chain(tables)
        .chain(classes)
        .chain(methods)
        .chain(networks)
    {
        let ended = Torch::new(device).fit(&elsewhere, &[], &mut |_| {}, &Control::new());
        assert!(matches!(ended, Err(EngineError::Failed(_))), "{name}: {ended:?}");
    }

    // A kernel that reads out of bounds.
    let row = Tensor::from_slice(&[1_i64 << 20]).to_device(device);
    let table = Tensor::zeros([4], (Kind::Float, device));
    let read = catch_unwind(AssertUnwindSafe(|| table.index_select(0, &row).to_device(Device::Cpu)));
    assert!(read.is_err());
    let ended = Torch::new(device).fit(&job, &[], &mut |_| {}, &Control::new());
    assert!(matches!(ended, Err(EngineError::DeviceLost(_))), "{ended:?}");
}
