//! `confusion_matrix.json`: counts of true and predicted classes, and metrics of each class.

use serde::Serialize;

use super::answers::ClassAnswer;
use super::{Analysis, SkippedArtifact, to_json};
use crate::Networks;
use crate::class_count::ClassCount;

/// Lists have an element for each class.
#[derive(Serialize)]
struct ConfusionMatrix<'a> {
    classes: &'a [String],
    counts: Vec<Vec<u64>>,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
}

pub(super) fn confusion_matrix(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let Some(test) = analysis.labelled_test()? else {
        return Ok(None);
    };
    let counts = count(&test.labels, test.answers, test.names.len());
    let by_class = by_class(&counts);
    let of_each = |of: fn(ClassCount) -> f64| by_class.iter().copied().map(of).collect();
    let matrix = ConfusionMatrix {
        classes: &test.names,
        precision: of_each(ClassCount::precision),
        recall: of_each(ClassCount::recall),
        f1: of_each(ClassCount::f1),
        support: by_class.iter().map(|class| class.rows).collect(),
        counts,
    };
    to_json(&matrix).map(Some)
}

/// The counts of each class.
pub(super) fn by_class(counts: &[Vec<u64>]) -> Vec<ClassCount> {
    let class = |class: usize| ClassCount {
        right: counts[class][class],
        rows: counts[class].iter().sum(),
        predicted: counts.iter().map(|of_class| of_class[class]).sum(),
    };
    (0..counts.len()).map(class).collect()
}

/// `[t][p]`: rows of class t that were predicted as class p.
pub(super) fn count(labels: &[u32], answers: &[ClassAnswer], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (label, answer) in labels.iter().zip(answers) {
        counts[*label as usize][answer.class as usize] += 1;
    }
    counts
}
