//! Forward passes of all members at once.

use tch::{Kind, Tensor};
use trawl_domain::network::{Activation, Architecture, Layer, Loss};

use super::dropout::Dropout;
use super::stack::Stack;

/// Bytes that one activation of all members may take while they are measured.
const MEASURE_BYTES: i64 = 64 << 20;

/// How many dropout layers there are.
pub(super) fn dropout_layers(architecture: &Architecture) -> usize {
    architecture
        .layers
        .iter()
        .filter(|layer| **layer == Layer::Dropout)
        .count()
}

/// Rows that can be measured at once within bounded memory.
pub(super) fn rows_at_once(architecture: &Architecture, stack: i64) -> i64 {
    let widths = architecture.layers.iter().map(|layer| match layer {
        Layer::Linear { units } => i64::from(*units),
        Layer::Activation(_) | Layer::Dropout => 1,
    });
    (MEASURE_BYTES / (4 * stack * widths.max().unwrap_or(1))).max(1)
}

/// Outputs [stack, rows, outputs] for features [stack, rows, features]. Dropout is applied while training alone.
pub(super) fn forward(
    architecture: &Architecture,
    stack: &Stack,
    features: &Tensor,
    mut dropout: Option<&mut Dropout>,
) -> Tensor {
    let mut x = features.shallow_clone();
    let (mut linear, mut dropped) = (0, 0);
    for layer in &architecture.layers {
        x = match layer {
            Layer::Linear { .. } => {
                let (weight, bias) = stack.linear(linear);
                linear += 1;
                bias.baddbmm(&x, weight, 1.0, 1.0)
            }
            Layer::Activation(Activation::Relu) => x.relu(),
            Layer::Activation(Activation::LeakyRelu) => x.leaky_relu(),
            Layer::Activation(Activation::Sigmoid) => x.sigmoid(),
            Layer::Activation(Activation::Tanh) => x.tanh(),
            Layer::Dropout => {
                dropped += 1;
                match dropout.as_mut().and_then(|dropout| dropout.mask(dropped - 1, &x)) {
                    Some(mask) => x * mask,
                    None => x,
                }
            }
        };
    }
    x
}

/// Mean loss of each member, [stack].
pub(super) fn loss(loss: Loss, outputs: &Tensor, targets: &Tensor) -> Tensor {
    match loss {
        Loss::Mse => (outputs - targets)
            .square()
            .mean_dim([1_i64, 2].as_slice(), false, Kind::Float),
    }
}
