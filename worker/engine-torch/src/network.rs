//! Forward passes of all members at once.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};
use trawl_domain::dataset::SampleShape;
use trawl_domain::layer::{Activation, Conv2d, Layer};
use trawl_domain::limits::JOB_MEMBERS_MAX;
use trawl_domain::network::Architecture;

use super::dropout::Dropout;
use super::stack::Stack;
use super::statistics::EPS;

/// Bytes that one activation of all members may take while they are measured.
const MEASURE_BYTES: u64 = 64 << 20;

/// Rows that can be measured at once within bounded memory. The same for every stack that trains together, so that a member's
/// losses are summed in the same pieces in any job.
pub(super) fn rows_at_once(architecture: &Architecture, together: bool) -> i64 {
    let stack = if together { JOB_MEMBERS_MAX as u64 } else { 1 };
    let widths = architecture.shapes().unwrap_or_default();
    let widest = widths.into_iter().map(SampleShape::len).max().unwrap_or(1);
    (MEASURE_BYTES / (4 * stack * widest.max(1))).max(1) as i64
}

/// What goes from layer to layer.
enum Flow {
    /// [stack, rows, width].
    Vectors(Tensor),
    /// [rows, stack x channels, height, width]: so one grouped convolution works on all members.
    Images(Tensor),
}

impl Flow {
    /// Features [stack, rows, …].
    fn new(features: &Tensor) -> Self {
        match *features.size() {
            [stack, rows, channels, height, width] => {
                Self::Images(
                    features
                        .transpose(0, 1)
                        .reshape([rows, stack * channels, height, width]),
                )
            }
            _ => Self::Vectors(features.shallow_clone()),
        }
    }

    fn map(self, f: impl FnOnce(Tensor) -> Tensor) -> Self {
        match self {
            Self::Vectors(x) => Self::Vectors(f(x)),
            Self::Images(x) => Self::Images(f(x)),
        }
    }

    /// As [stack, rows, width].
    fn into_vectors(self, stack: i64) -> Tensor {
        match self {
            Self::Vectors(x) => x,
            Self::Images(x) => x.reshape([x.size()[0], stack, -1]).transpose(0, 1),
        }
    }

    /// The mean of each channel, [stack, rows, channels].
    fn into_channel_means(self, stack: i64) -> Tensor {
        let means = self.map(|x| x.mean_dim([2_i64, 3].as_slice(), true, Kind::Float));
        means.into_vectors(stack)
    }

    /// The numbers of each member, [stack, numbers], in this flow's form; `by_channel`, one for each channel of a row.
    fn mask(&self, stack: i64, mask: &Tensor, by_channel: bool) -> Tensor {
        match self {
            Self::Vectors(x) => mask.view(x.size().as_slice()),
            Self::Images(x) => {
                let [rows, channels, height, width] = x.size()[..] else {
                    return mask.shallow_clone();
                };
                let (height, width) = if by_channel { (1, 1) } else { (height, width) };
                mask.view([stack, rows, -1, height, width])
                    .transpose(0, 1)
                    .reshape([rows, channels, height, width])
            }
        }
    }

    /// The same memory once more.
    fn again(&self) -> Self {
        match self {
            Self::Vectors(x) => Self::Vectors(x.shallow_clone()),
            Self::Images(x) => Self::Images(x.shallow_clone()),
        }
    }

    /// Number by number.
    fn plus(self, other: &Self) -> Self {
        let (Self::Vectors(other) | Self::Images(other)) = other;
        self.map(|x| x + other)
    }

    /// With channels, or numbers of a vector, side by side for all members: [rows, stack x channels, …].
    fn by_rows(&self) -> Tensor {
        match self {
            Self::Images(x) => x.shallow_clone(),
            Self::Vectors(x) => match *x.size() {
                [stack, rows, width] => x.transpose(0, 1).reshape([rows, stack * width]),
                _ => x.shallow_clone(),
            },
        }
    }

    /// The flow that has come out where this went in, as [`Self::by_rows`] has it.
    fn with_rows(&self, rows: Tensor) -> Self {
        match self {
            Self::Images(_) => Self::Images(rows),
            Self::Vectors(x) => match *x.size() {
                [stack, len, width] => Self::Vectors(rows.view([len, stack, width]).transpose(0, 1).contiguous()),
                _ => Self::Vectors(rows),
            },
        }
    }

    /// What belongs to one place of the stack: [rows, width] or [rows, channels, height, width].
    fn of_place(&self, stack: i64, place: i64) -> Tensor {
        match self {
            Self::Vectors(x) => x.select(0, place),
            Self::Images(x) => {
                let [rows, channels, height, width] = x.size()[..] else {
                    return x.shallow_clone();
                };
                x.reshape([rows, stack, channels / stack, height, width])
                    .select(1, place)
            }
        }
    }

    /// Channels of all rows of all members.
    fn channels(&self) -> i64 {
        match self {
            Self::Vectors(x) => x.numel() as i64,
            Self::Images(x) => x.size()[..2].iter().product(),
        }
    }

    fn numel(&self) -> i64 {
        match self {
            Self::Vectors(x) | Self::Images(x) => x.numel() as i64,
        }
    }
}

/// Outputs [stack, rows, outputs] for features [stack, rows, …], numbers in the target's own unit. Dropout is applied while training alone.
pub(super) fn forward(
    architecture: &Architecture,
    stack: &Stack,
    features: &Tensor,
    dropout: Option<&mut Dropout>,
) -> Tensor {
    pass(architecture, stack, features, dropout, |_, _| {})
}

/// Outputs of the chosen layers, without dropout, for the network at one place: for each of `layers`, ascending, a tensor
/// [rows, …]. That of a residual is the sum.
pub(super) fn layer_outputs(
    architecture: &Architecture,
    stack: &Stack,
    place: i64,
    features: &Tensor,
    layers: &[usize],
) -> Vec<Tensor> {
    let mut outputs = BTreeMap::new();
    let _ = pass(architecture, stack, features, None, |index, x| {
        if layers.contains(&index) {
            outputs.insert(index, x.of_place(stack.size(), place));
        }
    });
    outputs.into_values().collect()
}

/// One forward pass; `observe` sees the output of each layer, by its index.
fn pass(
    architecture: &Architecture,
    stack: &Stack,
    features: &Tensor,
    dropout: Option<&mut Dropout>,
    mut observe: impl FnMut(usize, &Flow),
) -> Tensor {
    let mut pass = Pass {
        stack,
        dropout,
        parameters: 0,
        dropped: 0,
    };
    let mut x = Flow::new(&stack.prepare(features));
    // Residuals that are not at their end: index, that of the last of its layers, and what went in.
    let mut open: Vec<(usize, usize, Flow)> = Vec::new();
    for (index, layer) in architecture.layers.iter().enumerate() {
        if layer.inner() > 0 {
            open.push((index, index + layer.inner(), x.again()));
            continue;
        }
        x = pass.layer(layer, x);
        let is_last = index + 1 == architecture.layers.len();
        if is_last && open.is_empty() {
            x = Flow::Vectors(stack.in_own_unit(x.into_vectors(stack.size())));
        }
        observe(index, &x);
        while let Some((residual, _, input)) = open.pop_if(|(_, last, _)| *last == index) {
            x = x.plus(&input);
            if is_last && open.is_empty() {
                x = Flow::Vectors(stack.in_own_unit(x.into_vectors(stack.size())));
            }
            observe(residual, &x);
        }
    }
    x.into_vectors(stack.size())
}

/// How far a forward pass is.
struct Pass<'a> {
    stack: &'a Stack,
    /// While training.
    dropout: Option<&'a mut Dropout>,
    /// Layers with parameters so far.
    parameters: usize,
    /// Layers that drop so far.
    dropped: usize,
}

impl<'a> Pass<'a> {
    fn layer(&mut self, layer: &Layer, x: Flow) -> Flow {
        let size = self.stack.size();
        match layer {
            Layer::Linear { .. } => {
                let (weight, bias) = self.parameters();
                Flow::Vectors(bias.baddbmm(&x.into_vectors(size), weight, 1.0, 1.0))
            }
            Layer::Conv2d(conv) => {
                let (weight, bias) = self.parameters();
                x.map(|x| conv2d(*conv, &x, weight, bias))
            }
            Layer::BatchNorm => {
                let n = self.parameters;
                let ((weight, bias), trains) = (self.parameters(), self.dropout.is_some());
                let statistics = self.stack.statistics();
                x.with_rows(statistics.normalise(n, &x.by_rows(), weight, bias, trains))
            }
            Layer::LayerNorm => {
                let (weight, bias) = self.parameters();
                x.map(|x| layer_norm(&x, weight, bias))
            }
            Layer::MaxPool2d { kernel } => x.map(|x| max_pool2d(i64::from(*kernel), &x)),
            Layer::AvgPool2d { kernel } => x.map(|x| avg_pool2d(i64::from(*kernel), &x)),
            Layer::GlobalAvgPool => Flow::Vectors(x.into_channel_means(size)),
            Layer::Flatten => Flow::Vectors(x.into_vectors(size)),
            Layer::Activation(kind) => x.map(|x| activate(*kind, &x)),
            Layer::Dropout => self.drop_out(x, false),
            Layer::Dropout2d => self.drop_out(x, true),
            // Its layers come behind it.
            Layer::Residual { .. } => x,
        }
    }

    /// Weight and bias of the next layer that has any.
    fn parameters(&mut self) -> (&'a Tensor, &'a Tensor) {
        self.parameters += 1;
        self.stack.parameters(self.parameters - 1)
    }

    /// The next layer that drops, numbers or channels.
    fn drop_out(&mut self, x: Flow, by_channel: bool) -> Flow {
        self.dropped += 1;
        let Some(dropout) = self.dropout.as_mut() else {
            return x;
        };
        let size = self.stack.size();
        let len = if by_channel { x.channels() } else { x.numel() } / size;
        match dropout.mask(self.dropped - 1, size, len) {
            Some(mask) => {
                let mask = x.mask(size, &mask, by_channel);
                x.map(|x| x * mask)
            }
            None => x,
        }
    }
}

/// Each row by its own mean and variance, [stack, rows, numbers].
fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let width = weight.size().last().copied().unwrap_or(0);
    let normal = x.layer_norm([width], None::<&Tensor>, None::<&Tensor>, EPS, false);
    bias.unsqueeze(1).addcmul(&normal, &weight.unsqueeze(1))
}

fn activate(kind: Activation, x: &Tensor) -> Tensor {
    match kind {
        Activation::Relu => x.relu(),
        Activation::LeakyRelu => x.leaky_relu(),
        Activation::Sigmoid => x.sigmoid(),
        Activation::Tanh => x.tanh(),
        Activation::Gelu => x.gelu("none"),
        Activation::Silu => x.silu(),
        Activation::Elu => x.elu(),
        Activation::Selu => x.selu(),
        Activation::Softplus => x.softplus(),
    }
}

/// Each member's channels with its own filters: one group a member.
fn conv2d(conv: Conv2d, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let [stack, filters, channels, kernel, _] = weight.size()[..] else {
        return x.shallow_clone();
    };
    let weight = weight.reshape([stack * filters, channels, kernel, kernel]);
    let bias = bias.reshape([stack * filters]);
    let (stride, padding) = (i64::from(conv.stride), i64::from(conv.padding));
    x.conv2d(&weight, Some(&bias), stride, padding, 1, stack)
}

fn avg_pool2d(kernel: i64, x: &Tensor) -> Tensor {
    x.avg_pool2d(kernel, kernel, 0, false, true, None::<i64>)
}

fn max_pool2d(kernel: i64, x: &Tensor) -> Tensor {
    x.max_pool2d(kernel, kernel, 0, 1, false)
}

/// How many rows of each member have the right class, [stack].
pub(super) fn correct(outputs: &Tensor, targets: &Tensor) -> Tensor {
    outputs
        .argmax(2, false)
        .eq_tensor(targets)
        .sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)
}
