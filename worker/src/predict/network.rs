//! `network.json`, read back: what a refit wrote of its network becomes an architecture again, whatever has happened to the
//! file meanwhile.

use std::ops::RangeInclusive;

use serde::Deserialize;
use trawl_domain::dataset::{Header, Layout, SampleShape, TargetKind};
use trawl_domain::limits::{
    CLASSES_MAX, FEATURES_MAX, FILTERS_MAX, KERNEL_MAX, LAYER_OUTPUTS_MAX, LAYERS_MAX, NETWORK_PARAMS_MAX,
    SAMPLE_LEN_MAX, UNITS_MAX,
};
use trawl_domain::network::{Architecture, Conv2d, Layer, Loss};

/// A network as a refit describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    architecture: Architecture,
    features: Vec<String>,
    header: Header,
    layout: Option<Layout>,
    classes: Option<Vec<String>>,
}

/// A file that describes no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkError(String);

/// The file. Fields that are not here are for others to read.
#[derive(Deserialize)]
struct Written {
    input: Input,
    target: Target,
    layers: Vec<WrittenLayer>,
    loss: String,
    #[serde(default = "one")]
    batch_size: u32,
    parameters: u64,
}

/// Files of before there was a batch size: their networks answer all the same, but for rounding.
fn one() -> u32 {
    1
}

#[derive(Deserialize)]
struct Input {
    shape: Vec<u32>,
    features: Option<Vec<String>>,
    /// Of a table: whether its file had a header line, where the study said so.
    header: Option<bool>,
    /// Of images: the order of an array's axes.
    layout: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    Name(serde::de::IgnoredAny),
    Classes(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenLayer {
    Linear {
        units: u32,
    },
    Conv2d {
        filters: u32,
        kernel: u32,
        stride: u32,
        padding: u32,
    },
    MaxPool2d {
        kernel: u32,
    },
    Flatten {},
    Activation {
        kind: String,
    },
    /// Its probability is for training alone.
    Dropout {},
}

impl Network {
    /// Reads the file.
    ///
    /// # Errors
    /// The first thing that is wrong: it is no such JSON, a size is beyond its limit, the layers do not fit together, or what they
    /// put out is not what the target needs.
    pub fn parse(json: &[u8]) -> Result<Self, NetworkError> {
        let written: Written =
            serde_json::from_slice(json).map_err(|error| NetworkError(format!("describes no network: {error}")))?;
        written.check().map_err(NetworkError)
    }

    /// The layers.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Names of the features of a table; none for images.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Whether files of a table have a header line: as those that it was trained with.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The order of the axes of the array of images that it was trained with; `None` if that was none, or is not known.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Names of the classes in the order of the outputs; `None` where a number is predicted.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }
}

impl Written {
    fn check(self) -> Result<Network, String> {
        let input = SampleShape::from_dims(&self.input.shape)
            .filter(|shape| dims_product(*shape).is_some_and(|len| len <= SAMPLE_LEN_MAX))
            .ok_or_else(|| "input.shape: is no size of a row".to_owned())?;
        let features = self.input.features.unwrap_or_default();
        let named = match input {
            SampleShape::Vector(len) => len as usize,
            SampleShape::Image { .. } => 0,
        };
        if features.len() != named || named > FEATURES_MAX {
            return Err(format!("input.features: are {}, and {named} go in", features.len()));
        }
        let header = match self.input.header {
            None => Header::Checked,
            Some(true) => Header::Present,
            Some(false) => Header::Absent,
        };
        let layout = self.input.layout.map(|word| word.parse()).transpose();
        let layout = layout.map_err(|error| format!("input.layout: {error}"))?;
        let loss: Loss = self.loss.parse().map_err(|error| format!("loss: {error}"))?;
        let classes = match (self.target, loss.target_kind()) {
            (Target::Name(_), TargetKind::Number) => None,
            (Target::Classes(classes), TargetKind::Class) if (2..=CLASSES_MAX).contains(&classes.len()) => {
                Some(classes)
            }
            _ => return Err(format!("target: is not what the loss {loss} is for")),
        };
        if self.batch_size == 0 {
            return Err("batch_size: must be at least 1".to_owned());
        }
        if self.layers.is_empty() || self.layers.len() > LAYERS_MAX {
            return Err(format!(
                "layers: must be 1 to {LAYERS_MAX}, and are {}",
                self.layers.len()
            ));
        }
        let layers = self.layers.into_iter().enumerate().map(|(index, layer)| {
            let checked = layer.check();
            checked.map_err(|reason| format!("layers[{index}]: {reason}"))
        });
        let architecture = Architecture {
            input,
            layers: layers.collect::<Result<_, _>>()?,
            loss,
            batch_size: self.batch_size,
            // Nothing is trained any more.
            epochs: 0,
        };
        check_shapes(&architecture, classes.as_ref().map_or(1, Vec::len), self.parameters)?;
        Ok(Network {
            architecture,
            features,
            header,
            layout,
            classes,
        })
    }
}

/// Checks what goes from layer to layer, step by step: no size of a broken file is multiplied before it is known to be small.
fn check_shapes(architecture: &Architecture, outputs: usize, parameters: u64) -> Result<(), String> {
    let mut shape = architecture.input;
    let mut counted: u64 = 0;
    for (index, layer) in architecture.layers.iter().enumerate() {
        counted = counted.saturating_add(layer.params(shape));
        shape = layer
            .output(shape)
            .map_err(|reason| format!("layers[{index}]: {reason}"))?;
        if dims_product(shape).is_none_or(|len| len == 0 || len > LAYER_OUTPUTS_MAX) {
            return Err(format!(
                "layers[{index}]: puts out {shape} numbers for a row; at most {LAYER_OUTPUTS_MAX} are allowed"
            ));
        }
    }
    if counted > NETWORK_PARAMS_MAX || counted != parameters {
        return Err(format!(
            "parameters: are said to be {parameters}, and the layers have {counted}; at most {NETWORK_PARAMS_MAX} are allowed"
        ));
    }
    if shape != SampleShape::Vector(outputs as u32) {
        return Err(format!(
            "layers: the last one puts out {shape}, and {outputs} are needed"
        ));
    }
    Ok(())
}

/// Numbers of a shape; `None` if they are too many to be counted.
fn dims_product(shape: SampleShape) -> Option<u64> {
    let mut dims = shape.dims().into_iter();
    dims.try_fold(1_u64, |product, dim| product.checked_mul(u64::from(dim)))
}

impl WrittenLayer {
    fn check(self) -> Result<Layer, String> {
        let within = |what: &str, size: u32, range: RangeInclusive<i64>| {
            if range.contains(&i64::from(size)) {
                Ok(size)
            } else {
                let (least, most) = range.into_inner();
                Err(format!("{what}: must be from {least} to {most}, and {size} is not"))
            }
        };
        Ok(match self {
            Self::Linear { units } => Layer::Linear {
                units: within("units", units, 1..=UNITS_MAX)?,
            },
            Self::Conv2d {
                filters,
                kernel,
                stride,
                padding,
            } => Layer::Conv2d(Conv2d {
                filters: within("filters", filters, 1..=FILTERS_MAX)?,
                kernel: within("kernel", kernel, 1..=KERNEL_MAX)?,
                stride: within("stride", stride, 1..=KERNEL_MAX)?,
                padding: within("padding", padding, 0..=KERNEL_MAX)?,
            }),
            Self::MaxPool2d { kernel } => Layer::MaxPool2d {
                kernel: within("kernel", kernel, 1..=KERNEL_MAX)?,
            },
            Self::Flatten {} => Layer::Flatten,
            Self::Activation { kind } => {
                Layer::Activation(kind.parse().map_err(|error| format!("activation.kind: {error}"))?)
            }
            Self::Dropout {} => Layer::Dropout,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written() -> Value {
        json!({
            "input": { "shape": [1, 6, 6] },
            "target": { "classes": ["a", "b"] },
            "layers": [
                { "conv2d": { "filters": 2, "kernel": 3, "stride": 1, "padding": 1 } },
                { "activation": { "kind": "relu" } },
                { "max_pool2d": { "kernel": 2 } },
                { "flatten": {} },
                { "dropout": { "p": 0.25 } },
                { "linear": { "units": 2 } },
            ],
            "loss": "cross_entropy",
            "batch_size": 8,
            "parameters": 58,
        })
    }

    /// The message for the file with one value changed.
    fn error_with(pointer: &str, value: Value) -> String {
        let mut json = written();
        *json.pointer_mut(pointer).expect(pointer) = value;
        Network::parse(json.to_string().as_bytes())
            .expect_err(pointer)
            .to_string()
    }

    #[test]
    fn what_a_refit_writes_is_read_back() {
        let network = Network::parse(written().to_string().as_bytes()).expect("a network");
        let architecture = network.architecture();
        assert_eq!(architecture.input.dims(), [1, 6, 6]);
        assert_eq!((architecture.layers.len(), architecture.batch_size), (6, 8));
        assert_eq!(architecture.layers[4], Layer::Dropout);
        assert_eq!(network.classes(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(architecture.params(), 58);
        assert_eq!((network.header(), network.layout()), (Header::Checked, None));
    }

    #[test]
    fn files_to_be_predicted_are_read_as_those_of_the_training() {
        for (word, header) in [(true, Header::Present), (false, Header::Absent)] {
            let mut json = written();
            json["input"]["header"] = json!(word);
            json["input"]["layout"] = json!("channels_last");
            let network = Network::parse(json.to_string().as_bytes()).expect("a network");
            assert_eq!(
                (network.header(), network.layout()),
                (header, Some(Layout::ChannelsLast))
            );
        }
        let mut json = written();
        json["input"]["layout"] = json!("sideways");
        let error = Network::parse(json.to_string().as_bytes()).expect_err("no layout");
        assert!(error.to_string().starts_with("input.layout: "), "{error}");
    }

    #[test]
    fn a_broken_description_says_what_is_wrong() {
        for (pointer, value, message) in [
            ("/input/shape", json!([0, 6, 6]), "input.shape: is no size of a row"),
            (
                "/input/shape",
                json!([u32::MAX, u32::MAX, u32::MAX]),
                "input.shape: is no size of a row",
            ),
            ("/input/shape", json!([36]), "input.features: are 0, and 36 go in"),
            ("/loss", json!("mae"), "loss: must be one of mse, cross_entropy"),
            ("/loss", json!("mse"), "target: is not what the loss mse is for"),
            (
                "/target",
                json!({ "classes": ["a"] }),
                "target: is not what the loss cross_entropy is for",
            ),
            (
                "/target",
                json!({ "classes": ["a", "b", "c"] }),
                "layers: the last one puts out 2, and 3 are needed",
            ),
            ("/batch_size", json!(0), "batch_size: must be at least 1"),
            ("/layers", json!([]), "layers: must be 1 to 128, and are 0"),
            (
                "/layers/0/conv2d/stride",
                json!(0),
                "layers[0]: stride: must be from 1 to 1024, and 0 is not",
            ),
            (
                "/layers/2/max_pool2d/kernel",
                json!(0),
                "layers[2]: kernel: must be from 1 to 1024, and 0 is not",
            ),
            (
                "/layers/2/max_pool2d/kernel",
                json!(7),
                "layers[2]: a kernel of 7 does not fit into 2x6x6",
            ),
            (
                "/layers/3",
                json!({ "dropout": {} }),
                "layers[5]: takes a vector, and gets 2x3x3: put a flatten before it",
            ),
            (
                "/layers/1/activation/kind",
                json!("gelu"),
                "layers[1]: activation.kind: must be one of relu, leaky_relu, sigmoid, tanh",
            ),
            (
                "/parameters",
                json!(57),
                "parameters: are said to be 57, and the layers have 58; at most 100000000 are allowed",
            ),
        ] {
            assert_eq!(error_with(pointer, value.clone()), message, "{pointer} = {value}");
        }
        let words = error_with("/layers/1", json!({ "attention": {} }));
        assert!(
            words.starts_with("describes no network: unknown variant `attention`"),
            "{words}"
        );
    }

    #[test]
    fn torn_descriptions_are_refused() {
        let whole = written().to_string();
        for len in 0..whole.len() {
            let error = Network::parse(&whole.as_bytes()[..len]).expect_err("torn");
            assert!(error.to_string().starts_with("describes no network: "), "{error}");
        }
    }

    #[test]
    fn networks_beyond_the_limits_are_refused_before_anything_is_made() {
        let json = json!({
            "input": { "shape": [65_536], "features": [] },
            "target": { "name": "y" },
            "layers": [{ "linear": { "units": 65_536 } }, { "linear": { "units": 1 } }],
            "loss": "mse",
            "parameters": 0,
        });
        let error = Network::parse(json.to_string().as_bytes()).expect_err("many features");
        assert_eq!(error.to_string(), "input.features: are 0, and 65536 go in");
        let large = json!({
            "input": { "shape": [1], "features": ["x"] },
            "target": { "name": "y" },
            "layers": [{ "linear": { "units": 65_536 } }, { "linear": { "units": 65_536 } }, { "linear": { "units": 1 } }],
            "loss": "mse",
            "parameters": 4_295_163_905_u64,
        });
        let error = Network::parse(large.to_string().as_bytes()).expect_err("many parameters");
        assert!(error.to_string().contains("at most 100000000 are allowed"), "{error}");
    }
}
