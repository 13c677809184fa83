//! Metrics that depend on the order of the rows' scores, for each class against the rest: they need all scores of a fold.
//!
//! A *column* has the scores of one class by one network. As many columns are in memory at once as fit, and the rows are shown
//! again until all columns are complete.

use std::ops::Range;

use tch::Tensor;

use super::{counts, doubles};

/// Most scores in memory at once: 64 MiB. A single column may exceed this, with 8 bytes for each row.
const SCORES_MAX: usize = 1 << 23;

/// Columns, and the metrics of complete ones.
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
    /// Before the first of `rows` rows, each of one class.
    pub(super) fn new(members: usize, classes: usize, rows: usize) -> Self {
        Self::within(SCORES_MAX, members, classes, rows)
    }

    /// The same for rows that may belong to several classes, or none.
    pub(super) fn of_each(members: usize, classes: usize, rows: usize) -> Self {
        Self::of(0..classes, SCORES_MAX, members, classes, rows)
    }

    /// As [`Self::new`], with at most `scores_max` scores in memory, or one column.
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

    /// Adds the next rows: probabilities [stack, rows, classes], and labels [stack, rows] or, where a row may belong to
    /// several classes, 1 for each of its classes, [stack, rows, classes].
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

    /// After the last row: true if columns are left, for which all rows have to be shown again.
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

    /// The area under the ROC curve of each member, as the mean over its columns; NaN if a class has no rows, or all of them.
    pub(super) fn auc(&self) -> Vec<f64> {
        self.means(&self.auc)
    }

    /// The average precision of each member, as the mean over its columns.
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

/// An integer that sorts like the score. Probabilities are not negative, so their bits sort like them; the sign bit is
/// free to mark rows of the class.
fn key(score: f64, is_positive: bool) -> u64 {
    (score.to_bits() << 1) | u64::from(is_positive)
}

/// Groups of rows with equal scores, from the lowest score: the number of rows of the class, and of others.
fn ties(sorted: &[u64]) -> impl DoubleEndedIterator<Item = (u64, u64)> {
    sorted.chunk_by(|a, b| a >> 1 == b >> 1).map(|tied| {
        let positive = tied.iter().map(|key| key & 1).sum();
        (positive, tied.len() as u64 - positive)
    })
}

/// The share of pairs of a row of the class and another row in which the first has the higher score; ties count half.
/// Counts are integers, so no sum is rounded.
fn auc(sorted: &[u64]) -> f64 {
    let (mut negatives, mut positives, mut twice_right) = (0, 0, 0);
    for (positive, negative) in ties(sorted) {
        twice_right += positive * (2 * negatives + negative);
        negatives += negative;
        positives += positive;
    }
    twice_right as f64 / (2 * positives * negatives) as f64
}

/// Over the rows of the class, from the highest score: the mean precision down to each row's score; 0 if there is no such row.
fn average_precision(sorted: &[u64]) -> f64 {
    let (mut right, mut all, mut sum) = (0, 0, 0.0);
    for (positive, negative) in ties(sorted).rev() {
        right += positive;
        all += positive + negative;
        sum += positive as f64 * (right as f64 / all as f64);
    }
    if right == 0 { 0.0 } else { sum / right as f64 }
}
