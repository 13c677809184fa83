//! Choices and counts on plain numbers; `engine-torch/tests/analysis` tests whole networks.

use trawl_dataset::{Features, Targets};

use super::SkippedArtifact;
use super::activations::chosen_rows;
use super::answers::ClassAnswer;
use super::classes::{by_class, count};
use super::histograms::Histogram;
use super::images::{first_misclassified, first_of_each_class, pixels};
use crate::class_count::ClassCount;

#[test]
fn rows_are_chosen_by_target() {
    let numbers = |numbers: &[f32]| chosen_rows(&Targets::Numbers(numbers.to_vec()));
    assert_eq!(numbers(&[5.0, 1.0, 9.0, 3.0, 9.0]), [1, 0, 2]);
    assert_eq!(numbers(&[2.0, 2.0, 2.0]), [0, 1]);
    assert_eq!(numbers(&[2.0]), [0]);
    let classes = Targets::Classes {
        labels: vec![3, 1, 1, 0, 3],
        names: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
    };
    assert_eq!(chosen_rows(&classes), [3, 1]);
}

#[test]
fn bins_are_of_equal_width() {
    let histogram = Histogram::of(&[0.0, 1.0, 1.5, 2.0, 49.9, 50.0]).expect("finite");
    assert_eq!(histogram.edges, (0..=50).map(|edge| edge as f32).collect::<Vec<_>>());
    let mut counts = vec![0; 50];
    (counts[0], counts[1], counts[2], counts[49]) = (1, 2, 1, 2);
    assert_eq!(histogram.counts, counts);
    assert_eq!(Histogram::of(&[0.0, f32::NAN]), Err(SkippedArtifact::NotFinite));
}

#[test]
fn the_confusion_matrix_has_true_classes_as_rows() {
    let answers = [0, 2, 2, 1].map(|class| ClassAnswer {
        class,
        probability: 1.0,
    });
    assert_eq!(
        count(&[0, 0, 2, 2], &answers, 3),
        [vec![1, 0, 1], vec![0, 0, 0], vec![0, 1, 1]]
    );
    assert_eq!(first_misclassified(&[0, 0, 2, 2], &answers), [1, 3]);
    assert_eq!(first_of_each_class(&[2, 2, 0, 1, 0], 4), [2, 3, 0]);
    // The first among equals.
    assert_eq!(ClassAnswer::of(&[1.0, 1.0], 1.0).class, 0);
    // A temperature changes the probability, but never the class.
    let [cold, warm] = [0.5, 2.0].map(|temperature| ClassAnswer::of(&[1.0, 3.0], temperature));
    assert_eq!((cold.class, warm.class), (1, 1));
    let logistic = |apart: f64| (1.0 / (1.0 + (-apart).exp())) as f32;
    assert_eq!((cold.probability, warm.probability), (logistic(4.0), logistic(1.0)));
}

/// The numbers are from scikit-learn 1.9.1's `precision_recall_fscore_support(zero_division=0)`.
#[test]
fn each_class_has_precision_recall_and_f1_and_0_where_there_is_none() {
    let answers = [0, 2, 2, 1, 0, 0].map(|class| ClassAnswer {
        class,
        probability: 1.0,
    });
    let classes = by_class(&count(&[0, 0, 2, 2, 2, 0], &answers, 4));
    let of_each = |of: fn(ClassCount) -> f64| classes.iter().copied().map(of).collect::<Vec<_>>();
    assert_eq!(of_each(ClassCount::precision), [2.0 / 3.0, 0.0, 0.5, 0.0]);
    assert_eq!(of_each(ClassCount::recall), [2.0 / 3.0, 0.0, 1.0 / 3.0, 0.0]);
    assert_eq!(of_each(ClassCount::f1), [2.0 / 3.0, 0.0, 0.4, 0.0]);
    assert_eq!(classes.iter().map(|class| class.rows).collect::<Vec<_>>(), [3, 0, 3, 0]);
}

#[test]
fn pixels_that_are_no_bytes_are_stretched() {
    assert_eq!(pixels(&Features::Floats(vec![-1.0, 1.0, 0.0])), [0, 255, 128]);
    assert_eq!(pixels(&Features::Floats(vec![3.0, 3.0])), [0, 0]);
    assert_eq!(pixels(&Features::Bytes(vec![7])), [7]);
}
