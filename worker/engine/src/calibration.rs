//! The temperature: a number that divides outputs for classes before softmax, so that probabilities match the
//! frequencies of the classes. It minimises the log loss of held-out rows (Guo et al., "On Calibration of Modern Neural
//! Networks", ICML 2017). The predicted class does not depend on it.

use std::collections::HashMap;

use serde::Serialize;

use crate::Control;

/// Bounds of the temperature. If all held-out rows are predicted correctly, a lower one is always better.
pub const TEMPERATURE_MIN: f64 = 0.01;
/// See [`TEMPERATURE_MIN`].
pub const TEMPERATURE_MAX: f64 = 100.0;

/// Halvings of the range: after them, doubles cannot separate its ends.
const HALVINGS: u32 = 60;
/// Bins of the expected calibration error, of equal width.
const BINS: usize = 15;
/// Replaces the logarithm of a probability that a file has as 0: the logarithm of the least positive f32.
const LN_OF_NONE: f32 = -103.28;

/// Rows with their class and a network's predictions: the logarithms of the classes' probabilities, up to a constant for each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answered {
    classes: usize,
    /// Rows × classes.
    outputs: Vec<f32>,
    labels: Vec<u32>,
}

/// Reliability of probabilities; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Reliability {
    rows: u64,
    log_loss: f64,
    brier: f64,
    /// Expected calibration error: the distance between the mean probability of predicted classes and the share of
    /// correct ones, in 15 bins of equal width, each weighted by its rows.
    ece: f64,
}

impl Answered {
    /// Reads the rows of `fold-F.csv` files for these classes.
    ///
    /// # Errors
    /// The name of an invalid file, and what is wrong with it.
    pub(crate) fn read(files: &[(String, Vec<u8>)], classes: &[String]) -> Result<Self, String> {
        let mut answered = Self {
            classes: classes.len(),
            ..Self::default()
        };
        for (name, content) in files {
            let read = answered.add_file(content, classes);
            read.map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok(answered)
    }

    fn add_file(&mut self, content: &[u8], classes: &[String]) -> Result<(), String> {
        const BEFORE: [&str; 4] = ["row", "target", "prediction", "probability"];
        let mut reader = csv::Reader::from_reader(content);
        let header = reader.headers().map_err(|error| error.to_string())?;
        let expected = BEFORE.iter().map(|name| (*name).to_owned());
        let expected = expected.chain(classes.iter().map(|class| format!("p.{class}")));
        if !header.iter().map(str::to_owned).eq(expected) {
            return Err("has no column for each class".to_owned());
        }
        let labels: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            let label = labels.get(&record[1]);
            self.labels
                .push(*label.ok_or_else(|| format!("has the class '{}', which is none", &record[1]))?);
            for probability in record.iter().skip(BEFORE.len()) {
                let read = probability.parse::<f32>().ok();
                let read = read.filter(|read| (0.0..=1.0).contains(read));
                let probability = read.ok_or_else(|| format!("has the probability '{probability}'"))?;
                self.outputs.push(if probability > 0.0 {
                    probability.ln()
                } else {
                    LN_OF_NONE
                });
            }
        }
        Ok(())
    }

    fn rows(&self) -> impl Iterator<Item = (&[f32], u32)> {
        self.outputs
            .chunks_exact(self.classes.max(1))
            .zip(self.labels.iter().copied())
    }

    /// The temperature; `None` without rows, or if it was stopped.
    pub(crate) fn temperature(&self, control: &Control) -> Option<f64> {
        // The log loss is convex in 1/T: its slope there increases, and is 0 at the minimum.
        let slope = |inverse: f64| -> f64 { self.rows().map(|(outputs, label)| slope(outputs, label, inverse)).sum() };
        let (mut low, mut high) = (1.0 / TEMPERATURE_MAX, 1.0 / TEMPERATURE_MIN);
        if self.labels.is_empty() {
            return None;
        }
        for _ in 0..HALVINGS {
            if control.must_end() {
                return None;
            }
            let middle = (low * high).sqrt();
            if slope(middle) > 0.0 {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some((1.0 / (low * high).sqrt()).clamp(TEMPERATURE_MIN, TEMPERATURE_MAX))
    }

    /// The reliability of probabilities at this temperature.
    pub(crate) fn reliability(&self, temperature: f64) -> Reliability {
        let mut sums = Sums::default();
        self.rows()
            .for_each(|(outputs, label)| sums.add(outputs, label, temperature));
        sums.reliability()
    }
}

/// The derivative of a row's log loss by the inverse of the temperature.
fn slope(outputs: &[f32], label: u32, inverse: f64) -> f64 {
    let highest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let apart = |output: f32| f64::from(output) - f64::from(highest);
    let (mut sum, mut mean) = (0.0, 0.0);
    for output in outputs {
        let weight = (apart(*output) * inverse).exp();
        sum += weight;
        mean += weight * apart(*output);
    }
    mean / sum - apart(outputs[label as usize])
}

/// Sums over rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    rows: u64,
    log_loss: f64,
    brier: f64,
    /// For each bin of the predicted classes' probabilities: the number of rows, the sum of their probabilities, and the number of correct ones.
    bins: [(u64, f64, u64); BINS],
}

impl Sums {
    /// Adds the outputs for a row of this class.
    pub(crate) fn add(&mut self, outputs: &[f32], label: u32, temperature: f64) {
        let highest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |output: f32| ((f64::from(output) - f64::from(highest)) / temperature).exp();
        let sum: f64 = outputs.iter().copied().map(weight).sum();
        let probability = |class: usize| weight(outputs[class]) / sum;
        let (right, predicted) = (label as usize, 1.0 / sum);
        let is_right = outputs.iter().position(|output| *output == highest) == Some(right);
        self.rows += 1;
        self.log_loss -= probability(right).clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
        let squares = (0..outputs.len()).map(|class| {
            let wanted = f64::from(u8::from(class == right));
            (probability(class) - wanted).powi(2)
        });
        // With two classes, as for one of them.
        self.brier += squares.sum::<f64>() / if outputs.len() == 2 { 2.0 } else { 1.0 };
        let bin = (predicted * BINS as f64).ceil() as usize;
        let (count, sum, rights) = &mut self.bins[bin.clamp(1, BINS) - 1];
        *count += 1;
        *sum += predicted;
        *rights += u64::from(is_right);
    }

    /// The reliability from the sums.
    pub(crate) fn reliability(&self) -> Reliability {
        let rows = self.rows.max(1) as f64;
        let apart = |(_, sum, rights): &(u64, f64, u64)| (sum - *rights as f64).abs();
        Reliability {
            rows: self.rows,
            log_loss: self.log_loss / rows,
            brier: self.brier / rows,
            ece: self.bins.iter().map(apart).sum::<f64>() / rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rows: &[(&str, [f64; 3])]) -> (String, Vec<u8>) {
        let mut text = String::from("row,target,prediction,probability,p.a,p.b,p.c\n");
        for (row, (target, probabilities)) in rows.iter().enumerate() {
            let [a, b, c] = probabilities;
            text += &format!("{row},{target},?,0,{a},{b},{c}\n");
        }
        ("fold-0.csv".to_owned(), text.into_bytes())
    }

    fn classes() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_temperature_has_the_least_log_loss() {
        let oracle: serde_json::Value =
            serde_json::from_str(include_str!("../tests/data/calibration.json")).expect("the oracle's numbers");
        let outputs: Vec<Vec<f32>> = serde_json::from_value(oracle["outputs"].clone()).expect("numbers");
        let answered = Answered {
            classes: 3,
            outputs: outputs.concat(),
            labels: serde_json::from_value(oracle["labels"].clone()).expect("labels"),
        };
        let temperature = answered.temperature(&Control::new()).expect("a temperature");
        let expected = oracle["temperature"].as_f64().expect("a number");
        assert!(
            (temperature - expected).abs() < 1e-4 * expected,
            "{temperature} is not {expected}"
        );
        for (at, expected) in [(1.0, &oracle["before"]), (temperature, &oracle["after"])] {
            let found = answered.reliability(at);
            for (found, name) in [(found.log_loss, "log_loss"), (found.brier, "brier"), (found.ece, "ece")] {
                let expected = expected[name].as_f64().expect(name);
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{name} at {at}: {found} is not {expected}"
                );
            }
        }
        let better = answered.reliability(temperature).log_loss;
        for near in [0.99, 1.01] {
            assert!(answered.reliability(near * temperature).log_loss > better);
        }
    }

    #[test]
    fn rows_that_are_all_right_or_say_nothing_have_a_temperature_at_an_end() {
        let right = Answered::read(&[file(&[("a", [0.9, 0.1, 0.0]), ("c", [0.2, 0.2, 0.6])])], &classes());
        let right = right.expect("rows");
        let found = right.temperature(&Control::new()).expect("a temperature");
        assert!((found - TEMPERATURE_MIN).abs() < 1e-9 * TEMPERATURE_MIN, "{found}");
        let wrong = Answered::read(&[file(&[("b", [0.5, 0.2, 0.3])])], &classes()).expect("rows");
        let found = wrong.temperature(&Control::new()).expect("a temperature");
        assert!((found - TEMPERATURE_MAX).abs() < 1e-9 * TEMPERATURE_MAX, "{found}");
        assert_eq!(Answered::default().temperature(&Control::new()), None);
    }

    #[test]
    fn files_of_other_classes_are_refused() {
        let (name, content) = file(&[("d", [0.9, 0.1, 0.0])]);
        let said = Answered::read(&[(name.clone(), content.clone())], &classes()).expect_err("no class");
        assert_eq!(said, "fold-0.csv: has the class 'd', which is none");
        let said = Answered::read(&[file(&[("a", [0.9, f64::NAN, 0.0])])], &classes()).expect_err("no number");
        assert_eq!(said, "fold-0.csv: has the probability 'NaN'");
        let said = Answered::read(&[(name, content)], &classes()[..2]).expect_err("more columns");
        assert_eq!(said, "fold-0.csv: has no column for each class");
    }
}
