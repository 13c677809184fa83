//! A network and its training without any setting left open: what a worker trains.

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
    }
);

/// One layer. Its input's width is the output's width of the layer before, or the number of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// y = x W^T + b with that many outputs.
    Linear {
        /// Number of outputs.
        units: u32,
    },
    /// An activation function, element by element.
    Activation(Activation),
    /// Inverted dropout while training. Its probability may differ between networks that train together: see
    /// [`Hyperparameters::dropout`].
    Dropout,
}

/// What networks must have in common to train together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture {
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
    /// Trainable numbers of one network with that many inputs.
    pub fn params(&self, inputs: u32) -> u64 {
        let mut width = u64::from(inputs);
        let mut params = 0_u64;
        for layer in &self.layers {
            if let Layer::Linear { units } = layer {
                let units = u64::from(*units);
                params = params.saturating_add((width + 1).saturating_mul(units));
                width = units;
            }
        }
        params
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
