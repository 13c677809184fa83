//! Layers: for each kind its name, its settings, its output shape, and its trained numbers.
//!
//! Each kind has a file, which reads and checks every written form of a layer: a study file, the wire, `network.json`.

mod activation;
mod adaptive_avg_pool2d;
mod adaptive_max_pool2d;
mod avg_pool1d;
mod avg_pool2d;
mod batch_norm;
mod conv1d;
mod conv2d;
mod dropout;
mod dropout2d;
mod embedding;
mod flatten;
mod flow;
mod global_avg_pool;
mod layer_norm;
mod linear;
mod max_pool1d;
mod max_pool2d;
mod residual;
mod sequence;
mod written;

pub use activation::Activation;
pub use conv2d::Conv;
pub use flow::{Flow, Range};
pub(crate) use residual::list_of;
pub use residual::{last, places};
pub use written::WrittenLayer;

use crate::limits::LAYER_OUTPUTS_MAX;
use crate::rule::Rule;
use crate::space::ParamValue;
use crate::violation::Violation;
use trawl_dataset::SampleShape;

/// One layer of a network, with all settings known. Its input is the output of the layer before, or a row's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Fully connected: y = x W^T + b.
    Linear {
        /// Number of outputs.
        units: u32,
    },
    /// Trained numbers for each word of a table's columns of words.
    Embedding {
        /// How many.
        dim: u32,
    },
    /// All numbers of a row as channels of a sequence.
    Sequence {
        /// Number of channels; 0 for the input's.
        channels: u32,
    },
    /// Convolution of sequences.
    Conv1d(Conv),
    /// The largest number of each piece of a sequence.
    MaxPool1d {
        /// Length of a piece.
        kernel: u32,
    },
    /// The mean of each piece of a sequence.
    AvgPool1d {
        /// Length of a piece.
        kernel: u32,
    },
    /// Convolution of images.
    Conv2d(Conv),
    /// The largest number of each square of an image.
    MaxPool2d {
        /// Side of a square.
        kernel: u32,
    },
    /// The mean of each square of an image.
    AvgPool2d {
        /// Side of a square.
        kernel: u32,
    },
    /// The means of an image's size x size equal parts.
    AdaptiveAvgPool2d {
        /// Side of the output.
        size: u32,
    },
    /// The maxima of an image's size x size equal parts.
    AdaptiveMaxPool2d {
        /// Side of the output.
        size: u32,
    },
    /// The mean of each channel of a sequence or an image, as a vector.
    GlobalAvgPool,
    /// A sequence or an image as a vector.
    Flatten,
    /// An activation function, element by element.
    Activation(Activation),
    /// Dropout while training. Its probability is a network's own: see [`crate::optimizer::Hyperparameters::dropout`].
    Dropout,
    /// Dropout of whole channels of an image. Its probability is a network's own, too.
    Dropout2d,
    /// Each number of a vector, or each channel of a sequence or an image, normalised by its mean and variance over a batch.
    BatchNorm,
    /// Each vector normalised by its own mean and variance.
    LayerNorm,
    /// The output of the next `layers` layers of the same flat list, plus their input.
    Residual {
        /// Number of inner layers, including residuals and their layers.
        layers: u32,
    },
}

/// A kind of layer, with `N` settings.
trait Kind<const N: usize> {
    /// Its name in a study file, on the wire and in `network.json`.
    const NAME: &'static str;
    /// Its settings.
    const SETTINGS: &'static [Rule; N];
    /// True if the output has the input's shape, whatever it is.
    const KEEPS_SHAPE: bool = false;
    /// True if it distinguishes the inputs of columns of words. Other layers treat a table as a vector.
    const TAKES_TABLE: bool = false;
    /// True if its weight has a bias.
    const HAS_BIAS: bool = true;

    /// The layer with these values, which follow the rules; `None` if they do not.
    fn layer(values: [&ParamValue; N]) -> Option<Layer>;

    /// The output. `sizes` has the settings' possible sizes; a setting that is no whole number counts as 0.
    fn output(sizes: [Range; N], input: Flow) -> Result<Flow, Misfit>;

    /// Shape of the weight in PyTorch's order, outputs first, if the layer trains one. If it [has one](Self::HAS_BIAS),
    /// the bias has a number for each output.
    fn weight(_sizes: [Range; N], _input: Flow) -> Option<Vec<Range>> {
        None
    }

    /// The output for an unknown input, if that does not matter.
    fn output_after_unknown(_sizes: [Range; N]) -> Option<Flow> {
        None
    }
}

/// Why a layer does not take its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The setting to correct, if a setting is at fault.
    pub setting: Option<&'static str>,
    /// The fault.
    pub reason: String,
}

impl Misfit {
    fn new(reason: String) -> Self {
        Self { setting: None, reason }
    }

    fn of(setting: &'static str, reason: String) -> Self {
        Self {
            setting: Some(setting),
            reason,
        }
    }

    /// The layer takes only images.
    fn no_image(input: Flow) -> Self {
        Self::new(format!("takes an image, and gets {input}"))
    }

    /// The layer takes only sequences.
    fn no_sequence(input: Flow) -> Self {
        Self::new(format!(
            "takes a sequence, and gets {input}: put a `sequence` before it, which says how many channels there are"
        ))
    }

    /// The violation for the n-th layer of the list in `field`.
    pub fn at(self, field: &str, index: usize, kind: &LayerKind) -> Violation {
        self.of_layer(kind).within(&format!("{field}[{index}]"))
    }

    /// The violation within a layer.
    pub fn of_layer(self, kind: &LayerKind) -> Violation {
        let setting = self.setting.map_or_else(String::new, |setting| format!(".{setting}"));
        Violation {
            field: format!("{}{setting}", kind.name),
            description: self.reason,
        }
    }
}

/// Description of a kind of layer.
#[derive(Debug)]
pub struct LayerKind {
    /// Its name in a study file, on the wire and in `network.json`.
    pub name: &'static str,
    /// Its settings, in order.
    pub settings: &'static [Rule],
    /// True if the output has the input's shape, whatever it is.
    pub keeps_shape: bool,
    /// True if its weight has a bias.
    pub has_bias: bool,
    layer: fn(&[&ParamValue]) -> Option<Layer>,
    output: fn(&[Range], Flow) -> Result<Flow, Misfit>,
    weight: fn(&[Range], Flow) -> Option<Vec<Range>>,
    output_after_unknown: fn(&[Range]) -> Option<Flow>,
}

impl PartialEq for LayerKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

static LINEAR: LayerKind = LayerKind::of::<linear::Linear, 1>();
static EMBEDDING: LayerKind = LayerKind::of::<embedding::Embedding, 1>();
static SEQUENCE: LayerKind = LayerKind::of::<sequence::Sequence, 1>();
static CONV1D: LayerKind = LayerKind::of::<conv1d::Conv1d, 4>();
static MAX_POOL1D: LayerKind = LayerKind::of::<max_pool1d::MaxPool1d, 1>();
static AVG_POOL1D: LayerKind = LayerKind::of::<avg_pool1d::AvgPool1d, 1>();
static CONV2D: LayerKind = LayerKind::of::<conv2d::Conv2d, 4>();
static MAX_POOL2D: LayerKind = LayerKind::of::<max_pool2d::MaxPool2d, 1>();
static AVG_POOL2D: LayerKind = LayerKind::of::<avg_pool2d::AvgPool2d, 1>();
static ADAPTIVE_AVG_POOL2D: LayerKind = LayerKind::of::<adaptive_avg_pool2d::AdaptiveAvgPool2d, 1>();
static ADAPTIVE_MAX_POOL2D: LayerKind = LayerKind::of::<adaptive_max_pool2d::AdaptiveMaxPool2d, 1>();
static GLOBAL_AVG_POOL: LayerKind = LayerKind::of::<global_avg_pool::GlobalAvgPool, 0>();
static FLATTEN: LayerKind = LayerKind::of::<flatten::Flatten, 0>();
static ACTIVATION: LayerKind = LayerKind::of::<Activation, 1>();
static DROPOUT: LayerKind = LayerKind::of::<dropout::Dropout, 1>();
static DROPOUT2D: LayerKind = LayerKind::of::<dropout2d::Dropout2d, 1>();
static BATCH_NORM: LayerKind = LayerKind::of::<batch_norm::BatchNorm, 0>();
static LAYER_NORM: LayerKind = LayerKind::of::<layer_norm::LayerNorm, 0>();
/// The kind with inner layers: settings alone do not make a layer of it, so it is not in [`LayerKind::ALL`].
pub static RESIDUAL: LayerKind = LayerKind::of::<residual::Residual, 0>();

/// Placeholder for a setting of each network's own, which is not part of a layer.
const MEMBERS_OWN: ParamValue = ParamValue::Int(0);

impl LayerKind {
    /// Every kind that settings alone determine.
    pub const ALL: [&'static Self; 18] = [
        &LINEAR,
        &EMBEDDING,
        &SEQUENCE,
        &CONV1D,
        &MAX_POOL1D,
        &AVG_POOL1D,
        &CONV2D,
        &MAX_POOL2D,
        &AVG_POOL2D,
        &ADAPTIVE_AVG_POOL2D,
        &ADAPTIVE_MAX_POOL2D,
        &GLOBAL_AVG_POOL,
        &FLATTEN,
        &ACTIVATION,
        &DROPOUT,
        &DROPOUT2D,
        &BATCH_NORM,
        &LAYER_NORM,
    ];

    const fn of<K: Kind<N>, const N: usize>() -> Self {
        Self {
            name: K::NAME,
            settings: K::SETTINGS,
            keeps_shape: K::KEEPS_SHAPE,
            has_bias: K::HAS_BIAS,
            layer: |values| K::layer(values.try_into().ok()?),
            output: |sizes, input| match sizes.try_into() {
                Ok(sizes) => K::output(sizes, Self::taken::<K, N>(input)),
                Err(_) => Err(Misfit::new(format!("has {N} settings"))),
            },
            weight: |sizes, input| K::weight(sizes.try_into().ok()?, Self::taken::<K, N>(input)),
            output_after_unknown: |sizes| K::output_after_unknown(sizes.try_into().ok()?),
        }
    }

    /// The input in the form that a kind takes.
    fn taken<K: Kind<N>, const N: usize>(input: Flow) -> Flow {
        if K::TAKES_TABLE { input } else { input.plain() }
    }

    /// The kind of this name, among those that settings alone determine.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|kind| kind.name == name)
    }

    /// The layer of this kind, with `value` for each of its settings. A setting of each network's own may be missing,
    /// and so may one with a default.
    ///
    /// # Errors
    /// A value that breaks its rule, or is missing.
    pub fn layer(&self, mut value: impl FnMut(&Rule) -> Option<ParamValue>) -> Result<Layer, Misfit> {
        let mut values = Vec::with_capacity(self.settings.len());
        for rule in self.settings {
            let value = match value(rule).or(rule.default.map(ParamValue::number)) {
                Some(value) => {
                    rule.takes
                        .check(&value)
                        .map_err(|reason| Misfit::of(rule.name, reason))?;
                    value
                }
                None if rule.is_members_own => MEMBERS_OWN,
                None => return Err(Misfit::of(rule.name, "is missing".to_owned())),
            };
            values.push(value);
        }
        let values: Vec<&ParamValue> = values.iter().collect();
        (self.layer)(&values).ok_or_else(|| Misfit::new("has a setting that it does not take".to_owned()))
    }

    /// The output, for settings with these possible sizes, in order; one that is no whole number counts as 0.
    ///
    /// # Errors
    /// Why the layer does not take the input, or that its output may be too large.
    pub fn output(&self, sizes: &[Range], input: Flow) -> Result<Flow, Misfit> {
        let output = (self.output)(sizes, input)?;
        let len = output.len().most;
        if len > LAYER_OUTPUTS_MAX {
            return Err(Misfit::new(format!(
                "puts out up to {len} numbers for a row; at most {LAYER_OUTPUTS_MAX} are allowed"
            )));
        }
        Ok(output)
    }

    /// The output for an unknown input, if that does not matter.
    pub fn output_after_unknown(&self, sizes: &[Range]) -> Option<Flow> {
        (self.output_after_unknown)(sizes)
    }

    /// Largest number of trainable numbers.
    pub fn params(&self, sizes: &[Range], input: Flow) -> u64 {
        (self.weight)(sizes, input).map_or(0, |weight| {
            let len = weight.iter().fold(1_u64, |len, size| len.saturating_mul(size.most));
            let bias = weight.first().filter(|_| self.has_bias);
            len.saturating_add(bias.map_or(0, |outputs| outputs.most))
        })
    }
}

impl Layer {
    /// The kind, and a value for each of its settings.
    fn parts(&self) -> (&'static LayerKind, Vec<ParamValue>) {
        let whole = |size: u32| ParamValue::Int(i64::from(size));
        match *self {
            Self::Linear { units } => (&LINEAR, vec![whole(units)]),
            Self::Embedding { dim } => (&EMBEDDING, vec![whole(dim)]),
            Self::Sequence { channels } => (&SEQUENCE, vec![whole(channels)]),
            Self::Conv1d(conv) => (&CONV1D, conv.sizes().map(whole).into()),
            Self::MaxPool1d { kernel } => (&MAX_POOL1D, vec![whole(kernel)]),
            Self::AvgPool1d { kernel } => (&AVG_POOL1D, vec![whole(kernel)]),
            Self::Conv2d(conv) => (&CONV2D, conv.sizes().map(whole).into()),
            Self::MaxPool2d { kernel } => (&MAX_POOL2D, vec![whole(kernel)]),
            Self::AvgPool2d { kernel } => (&AVG_POOL2D, vec![whole(kernel)]),
            Self::AdaptiveAvgPool2d { size } => (&ADAPTIVE_AVG_POOL2D, vec![whole(size)]),
            Self::AdaptiveMaxPool2d { size } => (&ADAPTIVE_MAX_POOL2D, vec![whole(size)]),
            Self::GlobalAvgPool => (&GLOBAL_AVG_POOL, vec![]),
            Self::Flatten => (&FLATTEN, vec![]),
            Self::Activation(kind) => (&ACTIVATION, vec![ParamValue::Text(kind.to_string())]),
            Self::Dropout => (&DROPOUT, vec![MEMBERS_OWN]),
            Self::Dropout2d => (&DROPOUT2D, vec![MEMBERS_OWN]),
            Self::BatchNorm => (&BATCH_NORM, vec![]),
            Self::LayerNorm => (&LAYER_NORM, vec![]),
            Self::Residual { .. } => (&RESIDUAL, vec![]),
        }
    }

    fn sizes(&self) -> (&'static LayerKind, Vec<Range>) {
        let (kind, values) = self.parts();
        let size = |value: &ParamValue| Range::exactly(value.as_whole().unwrap_or(0));
        (kind, values.iter().map(size).collect())
    }

    /// The kind of layer.
    pub fn kind(&self) -> &'static LayerKind {
        self.parts().0
    }

    /// True for dropout of either kind: each has a probability in [`crate::optimizer::Hyperparameters::dropout`].
    pub fn drops(&self) -> bool {
        matches!(self, Self::Dropout | Self::Dropout2d)
    }

    /// Its settings with their values, without those of each network's own.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, ParamValue)> {
        let (kind, values) = self.parts();
        let named = kind.settings.iter().zip(values);
        named
            .filter(|(rule, _)| !rule.is_members_own)
            .map(|(rule, value)| (rule.name, value))
    }

    /// Shape of the output for an input of this shape.
    ///
    /// # Errors
    /// Why the layer does not take it.
    pub fn output(&self, input: SampleShape) -> Result<SampleShape, Misfit> {
        let (kind, sizes) = self.sizes();
        let output = kind.output(&sizes, input.into())?;
        output
            .shape()
            .ok_or_else(|| Misfit::new(format!("puts out {output}, which is too large")))
    }

    /// Shape of the weight in PyTorch's order, outputs first, if the layer trains one. If its kind has a bias, that has
    /// a number for each output.
    pub fn weight(&self, input: SampleShape) -> Option<Vec<u32>> {
        let (kind, sizes) = self.sizes();
        let weight = (kind.weight)(&sizes, input.into())?;
        weight.iter().map(|size| u32::try_from(size.most).ok()).collect()
    }

    /// Trainable numbers, for an input of this shape.
    pub fn params(&self, input: SampleShape) -> u64 {
        let (kind, sizes) = self.sizes();
        kind.params(&sizes, input.into())
    }

    /// Multiplications for one row, forward, with an input and an output of these shapes.
    pub(crate) fn work(&self, input: SampleShape, output: SampleShape) -> u64 {
        self.params(input).saturating_mul(Flow::from(output).places())
    }
}

#[cfg(test)]
mod tests;
