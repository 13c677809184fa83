//! Reads `network.json` back: turns a refit's description of its network into an architecture again, and checks it,
//! since the file may have been changed.

use trawl_dataset::word::UnknownWord;
use trawl_dataset::{
    Dialect, FittedInputs, FittedTable, FittedTarget, Header, Inputs, Layout, NotAQuote, Resize, SampleShape,
    TargetKind,
};
use trawl_domain::layer::WrittenLayer;
use trawl_domain::limits::{CLASSES_MAX, FEATURES_MAX, FOLDS_MAX, SAMPLE_LEN_MAX, TARGETS_MAX};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;

use crate::calibration::{TEMPERATURE_MAX, TEMPERATURE_MIN};
use crate::network_file::{FoldFitted, Input, NetworkFile, Target};

/// A network as a refit describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    architecture: Architecture,
    inputs: Inputs,
    fitted: Vec<FittedTable>,
    is_ensemble: bool,
    dialect: Dialect,
    layout: Option<Layout>,
    resize: Option<Resize>,
    targets: Vec<String>,
    classes: Option<Vec<String>>,
    temperature: f64,
}

/// A file that does not describe a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkError(String);

impl Network {
    /// Reads the file.
    ///
    /// # Errors
    /// The first fault: the JSON is malformed, a size exceeds its limit, the layers do not fit together, or their
    /// output does not fit the target.
    pub fn parse(json: &[u8]) -> Result<Self, NetworkError> {
        let file: NetworkFile =
            serde_json::from_slice(json).map_err(|error| NetworkError(format!("describes no network: {error}")))?;
        file.check().map_err(NetworkError)
    }

    /// The layers.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The columns of a table as inputs; none for images.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The preparation fitted on each network's training rows: one network, or an ensemble.
    pub fn fitted(&self) -> &[FittedTable] {
        &self.fitted
    }

    /// True for an ensemble, whose weights are numbered.
    pub fn is_ensemble(&self) -> bool {
        self.is_ensemble
    }

    /// The format of a table's files, as in training.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The order of the axes of the array of images that it was trained on; `None` if there was no array, or the order is unknown.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// How a picture of another size is resized; `None` if it is refused.
    pub fn resize(&self) -> Option<Resize> {
        self.resize
    }

    /// The kind of target.
    pub fn kind(&self) -> TargetKind {
        self.architecture.loss.target_kind()
    }

    /// Names of the targets, in the order of the outputs; empty where a class is predicted.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// Names of the classes in the order of the outputs; `None` where no class is predicted.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// The divisor of outputs before softmax: 1 without calibration.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }
}

/// A network's input, after its check.
struct CheckedInput {
    shape: SampleShape,
    inputs: Inputs,
    fitted: Option<FittedInputs>,
    dialect: Dialect,
    layout: Option<Layout>,
    resize: Option<Resize>,
}

impl Input {
    fn check(self) -> Result<CheckedInput, String> {
        let shape = SampleShape::from_dims(&self.shape)
            .filter(|shape| dims_product(*shape).is_some_and(|len| len <= SAMPLE_LEN_MAX))
            .ok_or_else(|| "input.shape: is no size of a row".to_owned())?;
        let features = self.features.unwrap_or_default();
        let named = match shape {
            SampleShape::Vector(len) | SampleShape::Table { len, .. } => len as usize,
            SampleShape::Sequence { .. } | SampleShape::Image { .. } => 0,
        };
        if features.len() != named || named > FEATURES_MAX {
            return Err(format!("input.features: are {}, and {named} go in", features.len()));
        }
        let inputs = match self.columns {
            None => Inputs::of_numbers(&features),
            Some(columns) if columns.names() == features => columns,
            Some(_) => return Err("input.columns: are not those of input.features".to_owned()),
        };
        if !inputs.words_ascend() {
            return Err("input.columns: have words that do not ascend".to_owned());
        }
        let header = match self.header {
            None => Header::Checked,
            Some(true) => Header::Present,
            Some(false) => Header::Absent,
        };
        let delimiter = self.delimiter.map(u8::try_from).transpose();
        let quoting = self.quote.map(|quote| quote.parse()).transpose();
        let encoding = self.encoding.map(|encoding| encoding.parse()).transpose();
        let encoding = encoding.map_err(|error: UnknownWord| format!("input.encoding: {error}"))?;
        let dialect = Dialect {
            header,
            quoting: quoting.map_err(|error: NotAQuote| format!("input.quote: {error}"))?,
            encoding: encoding.unwrap_or_default(),
            delimiter: delimiter.map_err(|_| "input.delimiter: is no ASCII character".to_owned())?,
            has_decimal_comma: self.decimal == Some(','),
            missing: self.missing,
        };
        let layout = self.layout.map(|word| word.parse()).transpose();
        let shape = shape.with_words(&inputs.shape().words());
        Ok(CheckedInput {
            shape: shape.ok_or_else(|| "input.columns: have other inputs than input.shape".to_owned())?,
            inputs,
            fitted: self.fitted,
            dialect,
            layout: layout.map_err(|error| format!("input.layout: {error}"))?,
            resize: self.resize,
        })
    }
}

impl FoldFitted {
    /// `field` is the prefix of its own fields.
    fn check(self, field: &str, shape: SampleShape, inputs: &Inputs, outputs: usize) -> Result<FittedTable, String> {
        // A single network's preparation is part of its input.
        let at_input = if field.is_empty() { "input." } else { field };
        match &self.fitted {
            Some(FittedInputs(fitted)) if fitted.len() != shape.inputs() as usize => {
                let (found, wanted) = (fitted.len(), shape.inputs());
                return Err(format!("{at_input}fitted: are {found}, and {wanted} go in"));
            }
            None if !inputs.is_plain() => {
                return Err(format!("{at_input}fitted: is missing, and input.columns need it"));
            }
            Some(fitted) if !fitted.is_sound() => {
                return Err(format!("{at_input}fitted: has quantiles that are none"));
            }
            Some(_) | None => {}
        }
        let is_sound =
            |target: &FittedTarget| target.mean.is_finite() && target.deviation.is_finite() && target.deviation > 0.0;
        if !self.target_fitted.iter().flatten().all(is_sound) {
            return Err(format!("{field}target_fitted: has what is no mean and deviation"));
        }
        if self
            .target_fitted
            .as_ref()
            .is_some_and(|fitted| fitted.len() != outputs)
        {
            return Err(format!("{field}target_fitted: must be {outputs}"));
        }
        Ok(FittedTable {
            words: inputs.words(),
            inputs: self.fitted,
            targets: self.target_fitted,
        })
    }
}

impl NetworkFile {
    fn check(self) -> Result<Network, String> {
        let input = self.input.check()?;
        let own = FoldFitted {
            fitted: input.fitted,
            target_fitted: self.target_fitted,
        };
        let fitted = match self.folds {
            None => vec![(String::new(), own)],
            Some(_) if own.fitted.is_some() || own.target_fitted.is_some() => {
                return Err("folds: have what is fitted, and so has the whole".to_owned());
            }
            Some(folds) if (2..=FOLDS_MAX as usize).contains(&folds.len()) => {
                let named = folds.into_iter().enumerate();
                named
                    .map(|(fold, fitted)| (format!("folds[{fold}]."), fitted))
                    .collect()
            }
            Some(folds) => return Err(format!("folds: must be 2 to {FOLDS_MAX}, and are {}", folds.len())),
        };
        let loss: Loss = self.loss.parse().map_err(|error| format!("loss: {error}"))?;
        let mut targets = Vec::new();
        let classes = match (self.target, loss.target_kind()) {
            (Target::Name(name), TargetKind::Number | TargetKind::Binary) => {
                targets = vec![name];
                None
            }
            (Target::Names(names), TargetKind::Number | TargetKind::Binary)
                if (2..=TARGETS_MAX).contains(&names.len()) =>
            {
                targets = names;
                None
            }
            (Target::Classes(classes), TargetKind::Class) if (2..=CLASSES_MAX).contains(&classes.len()) => {
                Some(classes)
            }
            _ => return Err(format!("target: is not what the loss {loss} is for")),
        };
        let is_in_range = |temperature: f64| (TEMPERATURE_MIN..=TEMPERATURE_MAX).contains(&temperature);
        if self
            .temperature
            .is_some_and(|temperature| classes.is_none() || !is_in_range(temperature))
        {
            return Err(format!(
                "temperature: must be from {TEMPERATURE_MIN} to {TEMPERATURE_MAX}, and there for classes alone"
            ));
        }
        if self.batch_size == 0 {
            return Err("batch_size: must be at least 1".to_owned());
        }
        let architecture = Architecture {
            input: input.shape,
            layers: WrittenLayer::read(&self.layers).map_err(|wrong| wrong.to_string())?,
            loss,
            batch_size: self.batch_size,
            // It is no longer trained.
            epochs: 0,
        };
        let output = architecture.output().map_err(|wrong| wrong.to_string())?;
        let outputs = classes.as_ref().unwrap_or(&targets).len();
        let fitted = fitted
            .into_iter()
            .map(|(field, fitted)| fitted.check(&field, input.shape, &input.inputs, outputs));
        let fitted = fitted.collect::<Result<Vec<_>, String>>()?;
        if output != SampleShape::Vector(outputs as u32) {
            return Err(format!(
                "layers: the last one puts out {output}, and {outputs} are needed"
            ));
        }
        let counted = architecture.params();
        if counted != self.parameters {
            return Err(format!(
                "parameters: are said to be {}, and the layers have {counted}",
                self.parameters
            ));
        }
        Ok(Network {
            architecture,
            inputs: input.inputs,
            is_ensemble: fitted.len() > 1,
            fitted,
            dialect: input.dialect,
            layout: input.layout,
            resize: input.resize,
            targets,
            classes,
            temperature: self.temperature.unwrap_or(1.0),
        })
    }
}

/// The product of a shape's dimensions; `None` if it overflows.
fn dims_product(shape: SampleShape) -> Option<u64> {
    let mut dims = shape.dims().into_iter();
    dims.try_fold(1_u64, |product, dim| product.checked_mul(u64::from(dim)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trawl_domain::layer::Layer;

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
        assert_eq!((network.dialect(), network.layout()), (&Dialect::default(), None));
    }

    #[test]
    fn files_to_be_predicted_are_read_as_those_of_the_training() {
        for (word, header) in [(true, Header::Present), (false, Header::Absent)] {
            let mut json = written();
            json["input"]["header"] = json!(word);
            json["input"]["layout"] = json!("channels_last");
            let network = Network::parse(json.to_string().as_bytes()).expect("a network");
            assert_eq!(
                (network.dialect().header, network.layout()),
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
            (
                "/loss",
                json!("mae"),
                "loss: must be one of mse, huber, l1, cross_entropy, focal, bce",
            ),
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
                "layers[0].conv2d.stride: must be from 1 to 1024, and 0 is not",
            ),
            (
                "/layers/2/max_pool2d/kernel",
                json!(0),
                "layers[2].max_pool2d.kernel: must be from 1 to 1024, and 0 is not",
            ),
            (
                "/layers/2/max_pool2d/kernel",
                json!(7),
                "layers[2].max_pool2d.kernel: can be 7, and its input only 6 wide or high",
            ),
            (
                "/layers/3",
                json!({ "dropout": {} }),
                "layers[5].linear: takes a vector, and gets an image of 2 x 3 x 3: put a flatten before it",
            ),
            (
                "/layers/1/activation/kind",
                json!("mish"),
                "layers[1].activation.kind: 'mish' is not known: it must be one of relu, leaky_relu, sigmoid, tanh, gelu, silu, elu, selu, softplus",
            ),
            (
                "/parameters",
                json!(57),
                "parameters: are said to be 57, and the layers have 58",
            ),
        ] {
            assert_eq!(error_with(pointer, value.clone()), message, "{pointer} = {value}");
        }
        let words = error_with("/layers/1", json!({ "attention": {} }));
        assert_eq!(
            words,
            "layers[1]: 'attention' is no kind of layer: it must be one of linear, embedding, sequence, conv1d, max_pool1d, avg_pool1d, conv2d, max_pool2d, avg_pool2d, \
             adaptive_avg_pool2d, adaptive_max_pool2d, global_avg_pool, flatten, activation, dropout, dropout2d, batch_norm, layer_norm, residual"
        );
    }

    #[test]
    fn a_temperature_is_one_of_classes_and_in_its_range() {
        let with = |temperature: f64| {
            let mut json = written();
            json["temperature"] = json!(temperature);
            Network::parse(json.to_string().as_bytes()).map(|network| network.temperature())
        };
        assert_eq!(with(1.5), Ok(1.5));
        assert_eq!(
            Network::parse(written().to_string().as_bytes())
                .expect("a network")
                .temperature(),
            1.0
        );
        let message = "temperature: must be from 0.01 to 100, and there for classes alone";
        assert_eq!(with(0.0).expect_err("none").to_string(), message);
        let mut numbers = written();
        numbers["temperature"] = json!(1.5);
        numbers["loss"] = json!("mse");
        numbers["target"] = json!({ "names": ["a", "b"] });
        let error = Network::parse(numbers.to_string().as_bytes()).expect_err("of numbers");
        assert_eq!(error.to_string(), message);
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
            "batch_size": 8,
            "parameters": 0,
        });
        let error = Network::parse(json.to_string().as_bytes()).expect_err("many features");
        assert_eq!(error.to_string(), "input.features: are 0, and 65536 go in");
        let large = json!({
            "input": { "shape": [1], "features": ["x"] },
            "target": { "name": "y" },
            "layers": [{ "linear": { "units": 65_536 } }, { "linear": { "units": 65_536 } }, { "linear": { "units": 1 } }],
            "loss": "mse",
            "batch_size": 8,
            "parameters": 4_295_163_905_u64,
        });
        let error = Network::parse(large.to_string().as_bytes()).expect_err("many parameters");
        assert!(error.to_string().contains("at most 100000000 are allowed"), "{error}");
    }
}
