//! Tests that need a GPU. Skipped without one; with `TRAWL_TEST_DEVICE=cuda:0`, the engine's other tests run on one too.

mod reference;

use std::io::Write;
use std::sync::OnceLock;

use tch::Device;
use trawl_dataset::{Features, SampleShape, Samples, Targets};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Seed};
use trawl_engine::{Control, Engine as _, EngineError, Event, FitJob, Fitted, Networks as _, Outcome};
use trawl_engine_torch::{
    DeviceNetworks, DeviceTable, Torch,
    device::{self, DeviceChoice},
};

use reference::Images;

/// The float32 difference between two orders of the same sums after a hundred steps, or fifteen with convolutions: after more,
/// RMSprop amplifies it to whole per cents. Numbers with fewer digits, as GPUs prefer them, differ by more in the first step.
const TOLERANCE: f64 = 1e-4;
const CNN_EPOCHS: u32 = 3;

/// The first GPU, if there is one.
fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    *GPU.get_or_init(|| match device::take(DeviceChoice::Cuda(0), 1, None) {
        Ok(taken) => Some(taken.device),
        Err(error) => {
            // Not `eprintln!`, whose output is hidden for tests that pass.
            let _ = writeln!(std::io::stderr(), "skipped: {error}");
            None
        }
    })
}

/// Training and validation losses, by epoch and member, and the trained networks.
fn run(job: &FitJob<DeviceTable>, device: Device) -> (Vec<(f64, f64)>, Fitted<DeviceNetworks>) {
    let mut all = Vec::new();
    let mut emit = |event: Event<'_>| {
        let Event::Epoch { losses, .. } = event else { return };
        all.extend(losses.iter().map(|losses| {
            (
                losses.train_loss,
                losses.metrics.get(Metric::ValLoss).expect("rows validate"),
            )
        }));
    };
    match Torch::new(device)
        .fit(job, &[], &mut emit, &Control::new())
        .expect("trains")
    {
        Outcome::Finished(trained) => (all, trained),
        Outcome::Paused | Outcome::Interrupted => panic!("nobody interrupted"),
    }
}

/// Steps of a stack with all optimizers.
fn table_job(activation: Activation, device: Device) -> FitJob<DeviceTable> {
    let (_, batch_size, epochs) = reference::VARIANTS[1];
    reference::job(activation, batch_size, epochs, device)
}

fn short_cnn_job(network: Images, device: Device) -> FitJob<DeviceTable> {
    let mut job = reference::cnn_job(network, device);
    job.architecture.epochs = CNN_EPOCHS;
    job.end_epoch = CNN_EPOCHS;
    job
}

fn assert_close([cpu, gpu]: [Vec<(f64, f64)>; 2], what: &str) {
    assert_eq!(cpu.len(), gpu.len(), "{what}");
    let off = |a: f64, b: f64| (a - b).abs() / a.abs();
    let worst = cpu.iter().zip(&gpu).map(|(a, b)| off(a.0, b.0).max(off(a.1, b.1)));
    let worst = worst.fold(0.0, f64::max);
    println!("{what}: at most {worst:.1e} off");
    assert!(worst < TOLERANCE, "{what}: {worst:.1e} off");
}

#[test]
fn losses_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let losses =
        |job: &dyn Fn(Device) -> FitJob<DeviceTable>| [Device::Cpu, gpu].map(|device| run(&job(device), device).0);
    for activation in [Activation::Relu, Activation::Tanh] {
        assert_close(losses(&|device| table_job(activation, device)), activation.as_str());
    }
    for loss in reference::LOSSES {
        assert_close(losses(&|device| reference::loss_job(loss, device)), loss.as_str());
    }
    for run in reference::class_runs() {
        assert_close(losses(&|device| reference::class_job(&run, device)), run.name);
    }
    let methods = [Device::Cpu, gpu].map(reference::methods::jobs);
    for ((name, on_cpu), (_, on_gpu)) in methods[0].iter().zip(&methods[1]) {
        assert_close([run(on_cpu, Device::Cpu).0, run(on_gpu, gpu).0], name);
    }
    for run in reference::network_runs() {
        assert_close(losses(&|device| reference::network_job(&run, device)), run.name);
    }
    for network in Images::ALL {
        assert_close(losses(&|device| short_cnn_job(network, device)), network.name());
    }
}

#[test]
fn the_same_job_twice_is_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let networks = reference::network_runs().into_iter();
    let networks = networks.map(|run| reference::network_job(&run, gpu));
    let others = [
        table_job(Activation::Tanh, gpu),
        reference::cnn_job(Images::Convolutions, gpu),
    ];
    for job in others.into_iter().chain(networks) {
        let ((first, trained), (second, again)) = (run(&job, gpu), run(&job, gpu));
        assert_eq!(first, second);
        for member in 0..job.members.len() {
            assert_eq!(trained.networks.weights(member), again.networks.weights(member));
        }
    }
}

/// A network of one wide layer, with all rows in one step.
fn wide(units: u32, device: Device) -> FitJob<DeviceTable> {
    const ROWS: u32 = 1 << 16;
    let values: Vec<f32> = (0..ROWS).map(|row| row as f32 / ROWS as f32).collect();
    let samples = Samples {
        rows: ROWS,
        shape: SampleShape::Vector(1),
        features: Features::Floats(values.clone()),
        targets: Some(Targets::Numbers(values)),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    FitJob {
        seed: Seed(1),
        architecture: Architecture {
            input: SampleShape::Vector(1),
            layers: vec![Layer::Linear { units }, Layer::Linear { units: 1 }],
            loss: Loss::Mse,
            batch_size: ROWS,
            epochs: 1,
        },
        split: Split::Validation(Validation::k_fold(2)),
        members: vec![JobMember {
            owner: FitOwner::Trial(0),
            fold: 0,
            hyperparameters: Hyperparameters::new(Optimizer::Sgd, 1e-3),
        }],
        end_epoch: 1,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(device).load(&samples).expect("samples on the device"),
        test: None,
    }
}

#[test]
fn a_job_that_needs_more_memory_than_there_is_ends_alone() {
    let Some(gpu) = gpu() else { return };
    // One activation: 2^15 rows x 2^23 units x 4 bytes, a terabyte.
    let ended = Torch::new(gpu).fit(&wide(1 << 23, gpu), &[], &mut |_| {}, &Control::new());
    match ended {
        Err(EngineError::OutOfMemory(text)) => assert!(text.contains("memory"), "{text}"),
        other => panic!("{other:?}"),
    }
    // Its memory is free again, and the next job trains.
    assert_eq!(run(&wide(16, gpu), gpu).0.len(), 1);
}
