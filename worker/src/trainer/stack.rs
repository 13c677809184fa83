//! The parameters of all members: one flat buffer, and a view of it for each layer.
//!
//! Optimizers work on the flat buffer with a handful of operations whatever the number of layers; the network works on the
//! views. Both are the same memory.

use tch::{Device, Kind, Tensor};
use trawl_domain::network::Layer;
use trawl_domain::seed::Purpose;

use super::TrainJob;

/// Sizes are rounded up to so many floats, a full register of the widest vector instructions twice over: element-wise
/// kernels treat what does not fill a register by other code, with other rounding. So they do not see a member's place in the
/// stack; for matrix products, [`super::rounding`] sees to it.
const ALIGN: i64 = 32;

/// The parameters of all members, and of as many idle networks as fill the stack up to a multiple of [`ALIGN`].
#[derive(Debug)]
pub(super) struct Stack {
    /// Job's member by place in the stack: sorted by optimizer, so that each optimizer has one slice.
    places: Vec<usize>,
    /// [stack, parameters]; rows are padded.
    flat: Tensor,
    /// What autograd differentiates by: for each linear layer its weight [stack, inputs, outputs] and its bias
    /// [stack, 1, outputs], views of `flat`.
    leaves: Vec<Tensor>,
    /// Zeros that fill the gap behind each leaf in a row of `flat`.
    gaps: Vec<Option<Tensor>>,
}

/// Where one linear layer lies in a row of the flat buffer.
struct Block {
    inputs: i64,
    outputs: i64,
    weight: i64,
    bias: i64,
    end: i64,
}

fn blocks(layers: &[Layer], features: i64) -> Vec<Block> {
    let (mut blocks, mut inputs, mut next) = (Vec::new(), features, 0);
    for layer in layers {
        let Layer::Linear { units } = layer else { continue };
        let outputs = i64::from(*units);
        let bias = next + round_up(inputs * outputs);
        let end = bias + round_up(outputs);
        blocks.push(Block {
            inputs,
            outputs,
            weight: next,
            bias,
            end,
        });
        (inputs, next) = (outputs, end);
    }
    blocks
}

fn round_up(len: i64) -> i64 {
    (len + ALIGN - 1) / ALIGN * ALIGN
}

impl Stack {
    /// PyTorch's initial values for linear layers: weight and bias uniform in ±1/sqrt(inputs), from each member's own
    /// stream, layer by layer, weight (row by row of [outputs, inputs]) before bias.
    pub(super) fn new(job: &TrainJob, device: Device) -> Self {
        let places = Self::places_of(job);
        let size = Self::size_of(places.len());
        let blocks = blocks(&job.architecture.layers, job.data.feature_count());
        let width = blocks.last().map_or(0, |block| block.end);

        let mut values = vec![0.0_f32; (size * width) as usize];
        for (place, member) in places.iter().enumerate() {
            let member = &job.members[*member];
            let row = &mut values[place * width as usize..][..width as usize];
            let mut stream = job.seed.stream(Purpose::Weights {
                owner: member.owner,
                fold: member.fold,
            });
            for block in &blocks {
                let bound = 1.0 / (block.inputs as f64).sqrt();
                let mut draw = || ((2.0 * stream.unit() - 1.0) * bound) as f32;
                for output in 0..block.outputs {
                    for input in 0..block.inputs {
                        // Kept as [inputs, outputs]: a batch times it is a plain product.
                        row[(block.weight + input * block.outputs + output) as usize] = draw();
                    }
                }
                row[block.bias as usize..][..block.outputs as usize]
                    .iter_mut()
                    .for_each(|bias| *bias = draw());
            }
        }
        let flat = Tensor::from_slice(&values).view([size, width]).to_device(device);
        let mut leaves = Vec::new();
        let mut gaps = Vec::new();
        for block in &blocks {
            let weight = (block.weight, block.inputs, block.outputs, block.bias);
            let bias = (block.bias, 1, block.outputs, block.end);
            for (start, inputs, outputs, end) in [weight, bias] {
                let len = inputs * outputs;
                let view = flat.narrow(1, start, len).view([size, inputs, outputs]);
                leaves.push(view.detach().set_requires_grad(true));
                let gap = end - start - len;
                gaps.push((gap > 0).then(|| Tensor::zeros([size, gap], (Kind::Float, device))));
            }
        }
        Self {
            places,
            flat,
            leaves,
            gaps,
        }
    }

    /// The order of a job's members in the stack.
    pub(super) fn places_of(job: &TrainJob) -> Vec<usize> {
        let mut places: Vec<usize> = (0..job.members.len()).collect();
        places.sort_by_key(|member| (job.members[*member].hyperparameters.optimizer, *member));
        places
    }

    /// Networks in a stack of that many members.
    pub(super) fn size_of(members: usize) -> i64 {
        round_up(members as i64)
    }

    /// Networks in the stack, idle ones included.
    pub(super) fn size(&self) -> i64 {
        self.flat.size()[0]
    }

    /// Members by place.
    pub(super) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The job's member at a place.
    pub(super) fn member(&self, place: usize) -> usize {
        self.places[place]
    }

    /// What autograd differentiates by.
    pub(super) fn leaves(&self) -> &[Tensor] {
        &self.leaves
    }

    /// Weight and bias of the n-th linear layer.
    pub(super) fn linear(&self, n: usize) -> (&Tensor, &Tensor) {
        (&self.leaves[2 * n], &self.leaves[2 * n + 1])
    }

    /// The parameters of consecutive places, [len, parameters]: a view to be changed in place.
    pub(super) fn slice(&self, start: i64, len: i64) -> Tensor {
        self.flat.narrow(0, start, len)
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
