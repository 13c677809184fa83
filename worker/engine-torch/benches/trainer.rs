//! Measures what training folds together gains: folds of the 1-10-15-10-1 network in jobs of several sizes, compared with the same folds in
//! jobs of one member, one after the other, and with plain PyTorch where `TRAWL_BENCH_PYTHON` names a Python that has it.
//!
//! Runs on the CPU, or on the device in `TRAWL_BENCH_DEVICE`, as `cuda:0`.
//!
//! All columns of a row are measured in turn, `ROUNDS` times over; the table has medians, also of the ratios.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::json;
use tch::Device;
use tokio::time::Instant;
use trawl_dataset::{Features, SampleShape, Samples, Targets};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Seed};
use trawl_engine::{Control, Engine as _, Event, FitJob, Outcome};
use trawl_engine_torch::{
    DeviceTable, Torch,
    device::{self, DeviceChoice},
};

const ROUNDS: usize = 5;
/// Five folds train on 80 rows each.
const ROWS: u32 = 100;
const BATCH_SIZES: [u32; 2] = [4, 12];
/// A job costs far less beside its epochs than one of them takes, so their number does not matter; it lets each figure
/// be measured over a good part of a second.
const SIZES: [Size; 4] = [
    Size {
        members: 1,
        epochs: 64,
        fused_runs: 1,
    },
    Size {
        members: 5,
        epochs: 16,
        fused_runs: 2,
    },
    Size {
        members: 16,
        epochs: 8,
        fused_runs: 4,
    },
    Size {
        members: 64,
        epochs: 4,
        fused_runs: 8,
    },
];

/// A row's work.
#[derive(Clone, Copy)]
struct Size {
    members: u32,
    epochs: u32,
    /// Runs in a round; the references are so much slower that each runs once.
    fused_runs: u32,
}

fn main() -> anyhow::Result<()> {
    let choice = match std::env::var("TRAWL_BENCH_DEVICE") {
        Ok(name) => name.parse().context("TRAWL_BENCH_DEVICE")?,
        Err(_) => DeviceChoice::Cpu,
    };
    let taken = device::take(choice, 1, None)?;
    let device = taken.device;
    let mut pytorch = PyTorch::start(&taken.name)?;
    // A first run, which pays the costs of starting.
    seconds_to_train(&job(BATCH_SIZES[0], 1, members(3), device)?, device)?;
    if let Some(pytorch) = &mut pytorch {
        pytorch.seconds(BATCH_SIZES[0], 1, &members(3))?;
    }

    let version = pytorch
        .as_ref()
        .map_or("PyTorch".to_owned(), |pytorch| format!("PyTorch {}", pytorch.version));
    println!();
    println!("Fused training: epochs of one fold per second; 80 rows train, 20 validate");
    println!(
        "1-10-15-10-1, relu; adam, sgd and rmsprop in turn, with L2; {}; medians of {ROUNDS} rounds",
        if device == Device::Cpu {
            "one thread"
        } else {
            &taken.name
        }
    );
    println!();
    println!(
        "{:>10} {:>7} {:>8} {:>15} {:>7} {:>15} {:>7}",
        "batch size", "members", "one job", "one job a fold", "ratio", version, "ratio"
    );
    for batch_size in BATCH_SIZES {
        for size in SIZES {
            let row = Row::measure(batch_size, size, device, pytorch.as_mut())?;
            println!("{batch_size:>10} {:>7} {row}", size.members);
        }
    }
    Ok(())
}

/// Results for one job size: epochs of one fold per second, and the ratio to each reference.
struct Row {
    fused: f64,
    alone: f64,
    alone_ratio: f64,
    pytorch: Option<(f64, f64)>,
}

impl Row {
    fn measure(batch_size: u32, size: Size, device: Device, mut pytorch: Option<&mut PyTorch>) -> anyhow::Result<Self> {
        let members = members(size.members);
        let fused = job(batch_size, size.epochs, members.clone(), device)?;
        let alone: Vec<FitJob<DeviceTable>> = members
            .iter()
            .map(|member| job(batch_size, size.epochs, vec![member.clone()], device))
            .collect::<anyhow::Result<_>>()?;
        let (mut fused_seconds, mut alone_seconds, mut pytorch_seconds) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut seconds = 0.0;
            for _ in 0..size.fused_runs {
                seconds += seconds_to_train(&fused, device)?;
            }
            fused_seconds.push(seconds / f64::from(size.fused_runs));
            let mut seconds = 0.0;
            for job in &alone {
                seconds += seconds_to_train(job, device)?;
            }
            alone_seconds.push(seconds);
            if let Some(pytorch) = pytorch.as_deref_mut() {
                pytorch_seconds.push(pytorch.seconds(batch_size, size.epochs, &members)?);
            }
        }
        let rate = |seconds: &[f64]| f64::from(size.members * size.epochs) / median(seconds.to_vec());
        let ratio = |seconds: &[f64]| median(seconds.iter().zip(&fused_seconds).map(|(a, b)| a / b).collect());
        Ok(Self {
            fused: rate(&fused_seconds),
            alone: rate(&alone_seconds),
            alone_ratio: ratio(&alone_seconds),
            pytorch: pytorch.map(|_| (rate(&pytorch_seconds), ratio(&pytorch_seconds))),
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (fused, alone, ratio) = (self.fused, self.alone, self.alone_ratio);
        write!(f, "{fused:>8.0} {alone:>15.0} {ratio:>6.1}× ")?;
        match self.pytorch {
            Some((rate, ratio)) => write!(f, "{rate:>15.0} {ratio:>6.1}×"),
            None => write!(f, "{:>15}", "not measured"),
        }
    }
}

/// At least one value, none of them a NaN.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Trains a job to its end; returns the time taken.
fn seconds_to_train(job: &FitJob<DeviceTable>, device: Device) -> anyhow::Result<f64> {
    let mut epochs = 0;
    let mut emit = |event: Event<'_>| {
        let Event::Epoch { losses, .. } = event else { return };
        epochs += losses.len();
    };
    let start = Instant::now();
    let outcome = Torch::new(device).fit(job, &[], &mut emit, &Control::new())?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        matches!(outcome, Outcome::Finished(_)) && epochs == job.members.len() * job.architecture.epochs as usize,
        "a member did not come to its end"
    );
    Ok(seconds)
}

/// Folds with steps so small that none diverges.
fn members(count: u32) -> Vec<JobMember> {
    let optimizers = [Optimizer::Adam, Optimizer::Sgd, Optimizer::Rmsprop];
    let member = |n: u32| JobMember {
        owner: FitOwner::Trial(n),
        fold: n % 5,
        hyperparameters: Hyperparameters {
            l2: 1e-4,
            ..Hyperparameters::new(optimizers[n as usize % optimizers.len()], 1e-3)
        },
    };
    (0..count).map(member).collect()
}

fn job(batch_size: u32, epochs: u32, members: Vec<JobMember>, device: Device) -> anyhow::Result<FitJob<DeviceTable>> {
    let mut layers = Vec::new();
    for units in [10, 15, 10] {
        layers.extend([Layer::Linear { units }, Layer::Activation(Activation::Relu)]);
    }
    layers.push(Layer::Linear { units: 1 });
    let features: Vec<f32> = (0..ROWS).map(|row| row as f32 / 50.0 - 1.0).collect();
    let targets: Vec<f32> = features.iter().map(|x| 2.0 * x * x * x - x).collect();
    let samples = Samples {
        rows: ROWS,
        shape: SampleShape::Vector(1),
        features: Features::Floats(features),
        targets: Some(Targets::Numbers(targets)),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    Ok(FitJob {
        seed: Seed(42),
        architecture: Architecture {
            input: SampleShape::Vector(1),
            layers,
            loss: Loss::Mse,
            batch_size,
            epochs,
        },
        split: Split::Validation(Validation::k_fold(5)),
        members,
        end_epoch: epochs,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(device).load(&samples)?,
        test: None,
    })
}

/// A Python process that trains the same folds. It measures its own time, so communication does not count.
struct PyTorch {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl PyTorch {
    /// `None` where no Python is named.
    fn start(device: &str) -> anyhow::Result<Option<Self>> {
        let Some(python) = std::env::var_os("TRAWL_BENCH_PYTHON").filter(|python| !python.is_empty()) else {
            return Ok(None);
        };
        let mut child = Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pytorch.py"))
            .arg(device)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the Python of TRAWL_BENCH_PYTHON, {}", python.display()))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("Python has no output")?);
        let mut pytorch = Self {
            child,
            requests,
            answers,
            version: String::new(),
        };
        // Without the build that follows a plus sign.
        pytorch.version = pytorch.answer()?.split('+').next().unwrap_or_default().to_owned();
        Ok(Some(pytorch))
    }

    /// Trains folds one after the other; returns the time taken.
    fn seconds(&mut self, batch_size: u32, epochs: u32, members: &[JobMember]) -> anyhow::Result<f64> {
        let fold = |member: &JobMember| {
            let own = &member.hyperparameters;
            json!({ "optimizer": own.optimizer.as_str(), "learning_rate": own.learning_rate, "l2": own.l2 })
        };
        let folds: Vec<_> = members.iter().map(fold).collect();
        let request = json!({ "batch_size": batch_size, "epochs": epochs, "folds": folds });
        let requests = self.requests.as_mut().context("Python has no input")?;
        writeln!(requests, "{request}")?;
        Ok(self.answer()?.parse()?)
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(
            !line.is_empty(),
            "worker/engine-torch/benches/pytorch.py ended; what it said is above"
        );
        Ok(line.trim().to_owned())
    }
}

impl Drop for PyTorch {
    fn drop(&mut self) {
        // Closing its input ends its work.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}
