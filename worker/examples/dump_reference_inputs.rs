//! Writes what the trainer derives from the seed for the runs of `tests/pytorch.rs`, as JSON to stdout: the table, and each
//! member's rows, batch orders and initial weights. `tests/reference/make_reference.py` trains on it with PyTorch.

#[path = "../tests/reference/mod.rs"]
mod reference;

use serde_json::{Value, json};
use trawl_domain::network::{Activation, Layer};
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
        let job = reference::job(ACTIVATIONS[0], batch_size, epochs);
        let members: Vec<Value> = job.members.iter().map(|member| inputs(&job, member)).collect();
        json!({ "name": name, "batch_size": batch_size, "epochs": epochs, "members": members })
    });
    let activations = ACTIVATIONS.map(|activation| activation.as_str());
    println!(
        "{}",
        json!({ "features": features, "targets": targets, "activations": activations, "variants": variants })
    );
}

fn inputs(job: &TrainJob, member: &Member) -> Value {
    let cut = job.split.rows(job.seed, reference::ROWS, member.fold);
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

/// For each linear layer its weight, [outputs, inputs], and its bias.
fn weights(job: &TrainJob, member: &Member) -> Vec<Value> {
    let mut stream = job.seed.stream(Purpose::Weights {
        owner: member.owner,
        fold: member.fold,
    });
    let mut inputs = 1;
    let mut layers = Vec::new();
    for layer in &job.architecture.layers {
        let Layer::Linear { units } = layer else { continue };
        let bound = 1.0 / f64::from(inputs).sqrt();
        let mut row =
            |len: u32| -> Vec<f32> { (0..len).map(|_| ((2.0 * stream.unit() - 1.0) * bound) as f32).collect() };
        let weight: Vec<Vec<f32>> = (0..*units).map(|_| row(inputs)).collect();
        layers.push(json!({ "weight": weight, "bias": row(*units) }));
        inputs = *units;
    }
    layers
}
