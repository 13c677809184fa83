//! Trains the networks of `tests/models` a little, and writes each into a subfolder of the given folder: `weights.safetensors`
//! and `model.py` as a refit leaves them, and `rows.json`. `tests/models/run_models.py` has PyTorch answer for the rows.

#[path = "../tests/models/networks.rs"]
mod networks;

use std::fs;
use std::path::PathBuf;

use tch::Device;
use trawl_dataset::{Columns, Format};
use trawl_domain::artifact::ArtifactKind;
use trawl_engine::analysis::{AnalysisInput, analyse};
use trawl_engine::{Control, Engine as _, Networks as _, Outcome};
use trawl_engine_torch::Torch;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    for (name, job) in networks::jobs() {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let trained = Torch::new(Device::Cpu).fit(&job, &[], &mut |_| {}, &Control::new());
        let Ok(Outcome::Finished(trained)) = trained else {
            panic!("it trains")
        };
        let weights = trained.networks.weights(0).expect("weights");
        fs::write(folder.join("weights.safetensors"), weights).expect("written");
        let subject = AnalysisInput {
            dropout: job.members[0].hyperparameters.dropout.clone(),
            format: Format::Csv(Columns::default()),
            train: job.data,
            test: None,
            inputs: Vec::new(),
            held_out: None,
        };
        let write = &mut |artifact: trawl_engine::analysis::Artifact| {
            if artifact.kind == ArtifactKind::Model {
                fs::write(folder.join("model.py"), artifact.content.expect("it is made")).expect("written");
            }
            true
        };
        analyse(&alone(&trained.networks), &subject, &Control::new(), write).expect("files");
        let rows = networks::rows(job.architecture.input);
        fs::write(folder.join("rows.json"), serde_json::to_vec(&rows).expect("JSON")).expect("written");
    }
}

fn alone<N: trawl_engine::Networks>(network: &N) -> trawl_engine::ensemble::Ensemble<'_, N> {
    trawl_engine::ensemble::Ensemble::new(vec![network]).expect("a network")
}
