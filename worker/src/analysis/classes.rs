//! `confusion_matrix.json`: how often which class was taken for which.

use serde::Serialize;
use trawl_domain::dataset::Targets;

use super::answers::ClassAnswer;
use super::{Analysis, LeftOut, to_json};

#[derive(Serialize)]
struct ConfusionMatrix<'a> {
    classes: &'a [String],
    counts: Vec<Vec<u64>>,
}

pub(super) fn confusion_matrix(analysis: &Analysis<'_>) -> Result<Option<Vec<u8>>, LeftOut> {
    let targets = analysis.subject.test.targets()?;
    let (Targets::Classes { labels, names }, Some(answers)) = (&targets, analysis.answers.classes()) else {
        return Ok(None);
    };
    let counts = count(labels, answers, names.len());
    to_json(&ConfusionMatrix { classes: names, counts }).map(Some)
}

/// `[t][p]`: rows of class t that were taken for class p.
pub(super) fn count(labels: &[u32], answers: &[ClassAnswer], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (label, answer) in labels.iter().zip(answers) {
        counts[*label as usize][answer.class as usize] += 1;
    }
    counts
}
