//! `model.py` and PyTorch: PyTorch loaded these weights with it, strictly, and gave the engine's answers.
//! `run_models.py` renews the data.

mod networks;

use std::path::Path;

use serde_json::Value;
use tch::Device;
use trawl_dataset::{Columns, Features, FittedTable, Format};
use trawl_domain::artifact::ArtifactKind;
use trawl_engine::analysis::{AnalysisInput, Artifact, analyse};
use trawl_engine::weights::from_safetensors;
use trawl_engine::{Control, Engine as _, Networks as _, Table as _};
use trawl_engine_torch::Torch;

/// The f32 difference between two orders of the same sums.
const TOLERANCE: f32 = 1e-5;

#[test]
fn models_in_python_answer_as_the_engine() {
    for (name, job) in networks::jobs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/models")
            .join(name);
        let read = |file: &str| std::fs::read(folder.join(file)).expect(file);
        let weights = read("weights.safetensors");
        let parameters = from_safetensors(&job.architecture, &weights).expect("the network's weights");
        // Enough for an embedding.
        let fitted = job.data.known().inputs.map(|inputs| FittedTable {
            words: inputs.words(),
            ..FittedTable::default()
        });
        let network = Torch::new(Device::Cpu).network(job.architecture.clone(), parameters, fitted.as_ref());
        let network = network.expect("a network");
        assert!(
            network.weights(0).expect("weights") == weights,
            "{name}: weights are written as they were read"
        );

        let dropout = job.members[0].hyperparameters.dropout.clone();
        let subject = AnalysisInput {
            dropout,
            format: Format::Csv(Columns::default()),
            train: job.data,
            test: None,
            inputs: Vec::new(),
            held_out: None,
        };
        let mut model = None;
        let mut emit = |artifact: Artifact| {
            if artifact.kind == ArtifactKind::Model {
                model = Some(artifact.content.expect("it is made"));
            }
            true
        };
        analyse(&alone(&network), &subject, &Control::new(), &mut emit).expect("files");
        assert!(
            model == Some(read("model.py")),
            "{name}: PyTorch was run with another model.py"
        );

        let rows = networks::rows(job.architecture.input);
        let last = trawl_domain::layer::last(&job.architecture.layers);
        let found = network
            .layer_outputs(0, &Features::Floats(rows), &[last])
            .expect("outputs");
        let outputs: Value = serde_json::from_slice(&read("outputs.json")).expect("JSON");
        let expected: Vec<f32> = serde_json::from_value(outputs["outputs"].clone()).expect("numbers");
        assert_eq!(found[0].values.len(), expected.len());
        for (found, expected) in found[0].values.iter().zip(&expected) {
            let off = (found - expected).abs();
            assert!(
                off <= TOLERANCE * (1.0 + expected.abs()),
                "{name}: {found} is not {expected}"
            );
        }
    }
}

fn alone<N: trawl_engine::Networks>(network: &N) -> trawl_engine::ensemble::Ensemble<'_, N> {
    trawl_engine::ensemble::Ensemble::new(vec![network]).expect("a network")
}
