//! The model's answer for every row of a table.

use trawl_dataset::TargetKind;

use super::{SkippedArtifact, check_finite};
use crate::ensemble::{Ensemble, probabilities};
use crate::{Control, Networks, Table};

/// One answer a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answers {
    /// Numbers: rows × targets, row by row.
    Numbers(Vec<f32>),
    /// Classes.
    Classes(Vec<ClassAnswer>),
    /// Probabilities of yes: rows × targets, row by row.
    Binary(Vec<f32>),
}

/// A predicted class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClassAnswer {
    /// Its index.
    pub(crate) class: u32,
    /// By softmax over the outputs, each divided by the temperature.
    pub(crate) probability: f32,
}

impl Answers {
    /// Computes all rows in the pieces in which the test rows were measured, so that the answers are those that were counted.
    pub(super) fn of<N: Networks>(
        ensemble: &Ensemble<'_, N>,
        table: &N::Table,
        temperature: f64,
        control: &Control,
    ) -> Result<Self, SkippedArtifact> {
        let networks = ensemble.first();
        let mut answers = match networks.architecture().loss.target_kind() {
            TargetKind::Number => Self::Numbers(Vec::new()),
            TargetKind::Class => Self::Classes(Vec::new()),
            TargetKind::Binary => Self::Binary(Vec::new()),
        };
        let rows = table.rows();
        for start in (0..rows).step_by(networks.rows_at_once() as usize) {
            if control.must_end() {
                return Err(SkippedArtifact::Interrupted);
            }
            let end = start.saturating_add(networks.rows_at_once()).min(rows);
            let piece: Vec<u32> = (start..end).collect();
            let outputs = ensemble.outputs(table, &piece)?;
            check_finite(&outputs)?;
            let width = outputs.len() / (end - start) as usize;
            let each = outputs.chunks_exact(width.max(1));
            match &mut answers {
                Self::Numbers(numbers) => numbers.extend_from_slice(&outputs),
                Self::Binary(yes) => yes.extend(probabilities(&outputs)),
                Self::Classes(classes) => classes.extend(each.map(|outputs| ClassAnswer::of(outputs, temperature))),
            }
        }
        Ok(answers)
    }

    /// The predicted classes; `None` for other targets.
    pub(super) fn classes(&self) -> Option<&[ClassAnswer]> {
        match self {
            Self::Numbers(_) | Self::Binary(_) => None,
            Self::Classes(classes) => Some(classes),
        }
    }
}

impl ClassAnswer {
    /// The class with the highest output, the first among equals.
    pub(crate) fn of(outputs: &[f32], temperature: f64) -> Self {
        let mut class = 0;
        for (index, output) in outputs.iter().enumerate() {
            if *output > outputs[class] {
                class = index;
            }
        }
        Self {
            class: class as u32,
            probability: (1.0 / sum_of_weights(outputs, outputs[class], temperature)) as f32,
        }
    }

    /// The probabilities of all classes by the same temperature; that of the predicted one is [`Self::probability`].
    pub(crate) fn probabilities(self, outputs: &[f32], temperature: f64) -> impl Iterator<Item = f32> {
        let highest = outputs[self.class as usize];
        let sum = sum_of_weights(outputs, highest, temperature);
        outputs
            .iter()
            .map(move |output| (weight(*output, highest, temperature) / sum) as f32)
    }
}

/// The softmax weight of an output: an exponential relative to the highest output, so that none overflows.
fn weight(output: f32, highest: f32, temperature: f64) -> f64 {
    ((f64::from(output) - f64::from(highest)) / temperature).exp()
}

fn sum_of_weights(outputs: &[f32], highest: f32, temperature: f64) -> f64 {
    outputs.iter().map(|output| weight(*output, highest, temperature)).sum()
}
