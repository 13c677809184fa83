//! Checks a network: what each layer is, and whether they fit together whatever the searched parameters are.
//!
//! Sizes that parameters give are followed as ranges, so the answer costs nothing however many combinations there are.

use super::settings::Settings;
use crate::dataset::{DatasetShape, SampleShape};
use crate::limits::{LAYER_OUTPUTS_MAX, LAYERS_MAX, NETWORK_PARAMS_MAX};
use crate::network::Activation;
use crate::space::ParamValue;
use crate::study::{self, LayerSpec, Setting};
use crate::study_draft::{Conv2dDraft, LayerDraft, RawValue};
use crate::violation::Violations;

/// The layers, if all is well with them.
pub(super) fn check(
    layers: &[Option<LayerDraft>],
    shape: Option<DatasetShape>,
    settings: &mut Settings<'_>,
    v: &mut Violations,
) -> Option<Vec<LayerSpec>> {
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        v.add(
            "model",
            format!("must have 1 to {LAYERS_MAX} layers, and has {}", layers.len()),
        );
        return None;
    }
    let specs: Vec<Option<LayerSpec>> = layers
        .iter()
        .enumerate()
        .map(|(index, layer)| read(index, layer.as_ref(), settings, v))
        .collect();
    if let Some(shape) = shape {
        fit(layers, &specs, shape, settings, v);
    }
    if !layers
        .iter()
        .flatten()
        .any(|layer| matches!(layer, LayerDraft::Linear(_) | LayerDraft::Conv2d(_)))
    {
        v.add("model", "has nothing to train: it needs a linear layer");
    }
    specs.into_iter().collect()
}

fn read(
    index: usize,
    layer: Option<&LayerDraft>,
    settings: &mut Settings<'_>,
    v: &mut Violations,
) -> Option<LayerSpec> {
    let at = |field: &str| format!("model[{index}].{field}");
    match layer {
        None => {
            v.add(
                format!("model[{index}]"),
                "is empty: name one of linear, conv2d, max_pool2d, flatten, activation, dropout",
            );
            None
        }
        Some(LayerDraft::Linear(units)) => settings
            .read(&at("linear.units"), units.as_ref(), study::units_value, v)
            .map(|units| LayerSpec::Linear { units }),
        Some(LayerDraft::Activation(kind)) => settings
            .read(&at("activation.kind"), kind.as_ref(), study::word::<Activation>, v)
            .map(|kind| LayerSpec::Activation { kind }),
        Some(LayerDraft::Dropout(p)) => settings
            .read(&at("dropout.p"), p.as_ref(), study::share_value, v)
            .map(|p| LayerSpec::Dropout { p }),
        Some(LayerDraft::Conv2d(conv)) => conv2d(&at("conv2d"), conv, settings, v),
        Some(LayerDraft::MaxPool2d(kernel)) => settings
            .read(&at("max_pool2d.kernel"), kernel.as_ref(), study::kernel_value, v)
            .map(|kernel| LayerSpec::MaxPool2d { kernel }),
        Some(LayerDraft::Flatten) => Some(LayerSpec::Flatten),
    }
}

fn conv2d(at: &str, conv: &Conv2dDraft, settings: &mut Settings<'_>, v: &mut Violations) -> Option<LayerSpec> {
    let or =
        |given: &Option<RawValue>, default: i64| given.clone().unwrap_or(RawValue::Scalar(ParamValue::Int(default)));
    let (stride, padding) = (or(&conv.stride, 1), or(&conv.padding, 0));
    let filters = settings.read(&format!("{at}.filters"), conv.filters.as_ref(), study::filters_value, v);
    let kernel = settings.read(&format!("{at}.kernel"), conv.kernel.as_ref(), study::kernel_value, v);
    let stride = settings.read(&format!("{at}.stride"), Some(&stride), study::kernel_value, v);
    let padding = settings.read(&format!("{at}.padding"), Some(&padding), study::padding_value, v);
    Some(LayerSpec::Conv2d {
        filters: filters?,
        kernel: kernel?,
        stride: stride?,
        padding: padding?,
    })
}

/// The least and the most that a size can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    least: u64,
    most: u64,
}

impl Range {
    fn exactly(size: u32) -> Self {
        let size = u64::from(size);
        Self {
            least: size,
            most: size,
        }
    }

    fn of(setting: &Setting, settings: &Settings<'_>) -> Option<Self> {
        Some(Self {
            least: settings.least(setting)?,
            most: settings.most(setting)?,
        })
    }
}

/// What goes from one layer to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Vector(Range),
    Image {
        channels: Range,
        height: Range,
        width: Range,
    },
}

impl Flow {
    fn of(shape: SampleShape) -> Self {
        match shape {
            SampleShape::Vector(len) => Self::Vector(Range::exactly(len)),
            SampleShape::Image {
                channels,
                height,
                width,
            } => Self::Image {
                channels: Range::exactly(channels),
                height: Range::exactly(height),
                width: Range::exactly(width),
            },
        }
    }

    fn len(self) -> Range {
        match self {
            Self::Vector(len) => len,
            Self::Image {
                channels,
                height,
                width,
            } => Range {
                least: channels.least.saturating_mul(height.least).saturating_mul(width.least),
                most: channels.most.saturating_mul(height.most).saturating_mul(width.most),
            },
        }
    }
}

/// Follows the shapes through the layers. Behind a layer that is broken the shape is not known until a linear layer, which
/// decides it anew: so what is wrong further on is told in the same answer.
fn fit(
    layers: &[Option<LayerDraft>],
    specs: &[Option<LayerSpec>],
    shape: DatasetShape,
    settings: &Settings<'_>,
    v: &mut Violations,
) {
    let mut flow = Some(Flow::of(shape.sample));
    let mut params = 0_u64;
    for (index, (layer, spec)) in layers.iter().zip(specs).enumerate() {
        let input = flow;
        flow = match (spec, input) {
            (Some(spec), Some(input)) => match step(spec, input, settings) {
                Some(Ok(output)) => {
                    params = params.saturating_add(params_of(spec, input, output, settings));
                    Some(output)
                }
                Some(Err((field, reason))) => {
                    v.add(format!("model[{index}].{field}"), reason);
                    after_unknown(spec, settings)
                }
                // A parameter of it is broken, which was told.
                None => None,
            },
            (Some(spec), None) => after_unknown(spec, settings),
            (None, input) => match layer {
                // Whatever is wrong with them, these keep the shape.
                Some(LayerDraft::Activation(_) | LayerDraft::Dropout(_)) => input,
                _ => None,
            },
        };
        if let Some(flow) = flow.filter(|flow| flow.len().most > LAYER_OUTPUTS_MAX) {
            v.add(
                format!("model[{index}]"),
                format!(
                    "puts out up to {} numbers for a row; at most {LAYER_OUTPUTS_MAX} are allowed",
                    flow.len().most
                ),
            );
        }
    }
    if params > NETWORK_PARAMS_MAX {
        v.add(
            "model",
            format!("has up to {params} trainable numbers; at most {NETWORK_PARAMS_MAX} are allowed"),
        );
    }
    if let Some(flow) = flow {
        outputs(specs, flow, shape, settings, v);
    }
}

/// What a layer puts out if its input is not known.
fn after_unknown(spec: &LayerSpec, settings: &Settings<'_>) -> Option<Flow> {
    match spec {
        LayerSpec::Linear { units } => Range::of(units, settings).map(Flow::Vector),
        _ => None,
    }
}

type Step = Option<Result<Flow, (&'static str, String)>>;

fn step(spec: &LayerSpec, input: Flow, settings: &Settings<'_>) -> Step {
    Some(match (spec, input) {
        (LayerSpec::Activation { .. } | LayerSpec::Dropout { .. }, _) => Ok(input),
        (LayerSpec::Flatten, _) => Ok(Flow::Vector(input.len())),
        (LayerSpec::Linear { units }, Flow::Vector(_)) => Ok(Flow::Vector(Range::of(units, settings)?)),
        (LayerSpec::Linear { .. }, Flow::Image { .. }) => Err((
            "linear",
            "takes a vector, and gets an image: put a flatten before it".to_owned(),
        )),
        (LayerSpec::Conv2d { .. }, Flow::Vector(_)) => Err(("conv2d", "takes an image, and gets a vector".to_owned())),
        (LayerSpec::MaxPool2d { .. }, Flow::Vector(_)) => {
            Err(("max_pool2d", "takes an image, and gets a vector".to_owned()))
        }
        (
            LayerSpec::Conv2d {
                filters,
                kernel,
                stride,
                padding,
            },
            Flow::Image { height, width, .. },
        ) => {
            let channels = Range::of(filters, settings)?;
            let (kernel, stride) = (Range::of(kernel, settings)?, Range::of(stride, settings)?);
            let padding = Range::of(padding, settings)?;
            let side = |side: Range| -> Result<Range, (&'static str, String)> {
                let least = (side.least + 2 * padding.least).checked_sub(kernel.most);
                let misfit = || {
                    let side = side.least + 2 * padding.least;
                    (
                        "conv2d.kernel",
                        format!(
                            "can be {}, and its input with its padding only {side} wide or high",
                            kernel.most
                        ),
                    )
                };
                Ok(Range {
                    least: least.ok_or_else(misfit)? / stride.most + 1,
                    most: (side.most + 2 * padding.most - kernel.least) / stride.least + 1,
                })
            };
            side(height).and_then(|height| {
                Ok(Flow::Image {
                    channels,
                    height,
                    width: side(width)?,
                })
            })
        }
        (
            LayerSpec::MaxPool2d { kernel },
            Flow::Image {
                channels,
                height,
                width,
            },
        ) => {
            let kernel = Range::of(kernel, settings)?;
            let smallest = height.least.min(width.least);
            if kernel.most > smallest {
                let reason = format!("can be {}, and its input only {smallest} wide or high", kernel.most);
                return Some(Err(("max_pool2d.kernel", reason)));
            }
            let side = |side: Range| Range {
                least: side.least / kernel.most,
                most: side.most / kernel.least,
            };
            Ok(Flow::Image {
                channels,
                height: side(height),
                width: side(width),
            })
        }
    })
}

/// The most trainable numbers of a layer.
fn params_of(spec: &LayerSpec, input: Flow, output: Flow, settings: &Settings<'_>) -> u64 {
    match (spec, input, output) {
        (LayerSpec::Linear { .. }, _, output) => (input.len().most + 1).saturating_mul(output.len().most),
        (LayerSpec::Conv2d { kernel, .. }, Flow::Image { channels, .. }, Flow::Image { channels: filters, .. }) => {
            let kernel = settings.most(kernel).unwrap_or(0);
            (kernel.saturating_mul(kernel).saturating_mul(channels.most) + 1).saturating_mul(filters.most)
        }
        _ => 0,
    }
}

/// The last layer with a size of its own must put out what the dataset asks for.
fn outputs(specs: &[Option<LayerSpec>], flow: Flow, shape: DatasetShape, settings: &Settings<'_>, v: &mut Violations) {
    let wanted = shape.target.outputs();
    let asked = match shape.target {
        crate::dataset::TargetShape::Number => "the dataset has 1 target".to_owned(),
        crate::dataset::TargetShape::Classes(classes) => format!("the dataset has {classes} classes"),
    };
    let last = specs
        .iter()
        .enumerate()
        .rev()
        .find_map(|(index, spec)| spec.as_ref().filter(|spec| spec.has_size()).map(|spec| (index, spec)));
    match (last, flow) {
        (Some((index, LayerSpec::Linear { units })), Flow::Vector(_)) => {
            if let Some(other) = settings
                .values(units)
                .find(|value| **value != ParamValue::Int(i64::from(wanted)))
            {
                v.add(
                    format!("model[{index}].linear.units"),
                    format!("gives {other} outputs where {asked}: the last linear layer must have {wanted}"),
                );
            }
        }
        (_, Flow::Vector(len)) if len == Range::exactly(wanted) => {}
        _ => v.add(
            "model",
            format!("must end with a linear layer of {wanted} units, because {asked}"),
        ),
    }
}

impl LayerSpec {
    /// True if the layer decides the size of its output.
    fn has_size(&self) -> bool {
        !matches!(self, Self::Activation { .. } | Self::Dropout { .. })
    }
}
