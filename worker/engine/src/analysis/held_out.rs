//! `fold-F.csv`: predictions of a trial's fold for the rows held out of its training.

use trawl_dataset::{Format, TargetKind};
use trawl_domain::fold::Split;
use trawl_domain::limits::ARTIFACT_BYTES_MAX;
use trawl_domain::seed::Seed;

use super::answers::ClassAnswer;
use super::{SkippedArtifact, check_finite, predictions};
use crate::ensemble::probabilities;
use crate::{Control, Networks, Table};

/// The rows of a job that trained and validated.
#[derive(Clone, Debug)]
pub struct HeldOut<T> {
    /// The rows.
    pub data: T,
    /// The format of the dataset's files, with the names of targets.
    pub format: Format,
    /// Their split.
    pub split: Split,
    /// Seed of the study, which determines the split.
    pub seed: Seed,
}

impl<T: Table> HeldOut<T> {
    /// Predictions of a member, trained on this fold, for the rows that validated it: `row`, target, prediction and,
    /// unless targets are numbers, `probability`, each with its target's name where there are several; for classes,
    /// also `p.CLASS` of each. Rows ascend; they count from 0 as they were read.
    ///
    /// # Errors
    /// The network gives no answers, or they make no file; or it was stopped.
    pub fn predictions<N: Networks<Table = T>>(
        &self,
        networks: &N,
        member: usize,
        fold: u32,
        control: &Control,
    ) -> Result<Vec<u8>, SkippedArtifact> {
        let rows = self.data.held_out(self.split, self.seed, fold)?;
        let classes = self.data.classes();
        let outputs = networks.architecture().output();
        let outputs = outputs.map_or(0, trawl_dataset::SampleShape::len) as usize;
        let names = predictions::targets(&self.format, classes.is_some(), outputs);
        let targets = self.data.targets()?;
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header = vec!["row".to_owned()];
        let kind = networks.architecture().loss.target_kind();
        header.extend(predictions::columns(&names, kind));
        if let Some(classes) = classes {
            header.extend(classes.iter().map(|class| format!("p.{class}")));
        }
        writer.write_record(header).map_err(predictions::broken)?;
        for rows in rows.chunks(networks.rows_at_once().max(1) as usize) {
            if control.must_end() {
                return Err(SkippedArtifact::Interrupted);
            }
            let answers = networks.outputs(member, &self.data, rows)?;
            check_finite(&answers)?;
            for (row, outputs) in rows.iter().zip(answers.chunks_exact(outputs.max(1))) {
                let mut record = vec![row.to_string()];
                record.extend(predictions::target_cells(
                    targets.as_ref(),
                    outputs.len(),
                    classes,
                    *row as usize,
                ));
                record.extend(answer_cells(kind, classes, outputs));
                writer.write_record(record).map_err(predictions::broken)?;
            }
            if writer.get_ref().len() as u64 > ARTIFACT_BYTES_MAX {
                return Err(SkippedArtifact::TooLarge);
            }
        }
        let file = predictions::end(writer)?;
        if file.len() as u64 > ARTIFACT_BYTES_MAX {
            return Err(SkippedArtifact::TooLarge);
        }
        Ok(file)
    }
}

/// The answers for one row.
fn answer_cells(kind: TargetKind, classes: Option<&[String]>, outputs: &[f32]) -> Vec<String> {
    let Some(classes) = classes else {
        return match kind {
            TargetKind::Binary => predictions::yes_or_no(&probabilities(outputs)),
            TargetKind::Number | TargetKind::Class => outputs.iter().map(f32::to_string).collect(),
        };
    };
    let answer = ClassAnswer::of(outputs, 1.0);
    let class = classes[answer.class as usize].clone();
    let each = answer.probabilities(outputs, 1.0);
    let each = each.map(|probability| probability.to_string());
    [class, answer.probability.to_string()]
        .into_iter()
        .chain(each)
        .collect()
}
