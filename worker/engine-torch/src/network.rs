//! Forward passes of all members at once.

use std::collections::BTreeMap;
use std::ops::Range;

use tch::{Device, Kind, Tensor};
use trawl_dataset::SampleShape;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::limits::JOB_MEMBERS_MAX;
use trawl_domain::network::Architecture;

use super::dropout::Dropout;
use super::stack::Stack;
use super::statistics::EPS;

/// Most bytes of one activation of all members while they are measured.
const MEASURE_BYTES: u64 = 64 << 20;

/// Rows that can be measured at once within bounded memory. The number is the same for every stack that trains
/// together, so that a member's losses are summed in the same pieces in any job.
pub(super) fn rows_at_once(architecture: &Architecture, fused: bool) -> i64 {
    let stack = if fused { JOB_MEMBERS_MAX as u64 } else { 1 };
    let widths = architecture.shapes().unwrap_or_default();
    let widest = widths.into_iter().map(SampleShape::len).max().unwrap_or(1);
    (MEASURE_BYTES / (4 * stack * widest.max(1))).max(1) as i64
}

/// Values between two layers.
enum Flow {
    /// [stack, rows, width].
    Vectors(Tensor),
    /// [rows, stack x channels, height, width], so that one grouped convolution serves all members. Sequences are images of one row.
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

    /// As [rows, stack x channels, 1, length]. 0 channels mean 1 for vectors, and for images the rows of all channels.
    fn into_sequences(self, stack: i64, channels: i64) -> Tensor {
        let own = match &self {
            Self::Vectors(_) => stack,
            Self::Images(x) => x.size()[1] * x.size()[2],
        };
        let channels = if channels == 0 { own } else { stack * channels };
        let x = self.by_rows();
        x.reshape([x.size()[0], channels, 1, -1])
    }

    /// The mean of each channel, [stack, rows, channels].
    fn into_channel_means(self, stack: i64) -> Tensor {
        let means = self.map(|x| x.mean_dim([2_i64, 3].as_slice(), true, Kind::Float));
        means.into_vectors(stack)
    }

    /// A mask of the numbers of each member, [stack, numbers], in this flow's form; with `by_channel`, one number for each channel of a row.
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

    /// A view of the same memory.
    fn again(&self) -> Self {
        match self {
            Self::Vectors(x) => Self::Vectors(x.shallow_clone()),
            Self::Images(x) => Self::Images(x.shallow_clone()),
        }
    }

    /// Element-wise sum.
    fn plus(self, other: &Self) -> Self {
        let (Self::Vectors(other) | Self::Images(other)) = other;
        self.map(|x| x + other)
    }

    /// With the members' channels, or numbers of a vector, side by side: [rows, stack x channels, …].
    fn by_rows(&self) -> Tensor {
        match self {
            Self::Images(x) => x.shallow_clone(),
            Self::Vectors(x) => match *x.size() {
                [stack, rows, width] => x.transpose(0, 1).reshape([rows, stack * width]),
                _ => x.shallow_clone(),
            },
        }
    }

    /// Output of a layer with this input, from the form of [`Self::by_rows`].
    fn with_rows(&self, rows: Tensor) -> Self {
        match self {
            Self::Images(_) => Self::Images(rows),
            Self::Vectors(x) => match *x.size() {
                [stack, len, width] => Self::Vectors(rows.view([len, stack, width]).transpose(0, 1).contiguous()),
                _ => Self::Vectors(rows),
            },
        }
    }

    /// The part of one place of the stack: [rows, width] or [rows, channels, height, width].
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

/// Outputs [stack, rows, outputs] for features [stack, rows, …]; numbers are in the target's own unit. Only training applies dropout.
pub(super) fn forward(
    architecture: &Architecture,
    stack: &Stack,
    features: &Tensor,
    dropout: Option<&mut Dropout>,
) -> Tensor {
    pass(architecture, stack, features, dropout, |_, _| {})
}

/// Outputs of the chosen layers, without dropout, for the network at one place: for each of `layers`, ascending, a
/// tensor [rows, …]. The output of a residual is its sum.
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
    // Open residuals: index, index of the last inner layer, and input.
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

/// The state of a forward pass.
struct Pass<'a> {
    stack: &'a Stack,
    /// Only while training.
    dropout: Option<&'a mut Dropout>,
    /// Layers with parameters so far.
    parameters: usize,
    /// Dropout layers so far.
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
            Layer::Embedding { .. } => {
                let (weight, words) = (self.weight(), self.stack.words());
                Flow::Vectors(embed(words, &x.into_vectors(size), weight))
            }
            Layer::Sequence { channels } => Flow::Images(x.into_sequences(size, i64::from(*channels))),
            Layer::Conv1d(conv) | Layer::Conv2d(conv) => {
                let (weight, bias) = self.parameters();
                x.map(|x| convolve(*conv, &x, weight, bias))
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
            Layer::MaxPool1d { kernel } => x.map(|x| max_pool([1, i64::from(*kernel)], &x)),
            Layer::AvgPool1d { kernel } => x.map(|x| avg_pool([1, i64::from(*kernel)], &x)),
            Layer::MaxPool2d { kernel } => x.map(|x| max_pool([i64::from(*kernel); 2], &x)),
            Layer::AvgPool2d { kernel } => x.map(|x| avg_pool([i64::from(*kernel); 2], &x)),
            Layer::AdaptiveAvgPool2d { size } => x.map(|x| adaptive_avg_pool(i64::from(*size), &x)),
            Layer::AdaptiveMaxPool2d { size } => x.map(|x| adaptive_max_pool(i64::from(*size), &x)),
            Layer::GlobalAvgPool => Flow::Vectors(x.into_channel_means(size)),
            Layer::Flatten => Flow::Vectors(x.into_vectors(size)),
            Layer::Activation(kind) => x.map(|x| activate(*kind, &x)),
            Layer::Dropout => self.drop_out(x, false),
            Layer::Dropout2d => self.drop_out(x, true),
            // Its inner layers follow.
            Layer::Residual { .. } => x,
        }
    }

    /// Weight and bias of the next layer with parameters.
    fn parameters(&mut self) -> (&'a Tensor, &'a Tensor) {
        let weight = self.weight();
        (weight, self.stack.bias(self.parameters - 1))
    }

    /// The weight of a layer without a bias.
    fn weight(&mut self) -> &'a Tensor {
        self.parameters += 1;
        self.stack.weight(self.parameters - 1)
    }

    /// The next dropout layer, for numbers or channels.
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

/// The inputs of each column of words, [stack, rows, words], times its part of the weight, [stack, dim, words]; other inputs pass unchanged.
fn embed(words: &[Range<usize>], x: &Tensor, weight: &Tensor) -> Tensor {
    let (mut parts, mut end, mut first) = (Vec::new(), 0, 0);
    for columns in words {
        let (start, len) = (columns.start as i64, columns.len() as i64);
        parts.push(x.narrow(2, end, start - end));
        let of_column = weight.narrow(2, first, len).transpose(1, 2);
        parts.push(x.narrow(2, start, len).bmm(&of_column));
        (end, first) = (start + len, first + len);
    }
    parts.push(x.narrow(2, end, x.size()[2] - end));
    Tensor::cat(&parts, 2)
}

/// Normalises each row by its own mean and variance, [stack, rows, numbers].
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

/// Convolves each member's channels with its own filters: one group for each member. Kernels of sequences, [stack, filters, channels, length], have one row.
fn convolve(conv: Conv, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let (stack, filters, channels) = (weight.size()[0], weight.size()[1], weight.size()[2]);
    let kernel = i64::from(conv.kernel);
    let (stride, padding) = (i64::from(conv.stride), i64::from(conv.padding));
    let is_of_sequences = weight.dim() == 4;
    let (rows, stride, padding) = match is_of_sequences {
        true => (1, [1, stride], [0, padding]),
        false => (kernel, [stride; 2], [padding; 2]),
    };
    let weight = weight.reshape([stack * filters, channels, rows, kernel]);
    let bias = bias.reshape([stack * filters]);
    x.conv2d(&weight, Some(&bias), stride, padding, 1, stack)
}

fn avg_pool(kernel: [i64; 2], x: &Tensor) -> Tensor {
    x.avg_pool2d(kernel, kernel, 0, false, true, None::<i64>)
}

fn max_pool(kernel: [i64; 2], x: &Tensor) -> Tensor {
    x.max_pool2d(kernel, kernel, 0, 1, false)
}

fn adaptive_avg_pool(size: i64, x: &Tensor) -> Tensor {
    if adds_in_order(size, x) {
        return x.adaptive_avg_pool2d([size; 2]);
    }
    let mean = |part: &Tensor, dim: i64| part.mean_dim([dim].as_slice(), true, Kind::Float);
    by_parts(size, &by_parts(size, x, 3, mean), 2, mean)
}

fn adaptive_max_pool(size: i64, x: &Tensor) -> Tensor {
    if adds_in_order(size, x) {
        return x.adaptive_max_pool2d([size; 2]).0;
    }
    // Among equal values this takes the first of each row, then the first row: the first of all, as a single call does.
    let largest = |part: &Tensor, dim: i64| part.max_dim(dim, true).0;
    by_parts(size, &by_parts(size, x, 3, largest), 2, largest)
}

/// True if libtorch adds the gradients of adaptive pools in a fixed order. On GPUs it does not where parts overlap.
fn adds_in_order(size: i64, x: &Tensor) -> bool {
    let sides = &x.size()[2..];
    x.device() == Device::Cpu || sides.iter().all(|side| side % size == 0)
}

/// Applies `of` to each of `size` parts of one dimension, as PyTorch's adaptive pools divide it: neighbouring parts may overlap by an element.
fn by_parts(size: i64, x: &Tensor, dim: i64, of: impl Fn(&Tensor, i64) -> Tensor) -> Tensor {
    let side = x.size()[dim as usize];
    let part = |index: i64| {
        let (start, end) = (index * side / size, ((index + 1) * side + size - 1) / size);
        of(&x.narrow(dim, start, end - start), dim)
    };
    Tensor::cat(&(0..size).map(part).collect::<Vec<_>>(), dim)
}

/// Rows of each member whose class is predicted, [stack].
pub(super) fn correct(outputs: &Tensor, targets: &Tensor) -> Tensor {
    outputs
        .argmax(2, false)
        .eq_tensor(targets)
        .sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_by_parts_are_those_of_libtorch_with_their_gradients() {
        // Numbers with many ties.
        let values: Vec<f32> = (0..2 * 3 * 7 * 5).map(|place| (place * 37 % 11) as f32 - 4.0).collect();
        let pooled = |by_parts_of: bool, largest: bool, size: i64| {
            let x = Tensor::from_slice(&values).view([2, 3, 7, 5]).set_requires_grad(true);
            let mean = |part: &Tensor, dim: i64| part.mean_dim([dim].as_slice(), true, Kind::Float);
            let max = |part: &Tensor, dim: i64| part.max_dim(dim, true).0;
            let y = match (by_parts_of, largest) {
                (true, true) => by_parts(size, &by_parts(size, &x, 3, max), 2, max),
                (true, false) => by_parts(size, &by_parts(size, &x, 3, mean), 2, mean),
                (false, true) => adaptive_max_pool(size, &x),
                (false, false) => adaptive_avg_pool(size, &x),
            };
            let weights = Tensor::arange(y.numel() as i64, (Kind::Float, Device::Cpu)).view_as(&y);
            let gradient = Tensor::run_backward(&[(&y * weights).sum(Kind::Float)], &[&x], false, false);
            (y.detach(), gradient[0].shallow_clone())
        };
        for (largest, size) in [(true, 3), (false, 3), (true, 5), (false, 5), (true, 9), (false, 9)] {
            let ((ours, ours_back), (theirs, theirs_back)) =
                (pooled(true, largest, size), pooled(false, largest, size));
            assert!(
                ours.allclose(&theirs, 1e-6, 1e-6, false),
                "{largest} {size}: {ours} is not {theirs}"
            );
            assert!(
                ours_back.allclose(&theirs_back, 1e-5, 1e-5, false),
                "{largest} {size}: gradients"
            );
        }
    }
}
