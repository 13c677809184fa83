//! Writes what the trainer derives from the seed for the runs of `tests/pytorch.rs`, as JSON to stdout: the table, the images, and each
//! member's rows, batch orders and initial weights. `tests/reference/make_reference.py` trains on it with PyTorch.

#[path = "../tests/reference/mod.rs"]
mod reference;

use serde_json::{Value, json};
use tch::Device;
use trawl_domain::dataset::SampleShape;
use trawl_domain::layer::{Activation, Layer};
use trawl_domain::seed::Purpose;
use trawl_worker::trainer::{Member, TrainJob};

const ACTIVATIONS: [Activation; 4] = [
    Activation::Relu,
    Activation::LeakyRelu,
    Activation::Sigmoid,
    Activation::Tanh,
];

fn main() {
    let (features, targets) = reference::table();
    let variants = reference::VARIANTS.map(|(name, batch_size, epochs)| {
        let job = reference::job(ACTIVATIONS[0], batch_size, epochs, Device::Cpu);
        let members: Vec<Value> = job
            .members
            .iter()
            .map(|member| inputs(&job, member, reference::ROWS))
            .collect();
        json!({ "name": name, "batch_size": batch_size, "epochs": epochs, "members": members })
    });
    let activations = ACTIVATIONS.map(|activation| activation.as_str());
    println!(
        "{}",
        json!({ "features": features, "targets": targets, "activations": activations, "variants": variants, "cnn": cnn() })
    );
}

/// The convolutional runs.
fn cnn() -> Value {
    let job = reference::cnn_job(Device::Cpu);
    let (pixels, labels) = reference::images();
    let members: Vec<Value> = job
        .members
        .iter()
        .map(|member| inputs(&job, member, reference::IMAGES))
        .collect();
    json!({
        "shape": job.architecture.input.dims(),
        "pixels": pixels,
        "labels": labels,
        "layers": job.architecture.layers.iter().map(describe).collect::<Vec<Value>>(),
        "batch_size": job.architecture.batch_size,
        "members": members,
    })
}

/// Kind of a layer, and the side of its kernel where PyTorch cannot tell it from the weights.
fn describe(layer: &Layer) -> Value {
    match layer {
        Layer::Linear { .. } => json!({ "kind": "linear" }),
        Layer::Conv2d(_) => json!({ "kind": "conv2d" }),
        Layer::MaxPool2d { kernel } => json!({ "kind": "max_pool2d", "kernel": kernel }),
        Layer::Flatten => json!({ "kind": "flatten" }),
        Layer::Activation(kind) => json!({ "kind": kind.as_str() }),
        Layer::Dropout => json!({ "kind": "dropout" }),
    }
}

fn inputs(job: &TrainJob, member: &Member, rows: u32) -> Value {
    let cut = job.split.rows(job.seed, rows, member.fold);
    let (owner, fold) = (member.owner, member.fold);
    let orders: Vec<Vec<u32>> = (0..job.architecture.epochs)
        .map(|epoch| {
            let order = job
                .seed
                .stream(Purpose::BatchOrder { owner, fold, epoch })
                .permutation(cut.train.len());
            order.into_iter().map(|row| cut.train[row as usize]).collect()
        })
        .collect();
    let own = &member.hyperparameters;
    json!({
        "optimizer": own.optimizer.as_str(),
        "learning_rate": own.learning_rate,
        "l2": own.l2,
        "momentum": own.momentum,
        "layers": weights(job, member),
        "orders": orders,
        "validate": cut.validate,
    })
}

/// For each layer with parameters its weight, a list of inputs for each output, and its bias.
fn weights(job: &TrainJob, member: &Member) -> Vec<Value> {
    let mut stream = job.seed.stream(Purpose::Weights {
        owner: member.owner,
        fold: member.fold,
    });
    let shapes = job.architecture.shapes().expect("layers that fit together");
    let mut layers = Vec::new();
    for (layer, input) in job.architecture.layers.iter().zip(shapes) {
        let (inputs, outputs) = match (layer, input) {
            (Layer::Linear { units }, input) => (input.len() as u32, *units),
            (Layer::Conv2d(conv), SampleShape::Image { channels, .. }) => {
                (channels * conv.kernel * conv.kernel, conv.filters)
            }
            _ => continue,
        };
        let bound = 1.0 / f64::from(inputs).sqrt();
        let mut row =
            |len: u32| -> Vec<f32> { (0..len).map(|_| ((2.0 * stream.unit() - 1.0) * bound) as f32).collect() };
        let weight: Vec<Vec<f32>> = (0..outputs).map(|_| row(inputs)).collect();
        layers.push(json!({ "weight": weight, "bias": row(outputs) }));
    }
    layers
}
