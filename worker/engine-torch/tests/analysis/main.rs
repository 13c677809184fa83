//! Networks small enough to be computed by hand.

mod images;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tch::Device;
use trawl_dataset::{ArrayRules, Columns, Features, Format, Inputs, SampleShape, Samples, Targets};
use trawl_domain::layer::{Activation, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;
use trawl_engine::analysis::{AnalysisInput, Artifact, SkippedArtifact, analyse};
use trawl_engine::weights::{Parameter, shapes};
use trawl_engine::{Control, Engine as _};
use trawl_engine_torch::{DeviceNetworks, DeviceTable, Torch};

const TORCH: Torch = Torch::new(Device::Cpu);

/// A network, and the data that it claims to be fitted on.
type Fit = (DeviceNetworks, AnalysisInput<DeviceTable>);

/// File contents by name, or why a file is left out.
type Files = BTreeMap<&'static str, Result<Vec<u8>, SkippedArtifact>>;

fn files((networks, subject): &Fit) -> Files {
    let mut files = Files::new();
    let mut emit = |artifact: Artifact| files.insert(artifact.kind.refit_file(), artifact.content).is_none();
    assert_eq!(analyse(&alone(networks), subject, &Control::new(), &mut emit), Ok(()));
    files
}

fn made<'a>(files: &'a Files, name: &str) -> &'a [u8] {
    files[name].as_ref().expect("it is made")
}

fn json(files: &Files, name: &str) -> Value {
    serde_json::from_slice(made(files, name)).expect("JSON")
}

fn floats(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().expect("a list").iter();
    numbers.map(|number| number.as_f64().expect("a number")).collect()
}

/// Equal but for the rounding of some operations of f32.
fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let off = (found - expected).abs();
        assert!(
            off <= 1e-6 * (1.0 + expected.abs()),
            "{what}: {found} is not {expected}"
        );
    }
}

fn table(shape: SampleShape, features: Features, targets: Targets) -> DeviceTable {
    let samples = Samples {
        rows: match &targets {
            Targets::Numbers(numbers) => numbers.len() as u32,
            Targets::Classes { labels, .. } => labels.len() as u32,
        },
        shape,
        features,
        // The table of numbers has named columns; others are arrays.
        inputs: matches!(targets, Targets::Numbers(_)).then(|| Inputs::of_numbers(&[FEATURE.to_owned()])),
        targets: Some(targets),
        row_keys: None,
        standardizes_target: false,
    };
    TORCH.load(&samples).expect("samples on the device")
}

fn architecture(input: SampleShape, layers: Vec<Layer>, loss: Loss) -> Architecture {
    Architecture {
        input,
        layers,
        loss,
        batch_size: 4,
        epochs: 1,
    }
}

/// A single network with these parameters: weight and bias of each layer with parameters, in PyTorch's order.
fn trained(architecture: Architecture, parameters: &[(Vec<f32>, Vec<f32>)]) -> DeviceNetworks {
    let values = parameters.iter().flat_map(|(weights, biases)| [weights, biases]);
    let named = shapes(&architecture).expect("layers that fit together").into_iter();
    let parameters = named.zip(values).map(|((name, shape), values)| Parameter {
        name,
        shape,
        values: values.clone(),
    });
    let parameters = parameters.collect();
    TORCH.network(architecture, parameters, None).expect("a network")
}

const FEATURE: &str = "in, \"put\"";
const TARGET: &str = "label\nof it";

/// 3 relu(x) + 0.5 relu(1 - 2 x) + 0.25 for training rows from 0 to 10; its weight is `first` in place of the 1.
fn regression(first: f32, inputs: Vec<Vec<f32>>) -> Fit {
    let layers = vec![
        Layer::Linear { units: 2 },
        Layer::Activation(Activation::Relu),
        Layer::Dropout,
        Layer::Linear { units: 1 },
    ];
    let architecture = architecture(SampleShape::Vector(1), layers, Loss::Mse);
    let parameters = [(vec![first, -2.0], vec![0.0, 1.0]), (vec![3.0, 0.5], vec![0.25])];
    let trained = self::trained(architecture, &parameters);
    let rows = |x: Vec<f32>, y: Vec<f32>| table(SampleShape::Vector(1), Features::Floats(x), Targets::Numbers(y));
    let subject = AnalysisInput {
        dropout: vec![0.5],
        format: Format::Csv(Columns {
            target: TARGET.to_owned(),
            ..Columns::default()
        }),
        train: rows(vec![10.0, 0.0, 2.0, 0.25], vec![7.0, -1.0, 3.0, -1.0]),
        test: Some(rows(vec![-1.5, 0.125], vec![0.5, 1.0])),
        inputs,
        held_out: None,
    };
    (trained, subject)
}

fn by_hand(x: f64) -> ([f64; 2], f64) {
    let hidden = [x.max(0.0), (1.0 - 2.0 * x).max(0.0)];
    (hidden, 3.0 * hidden[0] + 0.5 * hidden[1] + 0.25)
}

#[test]
fn a_regression_leaves_what_a_table_with_one_feature_has() {
    let files = files(&regression(1.0, Vec::new()));
    let names: Vec<&str> = files.keys().copied().collect();
    let expected = [
        "activation_profiles.json",
        "activations.json",
        "model.py",
        "network.json",
        "predictions.csv",
        "weight_histograms.json",
    ];
    assert_eq!(names, expected);
    let network = json(&files, "network.json");
    let expected = json!({
        "input": { "shape": [1], "features": [FEATURE] },
        "target": { "name": TARGET },
        "layers": [
            { "linear": { "units": 2 } },
            { "activation": { "kind": "relu" } },
            { "dropout": { "p": 0.5 } },
            { "linear": { "units": 1 } },
        ],
        "loss": "mse",
        "batch_size": 4,
        "parameters": 7,
    });
    assert_eq!(network, expected);
}

#[test]
fn profiles_are_the_neurons_over_the_widened_range() {
    let files = files(&regression(1.0, Vec::new()));
    let profiles = json(&files, "activation_profiles.json");
    assert_eq!(profiles["feature"], FEATURE);
    let x = floats(&profiles["x"]);
    let steps: Vec<f64> = (0..401).map(|step| -1.0 + 12.0 * f64::from(step) / 400.0).collect();
    assert_close(&x, &steps, "x");
    assert_eq!((x[0], x[400]), (-1.0, 11.0));

    let layers = profiles["layers"].as_array().expect("layers");
    assert_eq!((layers.len(), &layers[0]["index"]), (1, &json!(1)));
    assert_eq!(layers[0]["kind"], "relu");
    let of = |pick: fn(f64) -> f64| -> Vec<f64> { x.iter().copied().map(pick).collect() };
    let neurons = layers[0]["neurons"].as_array().expect("neurons");
    assert_eq!(neurons.len(), 2);
    assert_close(&floats(&neurons[0]), &of(|x| by_hand(x).0[0]), "the first neuron");
    assert_close(&floats(&neurons[1]), &of(|x| by_hand(x).0[1]), "the second neuron");
    assert_eq!(profiles["output"].as_array().map(Vec::len), Some(1));
    assert_close(&floats(&profiles["output"][0]), &of(|x| by_hand(x).1), "output");
}

#[test]
fn activations_are_those_of_the_study_s_inputs_or_of_chosen_rows() {
    let chosen = files(&regression(1.0, Vec::new()));
    // Of the targets 7, -1, 3, -1: the first -1 is the lowest, the second the median, 7 the highest.
    let expected = json!({
        "features": [FEATURE],
        "inputs": [[0.0], [0.25], [10.0]],
        "layers": [{ "index": 1, "kind": "relu", "values": [[0.0, 1.0], [0.25, 0.5], [10.0, 0.0]] }],
        "outputs": [[0.75], [1.25], [30.25]],
    });
    assert_eq!(json(&chosen, "activations.json"), expected);

    let given = files(&regression(1.0, vec![vec![4.0], vec![-1.0]]));
    let given = json(&given, "activations.json");
    assert_eq!(given["inputs"], json!([[4.0], [-1.0]]));
    assert_eq!(given["layers"][0]["values"], json!([[4.0, 0.0], [0.0, 3.0]]));
    assert_eq!(given["outputs"], json!([[12.25], [1.75]]));
}

#[test]
fn predictions_are_read_back() {
    let files = files(&regression(1.0, Vec::new()));
    let mut reader = csv::Reader::from_reader(made(&files, "predictions.csv"));
    let header: Vec<&str> = reader.headers().expect("a header").iter().collect();
    assert_eq!(header, ["split", "row", FEATURE, TARGET_COLUMN, "prediction"]);
    let rows: Vec<Vec<String>> = reader
        .records()
        .map(|row| row.expect("a row").iter().map(str::to_owned).collect())
        .collect();
    let expected = [
        ["train", "0", "10", "7", "30.25"],
        ["train", "1", "0", "-1", "0.75"],
        ["train", "2", "2", "3", "6.25"],
        ["train", "3", "0.25", "-1", "1.25"],
        ["test", "0", "-1.5", "0.5", "2.25"],
        ["test", "1", "0.125", "1", "1"],
    ];
    assert_eq!(rows, expected);
}

/// The column of the target is named `target` whatever the dataset calls it.
const TARGET_COLUMN: &str = "target";

#[test]
fn histograms_count_every_parameter() {
    let files = files(&regression(1.0, Vec::new()));
    let histograms = json(&files, "weight_histograms.json");
    let layers = histograms["layers"].as_array().expect("layers");
    let found: Vec<(&Value, &Value, u64, u64)> = layers
        .iter()
        .map(|layer| {
            let sum = |which: &str| floats(&layer[which]["counts"]).iter().sum::<f64>() as u64;
            (&layer["index"], &layer["kind"], sum("weight"), sum("bias"))
        })
        .collect();
    let linear = json!("linear");
    assert_eq!(found, [(&json!(0), &linear, 2, 2), (&json!(3), &linear, 2, 1)]);
    // The weights 1 and -2 of the first layer; the single bias of the last one.
    let edges = floats(&layers[0]["weight"]["edges"]);
    assert_eq!((edges.len(), edges[0], edges[50]), (51, -2.0, 1.0));
    let edges = floats(&layers[1]["bias"]["edges"]);
    assert_eq!((edges[0], edges[50]), (-0.25, 0.75));
}

#[test]
fn what_is_not_finite_is_left_out_alone() {
    // 1e38 times 10 overflows f32, so training rows overflow; the test rows are small enough.
    let files = files(&regression(1e38, vec![vec![0.25]]));
    let left_out: Vec<&str> = files
        .iter()
        .filter(|(_, content)| **content == Err(SkippedArtifact::NotFinite))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(left_out, ["activation_profiles.json", "predictions.csv"]);
    assert_eq!(files.values().filter(|content| content.is_ok()).count(), 4);
}

#[test]
fn an_interrupted_analysis_makes_nothing() {
    let control = Control::new();
    control.stop();
    let (networks, subject) = regression(1.0, Vec::new());
    let ended = analyse(&alone(&networks), &subject, &control, &mut |_| {
        panic!("nothing is made")
    });
    assert_eq!(ended, Err(SkippedArtifact::Interrupted));
}

/// Two classes, separated by the sign of the only feature, and names that CSV has to quote.
#[test]
fn a_table_with_classes_leaves_its_confusion_matrix() {
    let names = ["no, \"none\"", "yes"].map(str::to_owned).to_vec();
    let layers = vec![Layer::Linear { units: 2 }];
    let architecture = architecture(SampleShape::Vector(1), layers, Loss::CrossEntropy);
    let trained = self::trained(architecture, &[(vec![0.0, 1.0], vec![0.0, 0.0])]);
    let rows = |x: Vec<f32>, labels: Vec<u32>| {
        let names = names.clone();
        table(
            SampleShape::Vector(1),
            Features::Floats(x),
            Targets::Classes { labels, names },
        )
    };
    let subject = AnalysisInput {
        dropout: Vec::new(),
        format: Format::Npy(ArrayRules::default()),
        train: rows(vec![1.0], vec![1]),
        test: Some(rows(vec![-1.0, 2.0, 3.0, 0.0, 4.0], vec![0, 0, 1, 1, 1])),
        inputs: Vec::new(),
        held_out: None,
    };
    let files = files(&(trained, subject));
    let confusion = json(&files, "confusion_matrix.json");
    let shares = [0.5, 2.0 / 3.0];
    let expected = json!({
        "classes": names,
        "counts": [[1, 1], [1, 2]],
        "precision": shares,
        "recall": shares,
        "f1": shares,
        "support": [2, 3],
    });
    assert_eq!(confusion, expected);
    assert_eq!(
        json(&files, "network.json")["input"],
        json!({ "shape": [1], "features": ["x0"] })
    );
    assert_eq!(json(&files, "network.json")["target"], json!({ "classes": names }));

    let mut reader = csv::Reader::from_reader(made(&files, "predictions.csv"));
    let rows: Vec<(String, u32, f32, String, String, f64)> =
        reader.deserialize().collect::<Result<_, _>>().expect("rows");
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let expected = [
        ("train", 0, 1.0, 1, 1, sigmoid(1.0)),
        ("test", 0, -1.0, 0, 0, sigmoid(1.0)),
        ("test", 1, 2.0, 0, 1, sigmoid(2.0)),
        ("test", 2, 3.0, 1, 1, sigmoid(3.0)),
        ("test", 3, 0.0, 1, 0, 0.5),
        ("test", 4, 4.0, 1, 1, sigmoid(4.0)),
    ];
    assert_eq!(rows.len(), expected.len());
    for (found, expected) in rows.iter().zip(expected) {
        let (split, row, x, target, prediction, probability) = expected;
        assert_eq!((found.0.as_str(), found.1, found.2), (split, row, x));
        assert_eq!((&found.3, &found.4), (&names[target], &names[prediction]));
        assert_close(&[found.5], &[probability], "probability");
    }
}

fn alone<N: trawl_engine::Networks>(network: &N) -> trawl_engine::ensemble::Ensemble<'_, N> {
    trawl_engine::ensemble::Ensemble::new(vec![network]).expect("a network")
}
