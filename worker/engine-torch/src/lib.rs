//! The engine that trains with libtorch: all folds of a job train together, as one stack of networks.
//!
//! With small networks, a step's operations cost more to launch than to compute, so a stack of 64 networks trains in
//! little more time than one. Each parameter is one tensor with the members along its first dimension, and matrix
//! products are batched; optimizer, schedule and all of their settings, L2 and dropout are each member's own. Members
//! never mix: one whose loss is not finite keeps its NaNs to itself.

mod augment;
mod averages;
mod baseline;
mod batches;
mod checkpoint;
mod clipping;
mod criterion;
pub mod device;
mod dropout;
mod measure;
mod network;
mod optimizer;
mod outputs;
mod preparation;
mod quantiles;
mod rounding;
mod stack;
mod state;
mod statistics;
mod stopping;
mod training;

use std::any::Any;
use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use tch::{Device, Kind, Tensor};
use trawl_dataset::{FittedTable, Samples};
use trawl_domain::baseline::Baseline;
use trawl_domain::engine::EngineName;
use trawl_domain::limits::{FUSED_WORK_MAX, JOB_MEMBERS_MAX, JOB_PARAMS_MAX};
use trawl_domain::metric::FoldMetrics;
use trawl_domain::network::Architecture;
use trawl_engine::checkpoint::MemberCheckpoint;
use trawl_engine::weights::Parameter;
use trawl_engine::{Control, Engine, EngineError, Event, FitJob, Outcome, TestMetrics};

pub use batches::DeviceTable;
pub use outputs::DeviceNetworks;

use rounding::fix_rounding;
use stack::Stack;
use state::Training;

/// libtorch on one device.
#[derive(Clone, Copy, Debug)]
pub struct Torch {
    device: Device,
}

impl Torch {
    /// On this device, as [`device::take`] gives it.
    pub const fn new(device: Device) -> Self {
        Self { device }
    }
}

impl Engine for Torch {
    type Table = DeviceTable;
    type Networks = DeviceNetworks;

    const NAME: EngineName = EngineName::Torch;

    fn load(&self, samples: &Samples) -> Result<DeviceTable, EngineError> {
        on_device(self.device, || Ok(DeviceTable::new(samples, self.device)))
    }

    fn bytes_of(&self, samples: &Samples) -> usize {
        DeviceTable::bytes_of(samples)
    }

    fn is_fused(&self, architecture: &Architecture) -> bool {
        is_fused(architecture, self.device)
    }

    fn fit(
        &self,
        job: &FitJob<DeviceTable>,
        from: &[MemberCheckpoint<'_>],
        emit: &mut dyn FnMut(Event<'_>),
        control: &Control,
    ) -> Result<Outcome<DeviceNetworks>, EngineError> {
        fix_rounding();
        on_device(self.device, || {
            let mut training = Training::new(job, self.device)?;
            if !from.is_empty() {
                checkpoint::restore(&mut training, from)?;
            }
            training.run(emit, control)
        })
    }

    fn measure(
        &self,
        job: &FitJob<DeviceTable>,
        outputs: &[f32],
    ) -> Result<Option<(TestMetrics, Vec<f32>)>, EngineError> {
        fix_rounding();
        on_device(self.device, || {
            Training::new(job, self.device)?.measure_outputs(outputs)
        })
    }

    fn baselines(
        &self,
        job: &FitJob<DeviceTable>,
        control: &Control,
    ) -> Result<Vec<(Baseline, Vec<FoldMetrics>)>, EngineError> {
        fix_rounding();
        on_device(self.device, || baseline::baselines(job, self.device, control))
    }

    fn network(
        &self,
        architecture: Architecture,
        parameters: Vec<Parameter>,
        fitted: Option<&FittedTable>,
    ) -> Result<DeviceNetworks, EngineError> {
        fix_rounding();
        let fused = is_fused(&architecture, self.device);
        let stack = guarded(|| tch::no_grad(|| Stack::of_one(&architecture, &parameters, fitted, fused, self.device)))
            .flatten()?;
        Ok(DeviceNetworks {
            architecture,
            fused,
            stacks: vec![stack],
        })
    }
}

/// Works on a device; distinguishes a failure of the work from a failure of the device.
fn on_device<T>(device: Device, work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    guarded(work).flatten().map_err(|error| match error {
        EngineError::Failed(error) if is_lost(device) => EngineError::DeviceLost(error),
        other => other,
    })
}

/// True if a device cannot even copy a number. After an illegal memory access or the loss of a GPU, every later CUDA
/// call of the process fails; after the failure of a single call, a small copy works.
fn is_lost(device: Device) -> bool {
    let ask = || to_vec(&Tensor::ones([1], (Kind::Float, device)));
    device != Device::Cpu && matches!(guarded(ask), Err(EngineError::Failed(_)))
}

/// libtorch's errors reach Rust as panics of tch. They end the job, not the worker.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic_text(panic.as_ref());
        let line = cause(&text).to_owned();
        // The last one is from NVIDIA's libraries, which also allocate memory without libtorch.
        let is_memory = [
            "out of memory",
            "can't allocate memory",
            "not enough memory",
            "_ALLOC_FAILED",
        ]
        .iter()
        .any(|t| text.contains(t));
        if is_memory {
            EngineError::OutOfMemory(line)
        } else {
            EngineError::Failed(line)
        }
    })
}

/// Has panics with libtorch's errors printed in one line. Their texts have pages of a C++ stack, and the error of the job names the cause.
pub fn shorten_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        match (panic.payload_as_str(), panic.location()) {
            (Some(text), Some(place)) if text.contains("Torch(\"") => {
                // A closed standard error must not make a panic of a panic.
                let _ = writeln!(std::io::stderr(), "libtorch refused at {place}: {}", cause(text));
            }
            _ => usual(panic),
        }
    }));
}

/// The cause of a panic: its first line, without the words around libtorch's own errors and without libtorch's stack,
/// in which tch has escaped the line breaks.
fn cause(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split_once("Torch(\"").map_or(line, |(_, error)| error);
    let line = line.split_once("\\n").map_or(line, |(first, _)| first);
    line.trim_end_matches("\")")
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "a panic without a text".to_owned(),
    }
}

/// See [`Engine::is_fused`].
///
/// A stack saves the launching of operations, which is most of a small step's time. Above this number of multiplications,
/// arithmetic dominates: then a stack overflows a CPU's caches, and on a GPU, where stacks are always full, its idle networks
/// cost time and memory. Convolutions in a stack would be grouped ones, for which libraries have poor code.
fn is_fused(architecture: &Architecture, device: Device) -> bool {
    let work = architecture.step_work();
    match device {
        _ if architecture.has_convolution() => false,
        Device::Cpu => work <= FUSED_WORK_MAX,
        _ => work <= FUSED_WORK_MAX_GPU && architecture.params() <= JOB_PARAMS_MAX / JOB_MEMBERS_MAX as u64,
    }
}

/// As [`FUSED_WORK_MAX`], on a GPU. On an H200, 32 steps of 16 networks with 2^22 multiplications took 63 ms together and 466 ms apart. Five
/// networks with 2^24 took 115 ms and 159 ms; but a job has at most four of these, and a single one took 103 ms in a full stack and 31 ms in its own.
const FUSED_WORK_MAX_GPU: u64 = 1 << 23;

/// The only point at which the host waits for the device.
fn to_vec(tensor: &Tensor) -> Vec<f32> {
    let mut values = vec![0.0; tensor.numel()];
    tensor
        .to_device(Device::Cpu)
        .contiguous()
        .copy_data(&mut values, tensor.numel());
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_without_libtorchs_stack() {
        let of_tch = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] err == 0. \
                      can't allocate memory\\nframe #0: c10::ThrowEnforceNotMet(char const*)\\n\")";
        assert_eq!(
            cause(of_tch),
            "[enforce fail at alloc_cpu.cpp:127] err == 0. can't allocate memory"
        );
        let short = "called `Result::unwrap()` on an `Err` value: Torch(\"shapes do not fit\")";
        assert_eq!(cause(short), "shapes do not fit");
        assert_eq!(cause("index out of bounds\nnote: more"), "index out of bounds");
        let ended: Result<(), _> = guarded(|| panic!("{of_tch}"));
        assert_eq!(
            ended,
            Err(EngineError::OutOfMemory(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. can't allocate memory".to_owned()
            ))
        );
    }
}
