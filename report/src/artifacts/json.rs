//! Artifacts in JSON.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ArtifactError;

/// How the parameters of each layer are distributed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WeightHistograms {
    pub(crate) layers: Vec<LayerHistograms>,
}

/// The parameters of one layer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LayerHistograms {
    /// Its place in the model, from 0.
    pub(crate) index: usize,
    pub(crate) kind: String,
    pub(crate) weight: Histogram,
    pub(crate) bias: Option<Histogram>,
}

/// Counts between edges, of which there is one more.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Histogram {
    pub(crate) edges: Vec<f64>,
    pub(crate) counts: Vec<u64>,
}

/// Every hidden neuron, and the output, over the range of the only feature.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ActivationProfiles {
    pub(crate) feature: String,
    pub(crate) x: Vec<f64>,
    pub(crate) layers: Vec<LayerProfiles>,
    /// A list over `x` for each output of the network.
    pub(crate) output: Vec<Vec<f64>>,
}

/// The neurons of one activation layer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LayerProfiles {
    /// Its place in the model, from 0.
    pub(crate) index: usize,
    pub(crate) kind: String,
    /// A list over `x` for each neuron.
    pub(crate) neurons: Vec<Vec<f64>>,
}

/// Every hidden neuron for chosen inputs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Activations {
    pub(crate) features: Vec<String>,
    /// A list of features for each input.
    pub(crate) inputs: Vec<Vec<f64>>,
    pub(crate) layers: Vec<LayerActivations>,
    /// A list of outputs for each input.
    pub(crate) outputs: Vec<Vec<f64>>,
}

/// The neurons of one activation layer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LayerActivations {
    /// Its place in the model, from 0.
    pub(crate) index: usize,
    pub(crate) kind: String,
    /// A list of neurons for each input.
    pub(crate) values: Vec<Vec<f64>>,
}

/// How often which class was taken for which.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ConfusionMatrix {
    pub(crate) classes: Vec<String>,
    /// For each true class, how often it was taken for each class.
    pub(crate) counts: Vec<Vec<u64>>,
}

/// The temperature of a network for classes, and how far its probabilities can be relied on.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Calibration {
    /// Absent where there is none.
    pub(crate) temperature: Option<f64>,
    /// Why there is none.
    pub(crate) reason: Option<String>,
    /// On the test rows.
    pub(crate) test: Option<Calibrated>,
}

/// Without the temperature and with it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Calibrated {
    pub(crate) before: Reliability,
    pub(crate) after: Reliability,
}

/// How far probabilities can be relied on.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reliability {
    pub(crate) log_loss: f64,
    pub(crate) brier: f64,
    /// Expected calibration error.
    pub(crate) ece: f64,
}

impl Calibration {
    /// # Errors
    /// No such JSON.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        parse(name, bytes)
    }
}

impl WeightHistograms {
    /// # Errors
    /// No such JSON, or a histogram without one edge more than counts.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let parsed: Self = parse(name, bytes)?;
        for layer in &parsed.layers {
            for (of, histogram) in [("weight", Some(&layer.weight)), ("bias", layer.bias.as_ref())] {
                if let Some(Histogram { edges, counts }) = histogram {
                    check(name, !counts.is_empty() && edges.len() == counts.len() + 1, || {
                        let (edges, counts) = (edges.len(), counts.len());
                        format!("{of} of layer {} has {edges} edges and {counts} counts", layer.index)
                    })?;
                }
            }
        }
        Ok(parsed)
    }
}

impl ActivationProfiles {
    /// # Errors
    /// No such JSON, or a list that is not as long as `x`.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let parsed: Self = parse(name, bytes)?;
        check(name, !parsed.x.is_empty(), || "x is empty".into())?;
        let over_x = |lists: &[Vec<f64>]| lists.iter().all(|list| list.len() == parsed.x.len());
        for layer in &parsed.layers {
            check(name, over_x(&layer.neurons), || {
                format!("a neuron of layer {} is not as long as x", layer.index)
            })?;
        }
        check(name, !parsed.output.is_empty() && over_x(&parsed.output), || {
            "output is not as long as x".into()
        })?;
        Ok(parsed)
    }
}

impl Activations {
    /// # Errors
    /// No such JSON, or lists that do not fit together.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let parsed: Self = parse(name, bytes)?;
        let (features, inputs) = (parsed.features.len(), parsed.inputs.len());
        check(name, inputs > 0, || "there are no inputs".into())?;
        check(name, parsed.inputs.iter().all(|input| input.len() == features), || {
            format!("an input has not {features} features")
        })?;
        check(name, parsed.outputs.len() == inputs, || {
            format!("{inputs} inputs have {} outputs", parsed.outputs.len())
        })?;
        for layer in &parsed.layers {
            let neurons = layer.values.first().map_or(0, Vec::len);
            let fits = layer.values.len() == inputs && layer.values.iter().all(|values| values.len() == neurons);
            check(name, fits, || {
                format!("layer {} has not a list of as many neurons for each input", layer.index)
            })?;
        }
        Ok(parsed)
    }
}

impl ConfusionMatrix {
    /// # Errors
    /// No such JSON, or counts that are not a square over the classes.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let parsed: Self = parse(name, bytes)?;
        let classes = parsed.classes.len();
        let square = parsed.counts.len() == classes && parsed.counts.iter().all(|row| row.len() == classes);
        check(name, classes > 0 && square, || {
            format!("counts is no square over {classes} classes")
        })?;
        Ok(parsed)
    }
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ArtifactError> {
    serde_json::from_slice(bytes).map_err(|error| ArtifactError::new(name, error.to_string()))
}

fn check(name: &str, holds: bool, reason: impl FnOnce() -> String) -> Result<(), ArtifactError> {
    if holds {
        Ok(())
    } else {
        Err(ArtifactError::new(name, reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_are_read() {
        let histograms = br#"{"layers": [{"index": 0, "kind": "linear",
            "weight": {"edges": [-1.0, 0.0, 1.0], "counts": [3, 4]}, "bias": {"edges": [0, 1], "counts": [2]}}]}"#;
        let parsed = WeightHistograms::parse("w", histograms).unwrap();
        assert_eq!(parsed.layers[0].weight.counts, [3, 4]);
        let profiles = br#"{"feature": "input", "x": [-5.0, 5.0],
            "layers": [{"index": 1, "kind": "tanh", "neurons": [[0.1, 0.2]]}], "output": [[1, 2]]}"#;
        assert_eq!(ActivationProfiles::parse("p", profiles).unwrap().output, [[1.0, 2.0]]);
        let activations = br#"{"features": ["input"], "inputs": [[4.05], [0.0]],
            "layers": [{"index": 1, "kind": "tanh", "values": [[0.5], [0.6]]}], "outputs": [[1], [2]]}"#;
        assert_eq!(Activations::parse("a", activations).unwrap().inputs[0], [4.05]);
        let calibration = br#"{"temperature": 1.5, "held_out": {"before": {"rows": 9}},
            "test": {"before": {"rows": 2, "log_loss": 0.5, "brier": 0.2, "ece": 0.1}, "after": {"rows": 2, "log_loss": 0.4, "brier": 0.2, "ece": 0.0}}}"#;
        let calibration = Calibration::parse("c", calibration).unwrap();
        assert_eq!(calibration.test.map(|test| test.after.log_loss), Some(0.4));
        let none = Calibration::parse("c", br#"{"temperature": null, "reason": "no rows"}"#).unwrap();
        assert_eq!((none.temperature, none.reason.as_deref()), (None, Some("no rows")));
        let confusion = br#"{"classes": ["0", "1"], "counts": [[95, 5], [7, 93]]}"#;
        assert_eq!(ConfusionMatrix::parse("c", confusion).unwrap().counts[1][0], 7);
    }

    #[test]
    fn broken_ones_are_refused_by_name() {
        let refused = |error: ArtifactError| error.to_string();
        assert_eq!(
            refused(
                WeightHistograms::parse(
                    "weight_histograms.json",
                    br#"{"layers": [{"index": 3, "kind": "linear", "weight": {"edges": [0, 1], "counts": [1, 2]}}]}"#
                )
                .unwrap_err()
            ),
            "artifact weight_histograms.json: weight of layer 3 has 2 edges and 2 counts"
        );
        assert_eq!(
            refused(
                ActivationProfiles::parse(
                    "activation_profiles.json",
                    br#"{"feature": "x", "x": [1], "layers": [{"index": 1, "kind": "tanh", "neurons": [[]]}], "output": [[1]]}"#
                )
                .unwrap_err()
            ),
            "artifact activation_profiles.json: a neuron of layer 1 is not as long as x"
        );
        assert_eq!(
            refused(
                Activations::parse(
                    "activations.json",
                    br#"{"features": ["a"], "inputs": [[1, 2]], "layers": [], "outputs": [[1]]}"#
                )
                .unwrap_err()
            ),
            "artifact activations.json: an input has not 1 features"
        );
        assert_eq!(
            refused(
                ConfusionMatrix::parse(
                    "confusion_matrix.json",
                    br#"{"classes": ["a", "b"], "counts": [[1, 2]]}"#
                )
                .unwrap_err()
            ),
            "artifact confusion_matrix.json: counts is no square over 2 classes"
        );
        let no_json = ConfusionMatrix::parse("confusion_matrix.json", b"PK").unwrap_err();
        assert!(
            no_json.to_string().starts_with("artifact confusion_matrix.json: "),
            "{no_json}"
        );
    }
}
