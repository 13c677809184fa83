//! Networks that answer together: the folds of a trial, whose mean is the prediction. A refit on all training rows is one network.

use crate::{EngineError, Networks};
use trawl_domain::dataset::TargetKind;

/// The network of each, by which it is asked.
const MEMBER: usize = 0;

/// One network or several of one architecture, each the first member of its own.
#[derive(Debug)]
pub struct Ensemble<'a, N>(Vec<&'a N>);

impl<'a, N: Networks> Ensemble<'a, N> {
    /// Of these, at least one.
    ///
    /// # Errors
    /// There is none.
    pub fn new(networks: Vec<&'a N>) -> Result<Self, EngineError> {
        match networks.is_empty() {
            true => Err(EngineError::BadJob("there is no network".to_owned())),
            false => Ok(Self(networks)),
        }
    }

    /// The first one, which is the only one of a refit on all training rows.
    pub(crate) fn first(&self) -> &'a N {
        self.0[0]
    }

    /// The only one, or none where there are several.
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

    /// What they put out together, [rows, outputs], for rows of a table as [`Networks::outputs`] takes them: of one network what it puts out; of
    /// several the mean, of classes the logarithm of the mean of their probabilities, and of yes and no what has the mean of theirs. So a temperature divides the outputs of an ensemble as
    /// it divides those of one network, and never changes the predicted class.
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
            // Where all of them are sure, an infinity would be left.
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

/// The probabilities of yes, by the output for each.
pub(crate) fn probabilities(outputs: &[f32]) -> Vec<f32> {
    outputs.iter().map(|output| of_yes(*output) as f32).collect()
}

/// The logistic function.
fn of_yes(output: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(output)).exp())
}

/// Adds the probabilities of a row to sums of such, all of them as logarithms, so that none is lost that is small.
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
