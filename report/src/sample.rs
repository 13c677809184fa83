//! A study that never ran, with every kind of artifact, for tests and for eyes.

use std::collections::HashMap;
use std::f64::consts::PI;
use std::fmt::Write as _;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Timestamp, Value};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use trawl_proto::v1;
use trawl_proto::v1::distribution::Kind as Distribution;

use super::data::{ArtifactFile, RefitData, StudyData, TrialCurves};

const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// A completed study of 200 trials with a refit for each kind of dataset, one that failed and one that runs.
pub(super) fn study() -> StudyData {
    let trials: Vec<v1::Trial> = (0..200).map(trial).collect();
    let mut ranking: Vec<v1::Trial> = trials.iter().filter(|trial| trial.value.is_some()).cloned().collect();
    ranking.sort_by(|a, b| a.value.unwrap().total_cmp(&b.value.unwrap()));
    ranking.truncate(25);
    let curves = ranking.iter().take(10).map(|trial| TrialCurves {
        trial: trial.clone(),
        reports: reports(60, trial.value.unwrap(), u64::from(trial.trial), false),
    });
    let mut refits = vec![
        refit(0, "completed", regression_files()),
        refit(1, "completed", table_files()),
        refit(2, "completed", image_files()),
        refit(3, "failed", Vec::new()),
        refit(4, "running", Vec::new()),
    ];
    refits[3].summary.error = "diverged".into();
    StudyData {
        summary: v1::StudySummary {
            study_id: "57362ccc-9322-400a-af31-e9b73fb49a14".into(),
            name: "sample".into(),
            state: "completed".into(),
            goal: "minimize".into(),
            trials_total: 200,
            trials_completed: ranking.len() as u32,
            created_at: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            finished_at: Some(Timestamp {
                seconds: 1_700_000_754,
                nanos: 0,
            }),
            winner: Some(v1::Winner {
                trial: 3,
                value: 0.1,
                corrected_value: Some(0.12),
                corrected_low: Some(0.1),
                corrected_high: Some(0.14),
                contenders: 64,
                p_better: Some(0.6),
                not_separable_from: vec![7, 12],
                ..Default::default()
            }),
            importance: [("learning_rate", 0.8), ("activation", 0.2)]
                .map(|(parameter, importance)| v1::ParameterImportance {
                    parameter: parameter.into(),
                    importance,
                    trials: 200,
                    rung: None,
                })
                .into(),
            refits: refits.iter().map(|refit| refit.summary.clone()).collect(),
            ..Default::default()
        },
        spec: spec(),
        data: Some(data()),
        curves: curves.collect(),
        trials,
        are_trials_cut: false,
        ranking,
        refits,
    }
}

/// From 0 to 1, scattered, and the same every time.
pub(super) fn noise(seed: u64, index: u64) -> f64 {
    let mixed = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_add(1).wrapping_mul(0xd1b5_4a32_d192_ed03))
        .wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

pub(super) fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.into())),
    }
}

pub(super) fn number(number: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(number)),
    }
}

fn data() -> v1::DataSummary {
    let file = |part: &str, digit: &str| v1::DataFile {
        field: format!("dataset.csv.{part}"),
        name: format!("data/{part}.csv"),
        sha256: digit.repeat(64),
    };
    v1::DataSummary {
        files: vec![file("train", "a"), file("test", "b")],
        train_rows: 100,
        input: vec![1],
    }
}

fn spec() -> v1::Study {
    let distribution = |kind| v1::Distribution {
        kind: Some(kind),
        ..Default::default()
    };
    let range = |low, high| v1::FloatRange {
        low: Some(low),
        high: Some(high),
        step: None,
    };
    let log_range = |low, high| v1::FloatLogRange {
        low: Some(low),
        high: Some(high),
    };
    let choice = ListValue {
        values: ["relu", "leaky_relu", "sigmoid", "tanh"].map(text).into(),
    };
    let layer = |kind| v1::Layer { kind: Some(kind) };
    let linear = |units| {
        layer(v1::layer::Kind::Linear(v1::LinearLayer {
            units: Some(number(units)),
        }))
    };
    let activation = layer(v1::layer::Kind::Activation(v1::ActivationLayer {
        kind: Some(text("$activation")),
    }));
    v1::Study {
        name: "sample".into(),
        seed: 7,
        dataset: Some(v1::Dataset {
            kind: Some(v1::dataset::Kind::Csv(v1::CsvDataset {
                train: format!("sha256:{}", "a".repeat(64)),
                test: format!("sha256:{}", "b".repeat(64)),
                ..Default::default()
            })),
            ..Default::default()
        }),
        model: vec![linear(10.0), activation, linear(1.0)],
        space: [
            ("activation".to_owned(), distribution(Distribution::Choice(choice))),
            (
                "dropout".to_owned(),
                distribution(Distribution::Uniform(range(0.0, 0.5))),
            ),
            (
                "l2".to_owned(),
                distribution(Distribution::LogUniform(log_range(1e-6, 1e-1))),
            ),
            (
                "learning_rate".to_owned(),
                distribution(Distribution::LogUniform(log_range(1e-4, 1e-1))),
            ),
            (
                "units".to_owned(),
                distribution(Distribution::IntUniform(v1::IntRange {
                    low: Some(4),
                    high: Some(64),
                    step: None,
                })),
            ),
        ]
        .into(),
        max_trials: 200,
        ..Default::default()
    }
}

fn trial(number_of: u32) -> v1::Trial {
    let at = |index| noise(u64::from(number_of), index);
    let learning_rate = 10_f64.powf(-4.0 + 3.0 * at(0));
    let activation = ["relu", "leaky_relu", "sigmoid", "tanh"][(at(1) * 4.0) as usize];
    let value =
        0.2 + (learning_rate.log10() + 2.0).powi(2) * (0.5 + at(2)) + if activation == "sigmoid" { 1.5 } else { 0.0 };
    let is_diverged = at(3) < 0.04;
    v1::Trial {
        trial: number_of,
        state: if is_diverged { "failed" } else { "completed" }.into(),
        error: if is_diverged { "diverged" } else { "" }.into(),
        // One value out of reach has the axis be logarithmic.
        value: (!is_diverged).then_some(if number_of == 17 { 90.0 } else { value }),
        value_std: Some(value * 0.2 * at(7)),
        params: Some(Struct {
            fields: [
                ("activation".to_owned(), text(activation)),
                ("dropout".to_owned(), number(at(4) / 2.0)),
                ("l2".to_owned(), number(10_f64.powf(-6.0 + 5.0 * at(5)))),
                ("learning_rate".to_owned(), number(learning_rate)),
                ("units".to_owned(), number((4.0 + at(6) * 60.0).floor())),
            ]
            .into(),
        }),
        ..Default::default()
    }
}

fn reports(epochs: u32, end: f64, seed: u64, is_refit: bool) -> Vec<v1::EpochReport> {
    let mut reports = Vec::new();
    for fold in (0..5).map(Some).chain(is_refit.then_some(None)) {
        for epoch in 0..epochs {
            let wobble = noise(seed + u64::from(fold.unwrap_or(9)), u64::from(epoch));
            let loss = end + 3.0 * (-f64::from(epoch) / 9.0).exp() + 0.1 * wobble;
            reports.push(v1::EpochReport {
                fold,
                epoch,
                train_loss: loss * 0.8,
                val_loss: fold.map(|fold| loss * (1.0 + 0.1 * f64::from(fold))),
                ..Default::default()
            });
        }
    }
    reports
}

fn refit(number: u32, state: &str, files: Vec<ArtifactFile>) -> RefitData {
    RefitData {
        summary: v1::RefitSummary {
            refit: number,
            trial: 16,
            state: state.into(),
            epochs: 80,
            test_loss: (state == "completed").then_some(0.27),
            ..Default::default()
        },
        reports: if state == "completed" {
            reports(80, 0.2, 1000 + u64::from(number), true)
        } else {
            Vec::new()
        },
        files,
        left_out: Vec::new(),
    }
}

pub(super) fn file(kind: &str, name: &str, bytes: impl Into<Vec<u8>>) -> ArtifactFile {
    ArtifactFile {
        kind: kind.into(),
        name: name.into(),
        bytes: bytes.into(),
    }
}

fn regression_files() -> Vec<ArtifactFile> {
    let curve = |x: f64| (x * 1.2).sin() * 1.5 + x * 0.3;
    let x: Vec<f64> = (0..401).map(|step| -6.0 + 12.0 * f64::from(step) / 400.0).collect();
    let neuron = |layer: u64, neuron: u64, x: f64| {
        (noise(layer, neuron) * 4.0 - 2.0)
            .mul_add(x, noise(layer + 10, neuron) * 6.0 - 3.0)
            .tanh()
    };
    let sizes = [(1_u64, 10_u64), (3, 15), (5, 10)];
    let profiles: Vec<_> = sizes
        .iter()
        .map(|&(index, neurons)| {
            let lists: Vec<Vec<f64>> = (0..neurons)
                .map(|n| x.iter().map(|x| neuron(index, n, *x)).collect())
                .collect();
            json!({ "index": index, "kind": "tanh", "neurons": lists })
        })
        .collect();
    let strengths: Vec<_> = sizes
        .iter()
        .map(|&(index, neurons)| {
            let values: Vec<Vec<f64>> = [4.05, 0.0, -3.0]
                .iter()
                .map(|x| (0..neurons).map(|n| neuron(index, n, *x)).collect())
                .collect();
            json!({ "index": index, "kind": "tanh", "values": values })
        })
        .collect();
    let output: Vec<f64> = x.iter().map(|x| curve(*x)).collect();
    let mut predictions = String::from("split,row,input,target,prediction\n");
    for (split, seed) in [("train", 1), ("test", 2)] {
        for row in 0..100 {
            let x = noise(seed, row) * 10.0 - 5.0;
            let target = curve(x) + (noise(seed + 5, row) - 0.5) * 1.2;
            let _ = writeln!(predictions, "{split},{row},{x},{target},{}", curve(x));
        }
    }
    let histogram = |seed: u64, count: u64| {
        let edges: Vec<f64> = (0..=50).map(|edge| -1.0 + 2.0 * f64::from(edge) / 50.0).collect();
        let weight =
            |bin: f64| (count as f64 / 8.0 * (-(bin - 25.0).powi(2) / 90.0).exp() + noise(seed, bin as u64)).round();
        json!({ "edges": edges, "counts": (0..50).map(|bin| weight(f64::from(bin)) as u64).collect::<Vec<_>>() })
    };
    let layers: Vec<_> = [(0_u64, 10_u64), (2, 150), (4, 150), (6, 10)]
        .iter()
        .map(|(index, weights)| {
            json!({ "index": index, "kind": "linear", "weight": histogram(*index, *weights), "bias": histogram(*index + 50, 12) })
        })
        .collect();
    vec![
        file("weights", "weights.safetensors", "not drawn"),
        file("predictions", "predictions.csv", predictions),
        file(
            "activation_profiles",
            "activation_profiles.json",
            json!({ "feature": "input", "x": x, "layers": profiles, "output": [output] }).to_string(),
        ),
        file(
            "activations",
            "activations.json",
            json!({ "features": ["input"], "inputs": [[4.05], [0.0], [-3.0]], "layers": strengths, "outputs": [[0.4], [0.0], [-1.2]] })
                .to_string(),
        ),
        file("weight_histograms", "weight_histograms.json", json!({ "layers": layers }).to_string()),
    ]
}

fn table_files() -> Vec<ArtifactFile> {
    let mut predictions = String::from("split,row,rooms,age,target,prediction\n");
    for row in 0..300 {
        let target = noise(3, row) * 40.0 + 5.0;
        let prediction = target + (noise(4, row) - 0.5) * 10.0;
        let split = if row % 3 == 0 { "test" } else { "train" };
        let _ = writeln!(
            predictions,
            "{split},{row},{},{},{target},{prediction}",
            noise(5, row),
            noise(6, row)
        );
    }
    vec![file("predictions", "predictions.csv", predictions)]
}

fn image_files() -> Vec<ArtifactFile> {
    let counts: Vec<Vec<u64>> = (0..10_u64)
        .map(|t| {
            (0..10_u64)
                .map(|p| {
                    if t == p {
                        820 + t * 9
                    } else {
                        (noise(t, p) * 30.0) as u64
                    }
                })
                .collect()
        })
        .collect();
    let mut predictions = String::from("split,row,target,prediction,probability\n");
    for row in 0..50 {
        let _ = writeln!(predictions, "test,{row},Bag,Coat,0.5");
    }
    let labels: Vec<i64> = (0..10).collect();
    let wrong: Vec<i64> = labels.iter().map(|label| (label + 3) % 10).collect();
    let filters: Vec<f32> = (0..32 * 9).map(|index| (noise(8, index) - 0.5) as f32).collect();
    let maps: Vec<f32> = (0..10 * 32 * 26 * 26_u64)
        .map(|index| {
            let (filter, y, x) = (index / 676 % 32, index / 26 % 26, index % 26);
            ((x as f64 / 4.0 + filter as f64 / 3.0).sin()
                * (y as f64 / 5.0 + filter as f64 / 7.0).cos()
                * (0.3 + noise(9, filter))) as f32
        })
        .collect();
    let feature_maps = safetensors(
        &[
            ("rows", vec![10], bytes(&labels, i64::to_le_bytes)),
            ("labels", vec![10], bytes(&labels, i64::to_le_bytes)),
            ("predictions", vec![10], bytes(&labels, i64::to_le_bytes)),
            ("images", vec![10, 1, 28, 28], images(10)),
            ("filters", vec![32, 1, 3, 3], bytes(&filters, f32::to_le_bytes)),
            ("maps", vec![10, 32, 26, 26], bytes(&maps, f32::to_le_bytes)),
        ],
        &[("classes", json!(CLASSES).to_string()), ("layer", "0".into())],
    );
    let misclassified = safetensors(
        &[
            ("rows", vec![10], bytes(&labels, i64::to_le_bytes)),
            ("labels", vec![10], bytes(&labels, i64::to_le_bytes)),
            ("predictions", vec![10], bytes(&wrong, i64::to_le_bytes)),
            ("images", vec![10, 1, 28, 28], images(10)),
            ("probabilities", vec![10], bytes(&[0.75; 10], f32::to_le_bytes)),
        ],
        &[("classes", json!(CLASSES).to_string())],
    );
    vec![
        file("predictions", "predictions.csv", predictions),
        file(
            "confusion_matrix",
            "confusion_matrix.json",
            json!({ "classes": CLASSES, "counts": counts }).to_string(),
        ),
        file("feature_maps", "feature_maps.safetensors", feature_maps),
        file("misclassified", "misclassified.safetensors", misclassified),
    ]
}

/// Rings of 28 x 28, a little different each.
fn images(count: u64) -> Vec<u8> {
    let pixel = |index: u64| {
        let (image, y, x) = (index / 784, (index / 28 % 28) as f64 - 13.5, (index % 28) as f64 - 13.5);
        let radius = x.hypot(y * (1.0 + image as f64 / 12.0));
        ((radius / 3.0 * PI / 2.0 + image as f64).sin().abs() * if radius < 12.0 { 255.0 } else { 0.0 }) as u8
    };
    (0..count * 784).map(pixel).collect()
}

pub(super) fn bytes<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

/// A safetensors file; `images` are U8, what is counted or named by a row I64, and the rest F32.
pub(super) fn safetensors(tensors: &[(&str, Vec<usize>, Vec<u8>)], metadata: &[(&str, String)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, shape, data)| {
        let dtype = match *name {
            "images" => Dtype::U8,
            "rows" | "labels" | "predictions" => Dtype::I64,
            _ => Dtype::F32,
        };
        (*name, TensorView::new(dtype, shape.clone(), data).unwrap())
    });
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    safetensors::serialize(views, Some(metadata)).unwrap()
}
