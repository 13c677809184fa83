//! Networks with every kind of layer and every activation, for PyTorch to load by their `model.py`.

use serde_json::json;
use tch::Device;
use trawl_dataset::{Features, Inputs, SampleShape, Samples, Targets};
use trawl_domain::fold::Split;
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Seed};
use trawl_engine::{Engine as _, FitJob};
use trawl_engine_torch::{DeviceTable, Torch};

/// Training rows of each.
const ROWS: u32 = 24;
/// Rows that each answers for.
const ASKED: u64 = 5;
const VECTOR: SampleShape = SampleShape::Vector(3);
/// Of a column of two words, a number, and a column of three words.
const WORDS: SampleShape = SampleShape::Table {
    len: 6,
    columns: 2,
    words: 5,
};
const IMAGE: SampleShape = SampleShape::Image {
    channels: 2,
    height: 12,
    width: 11,
};

const fn linear(units: u32) -> Layer {
    Layer::Linear { units }
}

const fn conv(filters: u32, kernel: u32, stride: u32, padding: u32) -> Layer {
    Layer::Conv2d(Conv {
        filters,
        kernel,
        stride,
        padding,
    })
}

fn layers() -> [(&'static str, SampleShape, Vec<Layer>); 6] {
    let residual = |layers| Layer::Residual { layers };
    let activation = Layer::Activation;
    let vectors = vec![
        linear(6),
        Layer::BatchNorm,
        activation(Activation::Softplus),
        residual(8),
        Layer::LayerNorm,
        linear(5),
        activation(Activation::Selu),
        Layer::Dropout,
        residual(1),
        activation(Activation::Sigmoid),
        linear(6),
        activation(Activation::LeakyRelu),
        residual(1),
        activation(Activation::Tanh),
        linear(1),
    ];
    let images = vec![
        Layer::BatchNorm,
        conv(4, 3, 1, 0),
        activation(Activation::Gelu),
        Layer::Dropout2d,
        Layer::MaxPool2d { kernel: 2 },
        residual(2),
        conv(4, 3, 1, 1),
        activation(Activation::Elu),
        Layer::AvgPool2d { kernel: 2 },
        residual(1),
        activation(Activation::Silu),
        Layer::Flatten,
        activation(Activation::Relu),
        linear(1),
    ];
    let pooled = vec![
        conv(8, 5, 2, 2),
        Layer::GlobalAvgPool,
        linear(1),
        residual(1),
        activation(Activation::Tanh),
    ];
    let conv1d = |filters, kernel, stride, padding| {
        Layer::Conv1d(Conv {
            filters,
            kernel,
            stride,
            padding,
        })
    };
    let sequences = vec![
        Layer::Sequence { channels: 0 },
        conv1d(6, 3, 1, 1),
        Layer::BatchNorm,
        Layer::MaxPool1d { kernel: 2 },
        Layer::Sequence { channels: 2 },
        conv1d(4, 5, 2, 0),
        Layer::Dropout,
        Layer::AvgPool1d { kernel: 2 },
        Layer::GlobalAvgPool,
        Layer::Sequence { channels: 2 },
        Layer::Flatten,
        linear(1),
    ];
    let adaptive = vec![
        Layer::AdaptiveMaxPool2d { size: 7 },
        Layer::AdaptiveAvgPool2d { size: 3 },
        Layer::Flatten,
        linear(1),
    ];
    let embedded = vec![Layer::Embedding { dim: 3 }, activation(Activation::Tanh), linear(1)];
    [
        ("words", WORDS, embedded),
        ("sequences", IMAGE, sequences),
        ("adaptive", IMAGE, adaptive),
        ("vectors", VECTOR, vectors),
        ("images", IMAGE, images),
        ("pooled", IMAGE, pooled),
    ]
}

/// Numbers that every platform rounds alike.
fn numbers(len: u64) -> Vec<f32> {
    (0..len).map(|place| (place * 37 % 101) as f32 / 64.0 - 0.75).collect()
}

/// Rows for such a network, as inputs of its first layer.
pub(crate) fn rows(input: SampleShape) -> Vec<f32> {
    numbers(ASKED * input.len())
}

/// A name and a job for each network; the job trains one member a little.
pub(crate) fn jobs() -> Vec<(&'static str, FitJob<DeviceTable>)> {
    layers().map(|(name, input, layers)| (name, job(input, layers))).into()
}

/// The columns of [`WORDS`].
fn words() -> Inputs {
    let column = |name: &str, words: &[&str]| json!({ "name": name, "kind": "words", "words": words, "others": false, "missing": "refused" });
    let number = json!({ "name": "x", "kind": "number", "scale": "none", "missing": "refused" });
    let columns = json!([column("a", &["p", "q"]), number, column("b", &["r", "s", "t"])]);
    serde_json::from_value(columns).expect("columns")
}

fn job(input: SampleShape, layers: Vec<Layer>) -> FitJob<DeviceTable> {
    let samples = Samples {
        rows: ROWS,
        shape: input,
        features: Features::Floats(numbers(u64::from(ROWS) * input.len())),
        targets: Some(Targets::Numbers(numbers(ROWS.into()))),
        inputs: matches!(input, SampleShape::Table { .. }).then(words),
        row_keys: None,
        standardizes_target: false,
    };
    let architecture = Architecture {
        input,
        layers,
        loss: Loss::Mse,
        batch_size: 8,
        epochs: 3,
    };
    FitJob {
        seed: Seed(5),
        split: Split::All,
        members: vec![JobMember {
            owner: FitOwner::Refit(0),
            fold: 0,
            hyperparameters: Hyperparameters {
                dropout: vec![0.25; architecture.dropout_layers()],
                ..Hyperparameters::new(Optimizer::Adam, 0.01)
            },
        }],
        end_epoch: architecture.epochs,
        metrics: Vec::new(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(Device::Cpu).load(&samples).expect("samples on the device"),
        test: None,
        architecture,
    }
}
