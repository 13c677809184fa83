//! A network and its training without any setting left open: what a worker trains.

use crate::dataset::{SampleShape, TargetKind};
use crate::limits::CHECKPOINT_BYTES_MAX;

/// A word that is not among those a field knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", .0.join(", "))]
pub struct UnknownWord(Vec<&'static str>);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it, the same on the wire, in SQL and in logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::network::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::network::UnknownWord::among(&[$($word),+])),
                }
            }
        }
    };
}
pub(crate) use words;

impl UnknownWord {
    pub(crate) fn among(words: &[&'static str]) -> Self {
        Self(words.to_vec())
    }
}

words!(
    /// An activation function.
    Activation {
        /// max(0, x).
        Relu = "relu",
        /// x, or 0.01 x below 0.
        LeakyRelu = "leaky_relu",
        /// 1 / (1 + exp(-x)).
        Sigmoid = "sigmoid",
        /// Hyperbolic tangent.
        Tanh = "tanh",
    }
);

words!(
    /// How parameters follow gradients; settings not named here are PyTorch's defaults.
    Optimizer {
        /// Adam: betas 0.9 and 0.999, eps 1e-8.
        Adam = "adam",
        /// Gradient descent, with momentum (dampening 0, not Nesterov's) if the member has one.
        Sgd = "sgd",
        /// RMSprop: alpha 0.99, eps 1e-8, not centred.
        Rmsprop = "rmsprop",
    }
);

words!(
    /// What training minimises.
    Loss {
        /// Mean over rows and outputs of the squared difference.
        Mse = "mse",
        /// Mean over rows of the negative logarithm of the right class's probability, by softmax over the outputs.
        CrossEntropy = "cross_entropy",
    }
);

impl Loss {
    /// What it needs the targets to be.
    pub fn target_kind(self) -> TargetKind {
        match self {
            Self::Mse => TargetKind::Number,
            Self::CrossEntropy => TargetKind::Class,
        }
    }
}

/// One layer. Its input's shape is the output's of the layer before, or that of a row's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// y = x W^T + b with that many outputs.
    Linear {
        /// Number of outputs.
        units: u32,
    },
    /// Cross-correlation with square kernels, and a bias: PyTorch's `nn.Conv2d`.
    Conv2d(Conv2d),
    /// The largest of each square of that side; squares do not overlap, and what is left at the far edges is dropped.
    MaxPool2d {
        /// Side of a square.
        kernel: u32,
    },
    /// An image as a vector: channel by channel, row by row.
    Flatten,
    /// An activation function, element by element.
    Activation(Activation),
    /// Inverted dropout while training. Its probability may differ between networks that train together: see
    /// [`Hyperparameters::dropout`].
    Dropout,
}

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conv2d {
    /// Channels of the output.
    pub filters: u32,
    /// Side of the kernel.
    pub kernel: u32,
    /// Step between two places of the kernel.
    pub stride: u32,
    /// Zeros added at each edge.
    pub padding: u32,
}

impl Layer {
    /// Shape of the output for an input of this shape.
    ///
    /// # Errors
    /// Why the layer does not take it.
    pub fn output(self, input: SampleShape) -> Result<SampleShape, String> {
        match (self, input) {
            (Self::Activation(_) | Self::Dropout, input) => Ok(input),
            (Self::Linear { units }, SampleShape::Vector(_)) => Ok(SampleShape::Vector(units)),
            (Self::Linear { .. }, image) => Err(format!("takes a vector, and gets {image}: put a flatten before it")),
            (Self::Flatten, input) => {
                let len = u32::try_from(input.len()).map_err(|_| format!("{input} is too large to be flattened"))?;
                Ok(SampleShape::Vector(len))
            }
            (Self::Conv2d(_) | Self::MaxPool2d { .. }, SampleShape::Vector(len)) => {
                Err(format!("takes an image, and gets a vector of {len}"))
            }
            (Self::Conv2d(conv), SampleShape::Image { height, width, .. }) => {
                let side = |side: u32| {
                    let room = u64::from(side) + 2 * u64::from(conv.padding);
                    let places = room.checked_sub(u64::from(conv.kernel))? / u64::from(conv.stride) + 1;
                    u32::try_from(places).ok()
                };
                let (Some(height), Some(width)) = (side(height), side(width)) else {
                    return Err(format!("a kernel of {} does not fit into {input}", conv.kernel));
                };
                Ok(SampleShape::Image {
                    channels: conv.filters,
                    height,
                    width,
                })
            }
            (
                Self::MaxPool2d { kernel },
                SampleShape::Image {
                    channels,
                    height,
                    width,
                },
            ) => {
                if kernel > height.min(width) {
                    return Err(format!("a kernel of {kernel} does not fit into {input}"));
                }
                Ok(SampleShape::Image {
                    channels,
                    height: height / kernel,
                    width: width / kernel,
                })
            }
        }
    }

    /// Trainable numbers, for an input of this shape.
    pub fn params(self, input: SampleShape) -> u64 {
        match (self, input) {
            (Self::Linear { units }, input) => (input.len() + 1).saturating_mul(u64::from(units)),
            (Self::Conv2d(conv), SampleShape::Image { channels, .. }) => {
                let kernel = u64::from(conv.kernel).pow(2).saturating_mul(u64::from(channels));
                (kernel + 1).saturating_mul(u64::from(conv.filters))
            }
            _ => 0,
        }
    }

    /// Multiplications for one row, forward, with an input and an output of these shapes.
    fn work(self, input: SampleShape, output: SampleShape) -> u64 {
        match (self, output) {
            (Self::Linear { .. }, _) => self.params(input),
            (Self::Conv2d(_), SampleShape::Image { height, width, .. }) => self
                .params(input)
                .saturating_mul(u64::from(height))
                .saturating_mul(u64::from(width)),
            _ => 0,
        }
    }
}

/// What networks must have in common to train together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture {
    /// Shape of a row's features.
    pub input: SampleShape,
    /// Layers, from the input on.
    pub layers: Vec<Layer>,
    /// What is minimised.
    pub loss: Loss,
    /// Rows per step.
    pub batch_size: u32,
    /// Passes over the training rows.
    pub epochs: u32,
}

impl Architecture {
    /// Shapes of the layers' inputs, in order, and of the last one's output.
    ///
    /// # Errors
    /// The index of a layer that does not take its input, and why.
    pub fn shapes(&self) -> Result<Vec<SampleShape>, (usize, String)> {
        let mut shapes = vec![self.input];
        let mut shape = self.input;
        for (index, layer) in self.layers.iter().enumerate() {
            shape = layer.output(shape).map_err(|reason| (index, reason))?;
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// Trainable numbers of one network; 0 if its layers do not fit together.
    pub fn params(&self) -> u64 {
        let shapes = self.shapes().unwrap_or_default();
        let each = self
            .layers
            .iter()
            .zip(&shapes)
            .map(|(layer, input)| layer.params(*input));
        each.fold(0, u64::saturating_add)
    }

    /// Bytes of a checkpoint of so many of these networks, at most: for each trainable number, and for what rounds each layer's
    /// numbers up, more than twice what the number and two of an optimizer's take; and some for the rest.
    pub fn checkpoint_bytes_max(&self, networks: u32) -> u64 {
        const BYTES_PER_NUMBER: u64 = 32;
        const PADDING_PER_LAYER: u64 = 64;
        const REST_BYTES: u64 = 1 << 20;
        let padding = PADDING_PER_LAYER * self.layers.len() as u64;
        let numbers = self
            .params()
            .saturating_add(padding)
            .saturating_mul(u64::from(networks));
        let bytes = numbers.saturating_mul(BYTES_PER_NUMBER).saturating_add(REST_BYTES);
        bytes.min(CHECKPOINT_BYTES_MAX)
    }

    /// Multiplications of one training step of one network, forward; 0 if its layers do not fit together.
    pub fn step_work(&self) -> u64 {
        let shapes = self.shapes().unwrap_or_default();
        let each = self
            .layers
            .iter()
            .zip(shapes.windows(2))
            .map(|(layer, shapes)| layer.work(shapes[0], shapes[1]));
        each.fold(0, u64::saturating_add)
            .saturating_mul(u64::from(self.batch_size))
    }

    /// True if some layer works on images.
    pub fn has_convolution(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Layer::Conv2d(_)))
    }
}

/// What may differ between networks that train together.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameters {
    /// How parameters follow gradients.
    pub optimizer: Optimizer,
    /// Step size.
    pub learning_rate: f64,
    /// The loss gains `l2` times the sum of all squared parameters.
    pub l2: f64,
    /// Momentum of [`Optimizer::Sgd`].
    pub momentum: f64,
    /// Probability of each [`Layer::Dropout`], from the input on.
    pub dropout: Vec<f64>,
}

/// One configuration, ready to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialConfig {
    /// What it shares with others.
    pub architecture: Architecture,
    /// What is its own.
    pub hyperparameters: Hyperparameters,
}

#[cfg(test)]
mod tests {
    use super::{Architecture, Conv2d, Layer, Loss};
    use crate::dataset::SampleShape;

    #[test]
    fn shapes_params_and_work_are_those_of_the_papers_cnn() {
        let conv = |filters| {
            Layer::Conv2d(Conv2d {
                filters,
                kernel: 5,
                stride: 1,
                padding: 0,
            })
        };
        let architecture = Architecture {
            input: SampleShape::Image {
                channels: 1,
                height: 28,
                width: 28,
            },
            layers: vec![
                conv(32),
                Layer::MaxPool2d { kernel: 2 },
                conv(64),
                Layer::Flatten,
                Layer::Linear { units: 128 },
                Layer::Linear { units: 10 },
            ],
            loss: Loss::CrossEntropy,
            batch_size: 64,
            epochs: 9,
        };
        let dims: Vec<Vec<u32>> = architecture
            .shapes()
            .expect("they fit")
            .into_iter()
            .map(SampleShape::dims)
            .collect();
        let expected: [&[u32]; 7] = [
            &[1, 28, 28],
            &[32, 24, 24],
            &[32, 12, 12],
            &[64, 8, 8],
            &[4096],
            &[128],
            &[10],
        ];
        assert_eq!(dims, expected);
        let (first, second) = (32 * (25 + 1), 64 * (32 * 25 + 1));
        let linear = 128 * 4097 + 10 * 129;
        assert_eq!(architecture.params(), first + second + linear);
        assert_eq!(
            architecture.step_work(),
            64 * (first * 24 * 24 + second * 8 * 8 + linear)
        );
    }

    #[test]
    fn a_checkpoint_is_bounded_by_the_networks_in_it() {
        let architecture = |units| Architecture {
            input: SampleShape::Vector(1),
            layers: vec![Layer::Linear { units }],
            loss: Loss::Mse,
            batch_size: 8,
            epochs: 1,
        };
        // Two numbers for each output; what is kept of them takes 24 bytes.
        assert_eq!(architecture(1).checkpoint_bytes_max(1), (1 << 20) + 32 * (2 + 64));
        assert_eq!(
            architecture(1_000).checkpoint_bytes_max(64),
            (1 << 20) + 64 * 32 * (2_000 + 64)
        );
        assert_eq!(architecture(u32::MAX).checkpoint_bytes_max(64), 2 << 30);
    }

    #[test]
    fn strides_and_padding_follow_pytorch() {
        let image = |height, width| SampleShape::Image {
            channels: 3,
            height,
            width,
        };
        let conv = Layer::Conv2d(Conv2d {
            filters: 8,
            kernel: 3,
            stride: 2,
            padding: 1,
        });
        assert_eq!(conv.output(image(7, 8)).map(SampleShape::dims), Ok(vec![8, 4, 4]));
        let pool = Layer::MaxPool2d { kernel: 2 };
        assert_eq!(pool.output(image(7, 8)).map(SampleShape::dims), Ok(vec![3, 3, 4]));
        assert_eq!(
            pool.output(image(1, 8)),
            Err("a kernel of 2 does not fit into 3x1x8".to_owned())
        );
        assert_eq!(
            Layer::Linear { units: 2 }.output(image(1, 8)),
            Err("takes a vector, and gets 3x1x8: put a flatten before it".to_owned())
        );
    }
}
