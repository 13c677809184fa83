//! Metrics that go by the order of the rows' scores: of each class against the rest, so that all scores of a fold have to be there.
//!
//! A *column* has the scores of one class by one network. So many columns are in memory at once as there is room for, and the rows are
//! shown as often as that takes.

use std::ops::Range;

use tch::Tensor;

use super::{counts, doubles};

/// Scores that are in memory at once: 64 MiB. A single column may have more, 8 bytes for each row.
const SCORES_MAX: usize = 1 << 23;

/// Columns, and what came of those that are complete.
pub(super) struct Ranking {
    members: usize,
    classes: usize,
    /// The classes that have a column: the second one of two, or all.
    ranked: Range<usize>,
    columns_at_once: usize,
    /// The columns of this pass over the rows, network by network.
    pass: Range<usize>,
    /// Their scores.
    scores: Vec<Vec<u64>>,
    auc: Vec<f64>,
    average_precision: Vec<f64>,
}

impl Ranking {
    /// Before the first of so many rows, each of one class.
    pub(super) fn new(members: usize, classes: usize, rows: usize) -> Self {
        Self::within(SCORES_MAX, members, classes, rows)
    }

    /// The same of rows that may be of several classes, or none.
    pub(super) fn of_each(members: usize, classes: usize, rows: usize) -> Self {
        Self::of(0..classes, SCORES_MAX, members, classes, rows)
    }

    /// As [`Self::new`], with so many scores in memory, or one column.
    pub(super) fn within(scores_max: usize, members: usize, classes: usize, rows: usize) -> Self {
        let ranked = if classes == 2 { 1..2 } else { 0..classes };
        Self::of(ranked, scores_max, members, classes, rows)
    }

    fn of(ranked: Range<usize>, scores_max: usize, members: usize, classes: usize, rows: usize) -> Self {
        let columns_at_once = (scores_max / rows.max(1)).max(1);
        let columns = members * ranked.len();
        let mut ranking = Self {
            members,
            classes,
            ranked,
            columns_at_once,
            pass: 0..0,
            scores: Vec::new(),
            auc: Vec::with_capacity(columns),
            average_precision: Vec::with_capacity(columns),
        };
        ranking.begin_pass();
        ranking
    }

    fn columns(&self) -> usize {
        self.members * self.ranked.len()
    }

    fn begin_pass(&mut self) {
        let end = (self.pass.end + self.columns_at_once).min(self.columns());
        self.pass = self.pass.end..end;
        self.scores.resize(self.pass.len(), Vec::new());
    }

    /// Takes the next rows: probabilities [stack, rows, classes], and labels [stack, rows] or, where a row may be of several classes, 1 for each
    /// that it is of, [stack, rows, classes].
    pub(super) fn add(&mut self, probabilities: &Tensor, targets: &Tensor) {
        let (rows, is_each) = (targets.size()[1] as usize, targets.dim() == 3);
        let per_member = self.ranked.len().max(1);
        for member in self.pass.start / per_member..self.pass.end.div_ceil(per_member) {
            let labels = counts(&targets.select(0, member as i64));
            let values = doubles(&probabilities.select(0, member as i64));
            let first = member * per_member;
            for column in self.pass.start.max(first)..self.pass.end.min(first + per_member) {
                let class = self.ranked.start + column - first;
                let scores = &mut self.scores[column - self.pass.start];
                scores.extend((0..rows).map(|row| {
                    let place = row * self.classes + class;
                    let is_positive = match is_each {
                        true => labels[place] == 1,
                        false => labels[row] == class as u64,
                    };
                    key(values[place], is_positive)
                }));
            }
        }
    }

    /// After the last row: true if columns are left, for which the rows have to be shown once more.
    pub(super) fn end_pass(&mut self) -> bool {
        for scores in &mut self.scores {
            scores.sort_unstable();
            self.auc.push(auc(scores));
            self.average_precision.push(average_precision(scores));
            scores.clear();
        }
        self.begin_pass();
        if self.pass.is_empty() {
            self.scores = Vec::new();
        }
        !self.pass.is_empty()
    }

    /// The area under the ROC curve of each member, the mean over its columns; no number where a class has no row, or all.
    pub(super) fn auc(&self) -> Vec<f64> {
        self.means(&self.auc)
    }

    /// The average precision of each member, the mean over its columns.
    pub(super) fn average_precision(&self) -> Vec<f64> {
        self.means(&self.average_precision)
    }

    fn means(&self, of_columns: &[f64]) -> Vec<f64> {
        let of_members = of_columns.chunks_exact(self.ranked.len().max(1));
        of_members
            .map(|columns| columns.iter().sum::<f64>() / columns.len() as f64)
            .collect()
    }
}

/// A number that sorts as the score does. Probabilities are not negative, so their bits sort as they do, and the sign's has room for
/// whether the row is of the class.
fn key(score: f64, is_positive: bool) -> u64 {
    (score.to_bits() << 1) | u64::from(is_positive)
}

/// Rows of equal score from the lowest score on: how many are of the class, and how many are not.
fn ties(sorted: &[u64]) -> impl DoubleEndedIterator<Item = (u64, u64)> {
    sorted.chunk_by(|a, b| a >> 1 == b >> 1).map(|tied| {
        let positive = tied.iter().map(|key| key & 1).sum();
        (positive, tied.len() as u64 - positive)
    })
}

/// The share of the pairs of a row of the class and another row in which the first has the higher score; of equal ones, half. Counted
/// in whole numbers: no sum of it is rounded.
fn auc(sorted: &[u64]) -> f64 {
    let (mut negatives, mut positives, mut twice_right) = (0, 0, 0);
    for (positive, negative) in ties(sorted) {
        twice_right += positive * (2 * negatives + negative);
        negatives += negative;
        positives += positive;
    }
    twice_right as f64 / (2 * positives * negatives) as f64
}

/// The mean over the rows of the class of the precision down to their score, from the highest score on; 0 where there is none.
fn average_precision(sorted: &[u64]) -> f64 {
    let (mut right, mut all, mut sum) = (0, 0, 0.0);
    for (positive, negative) in ties(sorted).rev() {
        right += positive;
        all += positive + negative;
        sum += positive as f64 * (right as f64 / all as f64);
    }
    if right == 0 { 0.0 } else { sum / right as f64 }
}
