//! Writes the inputs that the engine derives from the seed for the runs of `tests/pytorch.rs`, as JSON to stdout: the table, the
//! images, and each member's rows, batch orders and initial weights. `tests/reference/make_reference.py` trains PyTorch on them.

#[path = "../tests/reference/mod.rs"]
mod reference;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tch::Device;
use trawl_dataset::Features;
use trawl_domain::fold::RowKeys;
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Layer, WrittenLayer};
use trawl_domain::loss::ClassWeights;
use trawl_domain::seed::Purpose;
use trawl_engine::FitJob;
use trawl_engine_torch::DeviceTable;

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
    let losses = reference::LOSSES.map(|loss| {
        let job = reference::loss_job(loss, Device::Cpu);
        let members: Vec<Value> = job
            .members
            .iter()
            .map(|member| inputs(&job, member, reference::ROWS))
            .collect();
        json!({ "loss": loss.as_str(), "batch_size": job.architecture.batch_size, "members": members })
    });
    let class_losses = reference::class_runs().into_iter().map(|run| {
        let job = reference::class_job(&run, Device::Cpu);
        let members = job.members.iter();
        json!({
            "name": run.name,
            "loss": run.loss.as_str(),
            "class_weights": run.weights.as_ref().map(|weights| match weights {
                ClassWeights::Balanced => json!("balanced"),
                ClassWeights::Named(weights) => json!(weights),
            }),
            "batch_size": job.architecture.batch_size,
            "members": members.map(|member| inputs(&job, member, reference::ROWS)).collect::<Vec<Value>>(),
        })
    });
    let methods = reference::methods::jobs(Device::Cpu).into_iter().map(|(name, job)| {
        let members = job.members.iter();
        json!({
            "name": name,
            "batch_size": job.architecture.batch_size,
            "members": members.map(|member| inputs(&job, member, reference::ROWS)).collect::<Vec<Value>>(),
        })
    });
    let networks = reference::network_runs().into_iter().map(|run| {
        let job = reference::network_job(&run, Device::Cpu);
        let rows = if run.images { reference::IMAGES } else { reference::ROWS };
        let members = job.members.iter().map(|member| inputs(&job, member, rows));
        json!({
            "name": run.name,
            "images": run.images,
            "words": run.words,
            "layers": WrittenLayer::list(&job.architecture.layers, &[]),
            "batch_size": job.architecture.batch_size,
            "members": members.collect::<Vec<Value>>(),
        })
    });
    println!(
        "{}",
        json!({
            "methods": methods.collect::<Vec<Value>>(),
            "features": features,
            "targets": targets,
            "activations": activations,
            "variants": variants,
            "losses": losses,
            "labels": reference::labels(),
            "binary": reference::binary(),
            "class_losses": class_losses.collect::<Vec<Value>>(),
            "images": reference::Images::ALL.map(cnn),
            "words": words(),
            "networks": networks.collect::<Vec<Value>>(),
        })
    );
}

/// The table with columns of words, as a network sees it, and for each such column its first input and its number of inputs.
fn words() -> Value {
    let samples = reference::words();
    let Features::Floats(features) = &samples.features else {
        panic!("a table has numbers")
    };
    let rows: Vec<&[f32]> = features.chunks(samples.shape.len() as usize).collect();
    let words = samples.inputs.as_ref().expect("a table has columns").words();
    let words: Vec<[usize; 2]> = words.iter().map(|words| [words.start, words.len()]).collect();
    json!({ "features": rows, "words": words })
}

/// The runs of one network of images.
fn cnn(network: reference::Images) -> Value {
    let job = reference::cnn_job(network, Device::Cpu);
    let (pixels, labels) = reference::images();
    let members: Vec<Value> = job
        .members
        .iter()
        .map(|member| inputs(&job, member, reference::IMAGES))
        .collect();
    json!({
        "name": network.name(),
        "shape": job.architecture.input.dims(),
        "pixels": pixels,
        "labels": labels,
        "layers": job.architecture.layers.iter().map(describe).collect::<Vec<Value>>(),
        "batch_size": job.architecture.batch_size,
        "members": members,
    })
}

/// Kind of a layer, and its settings.
fn describe(layer: &Layer) -> Value {
    let settings: BTreeMap<_, _> = layer.settings().collect();
    json!({ "kind": layer.kind().name, "settings": settings })
}

fn inputs(job: &FitJob<DeviceTable>, member: &JobMember, rows: u32) -> Value {
    let keys = RowKeys {
        rows,
        ..RowKeys::default()
    };
    let folds = job.split.rows(job.seed, keys, &BTreeSet::from([member.fold]));
    let cut = &folds.expect("the runs do not stratify")[&member.fold];
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
        "weight_decay": own.weight_decay,
        "label_smoothing": own.label_smoothing,
        "focal_gamma": own.focal_gamma,
        "schedule": own.schedule.as_str(),
        "stops_by": own.early_stopping.map(|stopping| stopping.metric.as_str()),
        "settings": own.settings().into_iter().collect::<BTreeMap<_, _>>(),
        "layers": weights(job, member),
        "orders": orders,
        "validate": cut.validate,
    })
}

/// For each layer with random parameters: its weight, as a list of inputs for each output, and its bias.
fn weights(job: &FitJob<DeviceTable>, member: &JobMember) -> Vec<Value> {
    let mut stream = job.seed.stream(Purpose::Weights {
        owner: member.owner,
        fold: member.fold,
    });
    let weights = job.architecture.weights().expect("layers that fit together");
    let mut layers = Vec::new();
    // Norms begin with ones and zeros, as PyTorch's.
    for (index, weight) in weights.into_iter().filter(|(_, weight)| weight.len() > 1) {
        let (outputs, inputs) = (weight[0], weight[1..].iter().product::<u32>());
        if matches!(job.architecture.layers[index], Layer::Embedding { .. }) {
            let mut row = || -> Vec<f32> { (0..inputs).map(|_| stream.normal() as f32).collect() };
            layers.push(json!({ "weight": (0..outputs).map(|_| row()).collect::<Vec<_>>() }));
            continue;
        }
        let bound = 1.0 / f64::from(inputs).sqrt();
        let mut row =
            |len: u32| -> Vec<f32> { (0..len).map(|_| ((2.0 * stream.unit() - 1.0) * bound) as f32).collect() };
        let weight: Vec<Vec<f32>> = (0..outputs).map(|_| row(inputs)).collect();
        layers.push(json!({ "weight": weight, "bias": row(outputs) }));
    }
    layers
}
