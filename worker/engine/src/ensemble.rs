//! Ensembles: the networks of a trial's folds, whose mean is the prediction. A refit on all training rows is a single network.

use crate::{EngineError, Networks};
use trawl_dataset::TargetKind;

/// The member that answers for each network.
const MEMBER: usize = 0;

/// One or more networks of one architecture; each answers with its first member.
#[derive(Debug)]
pub struct Ensemble<'a, N>(Vec<&'a N>);

impl<'a, N: Networks> Ensemble<'a, N> {
    /// An ensemble of at least one network.
    ///
    /// # Errors
    /// There is none.
    pub fn new(networks: Vec<&'a N>) -> Result<Self, EngineError> {
        match networks.is_empty() {
            true => Err(EngineError::BadJob("there is no network".to_owned())),
            false => Ok(Self(networks)),
        }
    }

    /// The first network; the only one of a refit on all training rows.
    pub(crate) fn first(&self) -> &'a N {
        self.0[0]
    }

    /// The only network, or `None` if there are several.
    pub(crate) fn only(&self) -> Option<&'a N> {
        match self.0[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// All of them.
    pub(crate) fn networks(&self) -> &[&'a N] {
        &self.0
    }

    /// Their joint outputs, [rows, outputs], for rows of a table as in [`Networks::outputs`]. A single network's outputs are unchanged.
    /// Otherwise numbers are averaged; for classes, the output is the logarithm of the mean probability, and for binary targets, the logit
    /// of the mean probability. So a temperature works as for a single network, and never changes the predicted class.
    ///
    /// # Errors
    /// As [`Networks::outputs`].
    pub fn outputs(&self, table: &N::Table, rows: &[u32]) -> Result<Vec<f32>, EngineError> {
        if let Some(only) = self.only() {
            return only.outputs(MEMBER, table, rows);
        }
        let architecture = self.first().architecture();
        let kind = architecture.loss.target_kind();
        let width = architecture.output().map_or(1, |output| output.len()).max(1) as usize;
        let mut together: Vec<f64> = Vec::new();
        for (place, network) in self.0.iter().enumerate() {
            let outputs = network.outputs(MEMBER, table, rows)?;
            together.resize(outputs.len(), 0.0);
            let each = outputs.chunks_exact(width).zip(together.chunks_exact_mut(width));
            for (outputs, together) in each {
                match kind {
                    TargetKind::Class => add_logarithms(together, outputs, place == 0),
                    TargetKind::Number => add(together, outputs.iter().copied().map(f64::from)),
                    TargetKind::Binary => add(together, outputs.iter().copied().map(of_yes)),
                }
            }
        }
        let count = self.0.len() as f64;
        let mean = |sum: &f64| match kind {
            TargetKind::Class => sum - count.ln(),
            TargetKind::Number => sum / count,
            // Where all networks are certain, the logit is infinite.
            TargetKind::Binary => (sum / (count - sum))
                .ln()
                .clamp(f64::from(f32::MIN), f64::from(f32::MAX)),
        };
        Ok(together.iter().map(|sum| mean(sum) as f32).collect())
    }
}

fn add(sums: &mut [f64], values: impl Iterator<Item = f64>) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// The probabilities of yes, from the outputs.
pub(crate) fn probabilities(outputs: &[f32]) -> Vec<f32> {
    outputs.iter().map(|output| of_yes(*output) as f32).collect()
}

/// The logistic function.
fn of_yes(output: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(output)).exp())
}

/// Adds a row's probabilities to sums, all as logarithms, so that small ones are not lost.
fn add_logarithms(sums: &mut [f64], outputs: &[f32], is_first: bool) {
    let highest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let apart = |output: f32| f64::from(output) - f64::from(highest);
    let all = outputs.iter().map(|output| apart(*output).exp()).sum::<f64>().ln();
    for (sum, output) in sums.iter_mut().zip(outputs) {
        let own = apart(*output) - all;
        *sum = if is_first {
            own
        } else {
            let (more, less) = if own > *sum { (own, *sum) } else { (*sum, own) };
            more + (less - more).exp().ln_1p()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_of_probabilities_add_up() {
        let mut sums = [0.0; 2];
        add_logarithms(&mut sums, &[0.0, 3_f32.ln()], true);
        add_logarithms(&mut sums, &[0.0, 0.0], false);
        // 1/4 and 3/4, and twice 1/2.
        for (sum, expected) in sums.iter().zip([0.75_f64, 1.25]) {
            assert!((sum.exp() - expected).abs() < 1e-6, "{sum}");
        }
        let mut sums = [0.0; 2];
        add_logarithms(&mut sums, &[0.0, 2_000.0], true);
        add_logarithms(&mut sums, &[0.0, 2_000.0], false);
        assert!(
            (sums[0] - (2_f64.ln() - 2_000.0)).abs() < 1e-9,
            "{sums:?}: exponentials of it are 0"
        );
    }
}
