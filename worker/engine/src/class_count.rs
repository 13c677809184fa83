//! Counts of predicted classes, and the metrics of one class or all.

/// Rows of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// True positives.
    pub right: u64,
    /// Rows of the class.
    pub rows: u64,
    /// Rows predicted as the class.
    pub predicted: u64,
}

impl ClassCount {
    /// The share of rows predicted as the class that belong to it: right / predicted; 0 if there are none.
    pub fn precision(self) -> f64 {
        share(self.right, self.predicted)
    }

    /// The share of the class's rows that were predicted as it: right / rows; 0 if it has no rows.
    pub fn recall(self) -> f64 {
        share(self.right, self.rows)
    }

    /// The harmonic mean of precision and recall: 2 right / (rows + predicted); 0 if the class has no rows and was never predicted.
    pub fn f1(self) -> f64 {
        share(2 * self.right, self.rows + self.predicted)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The mean recall of the classes that have rows, summed in their order, as scikit-learn's `balanced_accuracy_score`.
pub fn balanced_accuracy(classes: &[ClassCount]) -> f64 {
    let there = classes.iter().filter(|class| class.rows > 0);
    mean(there.map(|class| class.recall()))
}

/// The mean F1 of the classes that have rows or were predicted, summed in their order, as scikit-learn's `f1_score`
/// with `average="macro"`.
pub fn f1_macro(classes: &[ClassCount]) -> f64 {
    let there = classes.iter().filter(|class| class.rows + class.predicted > 0);
    mean(there.map(|class| class.f1()))
}

/// The mean F1 of all classes, those without rows too, summed in their order: scikit-learn's `f1_score` of an indicator matrix with
/// `average="macro"`.
pub fn f1_mean(classes: &[ClassCount]) -> f64 {
    mean(classes.iter().map(|class| class.f1()))
}

/// The mean F1 of the classes, each weighted by its rows and summed in their order, as scikit-learn's `f1_score` with
/// `average="weighted"`.
pub fn f1_weighted(classes: &[ClassCount]) -> f64 {
    let rows: u64 = classes.iter().map(|class| class.rows).sum();
    let weighted = classes.iter().map(|class| class.rows as f64 * class.f1());
    // In an indicator matrix, there may be no row of any class.
    weighted.sum::<f64>() / rows.max(1) as f64
}

/// NaN for an empty iterator.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, len) = values.fold((0.0, 0_u32), |(sum, len), value| (sum + value, len + 1));
    sum / f64::from(len)
}
