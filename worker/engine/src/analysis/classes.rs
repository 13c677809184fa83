//! `confusion_matrix.json`: how often which class was taken for which.

use serde::Serialize;

use super::answers::ClassAnswer;
use super::{Analysis, LeftOut, to_json};
use crate::Networks;

#[derive(Serialize)]
struct ConfusionMatrix<'a> {
    classes: &'a [String],
    counts: Vec<Vec<u64>>,
}

pub(super) fn confusion_matrix(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, LeftOut> {
    let Some(test) = analysis.labelled_test()? else {
        return Ok(None);
    };
    let counts = count(&test.labels, test.answers, test.names.len());
    let classes = &test.names;
    to_json(&ConfusionMatrix { classes, counts }).map(Some)
}

/// `[t][p]`: rows of class t that were taken for class p.
pub(super) fn count(labels: &[u32], answers: &[ClassAnswer], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (label, answer) in labels.iter().zip(answers) {
        counts[*label as usize][answer.class as usize] += 1;
    }
    counts
}
