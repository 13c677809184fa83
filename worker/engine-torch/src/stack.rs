//! The parameters of all members: one flat buffer, and views of it for each layer.
//!
//! Optimizers work on the flat buffer with a handful of operations, however many layers there are; the network works on
//! the views. Both share memory.

use std::ops::Range;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use trawl_dataset::FittedTable;
use trawl_domain::layer::Layer;
use trawl_domain::limits::JOB_MEMBERS_MAX;
use trawl_domain::network::Architecture;
use trawl_domain::seed::{Purpose, Stream};
use trawl_engine::weights::Parameter;
use trawl_engine::{EngineError, FitJob};

use super::DeviceTable;
use super::preparation::Preparation;
use super::statistics::Statistics;

/// Sizes are rounded up to a multiple of this number of floats, twice the widest vector register: element-wise kernels
/// treat a partly filled register with other code and other rounding. So their results do not depend on a member's
/// place in the stack; for matrix products, [`super::rounding`] ensures that.
pub(super) const ALIGN: i64 = 32;

/// Networks of a stack that trains `members` together, with idle networks to fill it. On a GPU all stacks have one size, because
/// libraries choose their code, and thereby their rounding, by it: so a member's results do not depend on the number of others.
fn stack_size(members: usize, fused: bool, device: Device) -> i64 {
    match device {
        _ if !fused => members as i64,
        Device::Cpu => round_up(members as i64),
        _ => round_up(members.max(JOB_MEMBERS_MAX) as i64),
    }
}

/// The parameters of all members, and of the idle networks that fill the stack.
#[derive(Debug)]
pub(super) struct Stack {
    /// Job's member by place in the stack: sorted by optimizer, so that each optimizer has one slice.
    places: Vec<usize>,
    /// [stack, parameters]; rows are padded.
    flat: Tensor,
    /// The tensors that autograd differentiates by, views of `flat`: for each linear layer its weight [stack, inputs, outputs] and bias [stack, 1,
    /// outputs], for an embedding its weight [stack, dim, words], for each convolution its weight [stack, filters, channels, kernel, kernel], for
    /// sequences [stack, filters, channels, kernel], and its bias [stack, filters], for each norm its weight and bias [stack, numbers].
    leaves: Vec<Tensor>,
    /// Where the leaves of each layer with parameters begin.
    starts: Vec<usize>,
    /// Statistics of batch norms.
    statistics: Statistics,
    /// Zeros that fill the gap behind each leaf in a row of `flat`.
    gaps: Vec<Option<Tensor>>,
    /// Preparation of rows and targets; `None` where both are used as they are.
    preparation: Option<Preparation>,
}

/// Where the parameters of one layer lie in a row of the flat buffer.
struct Block {
    /// Shape of the weight, as it is stored.
    weight_shape: Vec<i64>,
    /// Shape of the bias, as it is stored; `None` without a bias.
    bias_shape: Option<Vec<i64>>,
    /// Inputs of one output, which determine initial values.
    fan_in: i64,
    outputs: i64,
    kind: BlockKind,
    weight: i64,
    bias: i64,
    end: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockKind {
    Linear,
    Embedding,
    Convolution,
    Norm { has_statistics: bool },
}

fn blocks(architecture: &Architecture) -> Result<Vec<Block>, EngineError> {
    let weights = architecture
        .weights()
        .map_err(|misfit| EngineError::BadJob(misfit.to_string()))?;
    let (mut blocks, mut next) = (Vec::new(), 0);
    for (index, weight) in weights {
        let weight: Vec<i64> = weight.into_iter().map(i64::from).collect();
        let (outputs, fan_in) = (weight[0], weight[1..].iter().product());
        let kind = match architecture.layers[index] {
            Layer::BatchNorm => BlockKind::Norm { has_statistics: true },
            Layer::Embedding { .. } => BlockKind::Embedding,
            Layer::LayerNorm => BlockKind::Norm { has_statistics: false },
            Layer::Conv1d(_) | Layer::Conv2d(_) => BlockKind::Convolution,
            _ => BlockKind::Linear,
        };
        let (weight_shape, bias_shape) = match kind {
            // Stored as [inputs, outputs], so that a batch times it is a plain product.
            BlockKind::Linear => (vec![fan_in, outputs], Some(vec![1, outputs])),
            BlockKind::Embedding => (vec![fan_in, outputs], None),
            BlockKind::Convolution | BlockKind::Norm { .. } => (weight, Some(vec![outputs])),
        };
        let bias = next + round_up(fan_in * outputs);
        let end = bias + bias_shape.as_ref().map_or(0, |_| round_up(outputs));
        blocks.push(Block {
            weight_shape,
            bias_shape,
            fan_in,
            outputs,
            kind,
            weight: next,
            bias,
            end,
        });
        next = end;
    }
    Ok(blocks)
}

impl Block {
    /// PyTorch's initial values. For linear layers and convolutions: weight and bias uniform in ±1/sqrt(inputs of one output), weight (in
    /// PyTorch's order, output by output) before bias. For norms: weights 1, biases 0. For an embedding: normal, word by word.
    fn initialise(&self, row: &mut [f32], stream: &mut Stream) {
        if matches!(self.kind, BlockKind::Norm { .. }) {
            row[self.weight as usize..][..self.outputs as usize].fill(1.0);
            return;
        }
        if self.kind == BlockKind::Embedding {
            self.fill(row, || stream.normal() as f32);
            return;
        }
        let bound = 1.0 / (self.fan_in as f64).sqrt();
        self.fill(row, || ((2.0 * stream.unit() - 1.0) * bound) as f32);
    }

    /// Takes values for a row in PyTorch's order: the weight, output by output, then the bias.
    fn fill(&self, row: &mut [f32], mut next: impl FnMut() -> f32) {
        for output in 0..self.outputs {
            for input in 0..self.fan_in {
                let place = if matches!(self.kind, BlockKind::Linear | BlockKind::Embedding) {
                    input * self.outputs + output
                } else {
                    output * self.fan_in + input
                };
                row[(self.weight + place) as usize] = next();
            }
        }
        if self.bias_shape.is_some() {
            let bias = &mut row[self.bias as usize..][..self.outputs as usize];
            bias.iter_mut().for_each(|bias| *bias = next());
        }
    }
}

/// Checks that an embedding has a weight for each word of the columns.
fn check_words(blocks: &[Block], preparation: Option<&Preparation>) -> Result<(), EngineError> {
    let words = preparation.map_or(&[][..], Preparation::words);
    let words: i64 = words.iter().map(|words| words.len() as i64).sum();
    let is_whole = |block: &Block| block.kind != BlockKind::Embedding || block.outputs == words;
    match blocks.iter().all(is_whole) {
        true => Ok(()),
        false => Err(EngineError::BadJob(
            "its columns of words are not those of the embedding".to_owned(),
        )),
    }
}

fn round_up(len: i64) -> i64 {
    (len + ALIGN - 1) / ALIGN * ALIGN
}

impl Stack {
    /// These members of a job with their initial weights, each from its own stream.
    pub(super) fn new(
        job: &FitJob<DeviceTable>,
        members: &[usize],
        fused: bool,
        device: Device,
    ) -> Result<Self, EngineError> {
        let mut places = members.to_vec();
        places.sort_by_key(|member| (job.members[*member].hyperparameters.optimizer, *member));
        let size = stack_size(places.len(), fused, device);
        let blocks = blocks(&job.architecture)?;
        let width = blocks.last().map_or(0, |block| block.end);

        let mut values = vec![0.0_f32; (size * width) as usize];
        for (place, member) in places.iter().enumerate() {
            let member = &job.members[*member];
            let row = &mut values[place * width as usize..][..width as usize];
            let mut stream = job.seed.stream(Purpose::Weights {
                owner: member.owner,
                fold: member.fold,
            });
            blocks.iter().for_each(|block| block.initialise(row, &mut stream));
        }
        let flat = Tensor::from_slice(&values).view([size, width]).to_device(device);
        let folds = || places.iter().map(|member| job.members[*member].fold);
        let fitted = job.data.fitted(job.seed, job.split, &folds().collect())?;
        let fitted = folds().filter_map(|fold| fitted.get(&fold).cloned()).collect();
        let preparation = Preparation::new(fitted, job.architecture.input, size, device);
        check_words(&blocks, preparation.as_ref())?;
        Ok(Self {
            preparation,
            ..Self::over(flat, &blocks, places)
        })
    }

    /// One network, member 0, with these parameters, as [`Self::parameters_of`] returns them, in PyTorch's order, and
    /// with the preparation fitted for it. A network that trained `together` with others stands among idle ones again.
    pub(super) fn of_one(
        architecture: &Architecture,
        parameters: &[Parameter],
        fitted: Option<&FittedTable>,
        fused: bool,
        device: Device,
    ) -> Result<Self, EngineError> {
        let inputs = fitted.and_then(|fitted| fitted.inputs.as_ref());
        if inputs.is_some_and(|inputs| inputs.0.len() != architecture.input.inputs() as usize) {
            return Err(EngineError::BadJob("what was fitted is not of the inputs".to_owned()));
        }
        let blocks = blocks(architecture)?;
        let width = blocks.last().map_or(0, |block| block.end);
        let mut row = vec![0.0_f32; width as usize];
        let lens = blocks.iter().flat_map(|block| {
            let statistics = match block.kind {
                BlockKind::Norm { has_statistics: true } => Some([block.outputs, block.outputs, 1]),
                _ => None,
            };
            let bias = block.bias_shape.as_ref().map(|_| block.outputs);
            std::iter::once(block.fan_in * block.outputs)
                .chain(bias)
                .chain(statistics.into_iter().flatten())
        });
        if !lens.eq(parameters.iter().map(|parameter| parameter.values.len() as i64)) {
            return Err(EngineError::BadJob(
                "the parameters are not those of the layers".to_owned(),
            ));
        }
        let mut values = parameters.iter().flat_map(|parameter| &parameter.values).copied();
        let mut statistics = Vec::new();
        for block in &blocks {
            block.fill(&mut row, || values.next().unwrap_or_default());
            if block.kind == (BlockKind::Norm { has_statistics: true }) {
                statistics.extend(values.by_ref().take(2 * block.outputs as usize + 1));
            }
        }
        let size = stack_size(1, fused, device);
        let flat = Tensor::zeros([size, width], (Kind::Float, device));
        flat.select(0, 0).copy_(&Tensor::from_slice(&row));
        let fitted = fitted.cloned().map(Arc::new).into_iter().collect();
        let preparation = Preparation::new(fitted, architecture.input, size, device);
        check_words(&blocks, preparation.as_ref())?;
        let stack = Self {
            preparation,
            ..Self::over(flat, &blocks, vec![0])
        };
        stack.statistics.set(0, &statistics).map_err(EngineError::BadJob)?;
        Ok(stack)
    }

    /// The views of a flat buffer.
    fn over(flat: Tensor, blocks: &[Block], places: Vec<usize>) -> Self {
        let (size, device) = (flat.size()[0], flat.device());
        let mut leaves = Vec::new();
        let mut starts = Vec::with_capacity(blocks.len());
        let mut gaps = Vec::new();
        for block in blocks {
            starts.push(leaves.len());
            let weight = (block.weight, &block.weight_shape, block.bias);
            let bias = block.bias_shape.as_ref().map(|shape| (block.bias, shape, block.end));
            for (start, shape, end) in std::iter::once(weight).chain(bias) {
                let len: i64 = shape.iter().product();
                let shape: Vec<i64> = std::iter::once(size).chain(shape.iter().copied()).collect();
                let view = flat.narrow(1, start, len).view(shape.as_slice());
                leaves.push(view.detach().set_requires_grad(true));
                let gap = end - start - len;
                gaps.push((gap > 0).then(|| Tensor::zeros([size, gap], (Kind::Float, device))));
            }
        }
        let numbers = blocks.iter().map(|block| match block.kind {
            BlockKind::Norm { has_statistics: true } => Some(block.outputs),
            _ => None,
        });
        Self {
            statistics: Statistics::new(numbers, size, device),
            places,
            flat,
            leaves,
            starts,
            gaps,
            preparation: None,
        }
    }

    /// Inputs of the networks, from rows [stack, rows, …].
    pub(super) fn prepare(&self, rows: &Tensor) -> Tensor {
        match &self.preparation {
            None => rows.shallow_clone(),
            Some(preparation) => preparation.apply(rows),
        }
    }

    /// Outputs of the last layers, [stack, rows, outputs], in the target's own unit.
    pub(super) fn in_own_unit(&self, outputs: Tensor) -> Tensor {
        match &self.preparation {
            None => outputs,
            Some(preparation) => preparation.in_own_unit(outputs),
        }
    }

    /// Standard deviation by which networks scale their targets, [stack, 1, targets]; `None` where they use targets as they are.
    pub(super) fn target_deviation(&self) -> Option<&Tensor> {
        self.preparation.as_ref()?.target_deviation()
    }

    /// The preparation fitted for the network at a place.
    pub(super) fn fitted(&self, place: usize) -> Option<&FittedTable> {
        self.preparation.as_ref()?.fitted(place)
    }

    /// Networks in the stack, idle ones included.
    pub(super) fn size(&self) -> i64 {
        self.flat.size()[0]
    }

    /// The device of the parameters.
    pub(super) fn device(&self) -> Device {
        self.flat.device()
    }

    /// Members by place.
    pub(super) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The job's member at a place.
    pub(super) fn member(&self, place: usize) -> usize {
        self.places[place]
    }

    /// The tensors that autograd differentiates by.
    pub(super) fn leaves(&self) -> &[Tensor] {
        &self.leaves
    }

    /// The weight of the n-th layer with parameters.
    pub(super) fn weight(&self, n: usize) -> &Tensor {
        &self.leaves[self.starts[n]]
    }

    /// The bias of the n-th layer with parameters, if the layer has one.
    pub(super) fn bias(&self, n: usize) -> &Tensor {
        &self.leaves[self.starts[n] + 1]
    }

    /// The inputs of each column of words.
    pub(super) fn words(&self) -> &[Range<usize>] {
        self.preparation.as_ref().map_or(&[], Preparation::words)
    }

    /// The statistics that batch norms use outside training.
    pub(super) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The stored parameters of the network at a place: for each layer with parameters the weight, the bias, if it has
    /// one, and for a batch norm its running mean, its running variance and its number of batches.
    pub(super) fn parameters_of(&self, place: i64) -> Vec<Tensor> {
        let mut parameters = Vec::with_capacity(self.leaves.len());
        for (n, start) in self.starts.iter().enumerate() {
            let end = self.starts.get(n + 1).copied().unwrap_or(self.leaves.len());
            parameters.extend(
                self.leaves[*start..end]
                    .iter()
                    .map(|leaf| leaf.detach().select(0, place)),
            );
            parameters.extend(self.statistics.of_place(n, place));
        }
        parameters
    }

    /// The parameters of consecutive places, [len, parameters]: a view that can be changed in place.
    pub(super) fn slice(&self, start: i64, len: i64) -> Tensor {
        self.flat.narrow(0, start, len)
    }

    /// Parameters of all networks, [stack, parameters], followed by the statistics of their batch norms.
    pub(super) fn with_statistics(&self, parameters: Tensor) -> Tensor {
        match self.statistics.all() {
            None => parameters,
            Some(statistics) => Tensor::cat(&[parameters, statistics], 1),
        }
    }

    /// Views of the two parts of [`Self::with_statistics`]: parameters, and statistics, if there are any.
    pub(super) fn parts(&self, both: &Tensor) -> (Tensor, Option<Tensor>) {
        let (width, all) = (self.flat.size()[1], both.size()[1]);
        let statistics = (all > width).then(|| both.narrow(1, width, all - width));
        (both.narrow(1, 0, width), statistics)
    }

    /// The gradients of the leaves as one tensor of the flat buffer's shape.
    pub(super) fn flatten(&self, gradients: &[Tensor]) -> Tensor {
        let mut parts = Vec::with_capacity(2 * gradients.len());
        for (gradient, gap) in gradients.iter().zip(&self.gaps) {
            parts.push(gradient.reshape([self.size(), -1]));
            parts.extend(gap.as_ref().map(Tensor::shallow_clone));
        }
        Tensor::cat(&parts, 1)
    }
}
