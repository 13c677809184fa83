//! `activation`: a function, element by element.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;
use trawl_dataset::words;

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
        /// x times the normal distribution's share below x.
        Gelu = "gelu",
        /// x / (1 + exp(-x)).
        Silu = "silu",
        /// x, or exp(x) - 1 below 0.
        Elu = "elu",
        /// 1.0507 x, or 1.0507 * 1.6733 (exp(x) - 1) below 0.
        Selu = "selu",
        /// ln(1 + exp(x)).
        Softplus = "softplus",
    }
);

impl Kind<1> for Activation {
    const NAME: &'static str = "activation";
    const SETTINGS: &'static [Rule; 1] = &[Rule::new("kind", Takes::Word(Self::WORDS))];
    const KEEPS_SHAPE: bool = true;

    fn layer([kind]: [&ParamValue; 1]) -> Option<Layer> {
        kind.as_word().map(Layer::Activation)
    }

    fn output(_: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        Ok(input)
    }
}
