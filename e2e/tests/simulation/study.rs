//! The studies that are simulated.

use anyhow::Context;
use serde_json::json;
use trawl_dataset::{DatasetShape, FileHash, Part, SampleShape, TargetShape};
use trawl_domain::study::Study;
use trawl_e2e::{repository, studies};
use trawl_proto::v1;

/// Rows of the example's training part.
const TRAIN_ROWS: u32 = 100;

/// A study on the wire, and checked.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedStudy {
    pub(crate) wire: v1::Study,
    pub(crate) study: Study,
    /// Its file of training rows.
    pub(crate) file: Vec<u8>,
}

impl SimulatedStudy {
    /// A study of so many trials of two folds, without a refit. Trials of one batch size share jobs: the more sizes, the more
    /// jobs.
    /// `raced` is the size of a generation, if trials are raced.
    pub(crate) fn new(
        seed: u64,
        trials: u32,
        epochs: u32,
        batch_sizes: u32,
        raced: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut json = studies::with_whole_paths(studies::small("simulated", trials, epochs)?);
        json["seed"] = json!(seed);
        json["validation"] = json!({ "k_fold": 2 });
        json["space"]["activation"] = json!({ "choice": ["relu"] });
        json["space"]["batch_size"] = json!({ "int_uniform": { "low": 2, "high": 1 + batch_sizes } });
        json["racing"] = match raced {
            Some(generation) => {
                json["sampler"] = json!({ "random": {}, "generation": generation });
                json!({ "keep": 0.5 })
            }
            None => json!("none"),
        };
        json.as_object_mut().context("a study is an object")?.remove("refit");
        let wire = studies::from_json(&json)?;
        let shape = DatasetShape {
            train_rows: TRAIN_ROWS,
            sample: SampleShape::Vector(1),
            target: TargetShape::Numbers(1),
        };
        let study = trawl_proto::study::check(&wire, Some(Ok(shape.into())))?;
        let file = std::fs::read(repository().join("examples/data/train.csv"))?;
        Ok(Self { wire, study, file })
    }

    /// What workers ask for.
    pub(crate) fn train(&self) -> Part<FileHash> {
        Part {
            features: FileHash::of(&self.file),
            targets: None,
        }
    }
}
