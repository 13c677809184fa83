//! Layers: what each kind is called, which settings it takes, which shapes it turns into which, and what it trains.
//!
//! One file a kind. Every form in which a layer is written (a study file, the wire, `network.json`) is read and checked by it.

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

use crate::dataset::SampleShape;
use crate::limits::LAYER_OUTPUTS_MAX;
use crate::rule::Rule;
use crate::space::ParamValue;
use crate::violation::Violation;

/// One layer of a network, all of its settings known. Its input is the output of the layer before, or a row's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Fully connected: y = x W^T + b.
    Linear {
        /// Number of outputs.
        units: u32,
    },
    /// Each word of a table's columns of words as trained numbers.
    Embedding {
        /// How many.
        dim: u32,
    },
    /// All numbers of a row as channels of a sequence.
    Sequence {
        /// How many channels; 0 for those that the input has.
        channels: u32,
    },
    /// Convolution of sequences.
    Conv1d(Conv),
    /// The largest of each piece of a sequence.
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
    /// The largest of each square of an image.
    MaxPool2d {
        /// Side of a square.
        kernel: u32,
    },
    /// The mean of each square of an image.
    AvgPool2d {
        /// Side of a square.
        kernel: u32,
    },
    /// The mean of each of size x size equal parts of an image.
    AdaptiveAvgPool2d {
        /// Side of what comes out.
        size: u32,
    },
    /// The largest of each of size x size equal parts of an image.
    AdaptiveMaxPool2d {
        /// Side of what comes out.
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
    /// Each number of a vector, or each channel of a sequence or an image, by its mean and variance over a batch.
    BatchNorm,
    /// Each vector by its own mean and variance.
    LayerNorm,
    /// The output of some layers plus their input: of so many that follow in the same flat list.
    Residual {
        /// How many, residuals and theirs among them.
        layers: u32,
    },
}

/// A kind of layer, with `N` settings.
trait Kind<const N: usize> {
    /// Its name in a study file, on the wire and in `network.json`.
    const NAME: &'static str;
    /// Its settings.
    const SETTINGS: &'static [Rule; N];
    /// Whether the output has the input's shape, whatever that is.
    const KEEPS_SHAPE: bool = false;
    /// Whether it asks which inputs are those of columns of words. To other layers a table is a vector.
    const TAKES_TABLE: bool = false;
    /// Whether a bias goes with its weight.
    const HAS_BIAS: bool = true;

    /// The layer with these values, which follow the rules; `None` if they do not.
    fn layer(values: [&ParamValue; N]) -> Option<Layer>;

    /// What comes out. `sizes` are those that the settings can be; a setting that is no whole number counts as 0.
    fn output(sizes: [Range; N], input: Flow) -> Result<Flow, Misfit>;

    /// Sizes of the weight as PyTorch has it, outputs first, if the layer trains one; if it [has one](Self::HAS_BIAS), a bias of so many outputs
    /// goes with it.
    fn weight(_sizes: [Range; N], _input: Flow) -> Option<Vec<Range>> {
        None
    }

    /// What comes out of an input that is not known, if that does not matter.
    fn output_after_unknown(_sizes: [Range; N]) -> Option<Flow> {
        None
    }
}

/// Why a layer does not take its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The setting to be mended, if it is one.
    pub setting: Option<&'static str>,
    /// What is wrong.
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

    /// That a layer takes images.
    fn no_image(input: Flow) -> Self {
        Self::new(format!("takes an image, and gets {input}"))
    }

    /// That a layer takes sequences.
    fn no_sequence(input: Flow) -> Self {
        Self::new(format!(
            "takes a sequence, and gets {input}: put a `sequence` before it, which says how many channels there are"
        ))
    }

    /// As what is wrong with the n-th layer of the list in `field`.
    pub fn at(self, field: &str, index: usize, kind: &LayerKind) -> Violation {
        self.of_layer(kind).within(&format!("{field}[{index}]"))
    }

    /// As what is wrong with a layer, within it.
    pub fn of_layer(self, kind: &LayerKind) -> Violation {
        let setting = self.setting.map_or_else(String::new, |setting| format!(".{setting}"));
        Violation {
            field: format!("{}{setting}", kind.name),
            description: self.reason,
        }
    }
}

/// What is known of a kind of layer.
#[derive(Debug)]
pub struct LayerKind {
    /// Its name in a study file, on the wire and in `network.json`.
    pub name: &'static str,
    /// Its settings, in order.
    pub settings: &'static [Rule],
    /// Whether the output has the input's shape, whatever that is.
    pub keeps_shape: bool,
    /// Whether a bias goes with its weight.
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
/// The kind that has layers in it: settings alone do not make one, so it is not among [`LayerKind::ALL`].
pub static RESIDUAL: LayerKind = LayerKind::of::<residual::Residual, 0>();

/// Stands for a setting that is each network's own: it is no part of a layer.
const MEMBERS_OWN: ParamValue = ParamValue::Int(0);

impl LayerKind {
    /// Every kind that is made of settings.
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

    /// What goes in as a kind takes it.
    fn taken<K: Kind<N>, const N: usize>(input: Flow) -> Flow {
        if K::TAKES_TABLE { input } else { input.plain() }
    }

    /// The kind of this name, of those that are made of settings.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|kind| kind.name == name)
    }

    /// The layer of this kind, with `value` for each of its settings. One that is each network's own may be missing, as may one
    /// that has a default.
    ///
    /// # Errors
    /// A value that does not follow its rule, or is missing.
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

    /// What comes out if the settings can be of these sizes, in their order; one that is no whole number counts as 0.
    ///
    /// # Errors
    /// Why the layer does not take what goes in, or that it may put out too much.
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

    /// What comes out of an input that is not known, if that does not matter.
    pub fn output_after_unknown(&self, sizes: &[Range]) -> Option<Flow> {
        (self.output_after_unknown)(sizes)
    }

    /// Trainable numbers, at most.
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

    /// What kind of layer it is.
    pub fn kind(&self) -> &'static LayerKind {
        self.parts().0
    }

    /// True for dropout of either kind: each has a probability in [`crate::optimizer::Hyperparameters::dropout`].
    pub fn drops(&self) -> bool {
        matches!(self, Self::Dropout | Self::Dropout2d)
    }

    /// Its settings with their values, but for those that are each network's own.
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

    /// Sizes of the weight as PyTorch has it, outputs first, if the layer trains one; if its kind has one, a bias of so many outputs goes with
    /// it.
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
