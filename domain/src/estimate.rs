//! Estimates how long a search takes: roughly, by the arithmetic of its first trials' networks, on CPU cores.

use crate::job::Window;
use crate::limits::{FUSED_WORK_MAX, JOB_MEMBERS_MAX};
use crate::network::Architecture;
use crate::study::Study;
use crate::violation::Violation;

/// Time of a layer in a step beside its arithmetic: launching its operations, forward, backward and in the optimizer, for all members that
/// train together. Chosen so that the study of `examples/regression.yaml` takes the time given in docs/benchmarks.md.
const LAYER_SECONDS: f64 = 6e-5;
/// Multiplications of a core in a second, for matrices of typical networks: an order of magnitude.
const MULTIPLICATIONS_A_SECOND: f64 = 5e9;
/// The backward pass takes twice the work of the forward pass.
const WORK_OF_STEP: f64 = 3.0;
/// Factor of uncertainty, up and down.
pub const UNCERTAINTY: f64 = 3.0;

/// Seconds that a search and its refit would take one CPU core if no trial fails. The true value is probably between
/// this divided by [`UNCERTAINTY`] and this times it. `window` has the first trials. `None` if epochs are searched.
///
/// # Errors
/// As [`Study::config`].
pub fn core_seconds(study: &Study, window: &Window) -> Result<Option<f64>, Violation> {
    let Some(fold_epochs) = study.search_epoch_reports() else {
        return Ok(None);
    };
    let folds: usize = window.jobs.iter().map(|job| job.folds.len()).sum();
    let members = folds as f64 / window.jobs.len().max(1) as f64;
    let rows: f64 = study.fold_sizes.iter().map(|size| f64::from(size.train)).sum();
    let rows = rows / study.fold_sizes.len().max(1) as f64;
    let (mut of_search, mut of_refit) = (0.0, 0.0);
    for trial in &window.trials {
        let architecture = study.config(&trial.params)?.architecture;
        of_search += epoch_seconds(&architecture, rows, members);
        let members = f64::from(study.validation.folds()).min(JOB_MEMBERS_MAX as f64);
        of_refit += epoch_seconds(&architecture, rows, members);
    }
    let trials = window.trials.len().max(1) as f64;
    let refit_epochs = study.refit_epoch_reports() as f64;
    Ok(Some(
        (of_search * fold_epochs as f64 + of_refit * refit_epochs) / trials,
    ))
}

/// Seconds of an epoch of one fold, if `members` train together.
fn epoch_seconds(architecture: &Architecture, rows: f64, members: f64) -> f64 {
    let work = architecture.step_work();
    let is_together = work <= FUSED_WORK_MAX && !architecture.has_convolution();
    let sharing = if is_together { members.max(1.0) } else { 1.0 };
    let steps = (rows / f64::from(architecture.batch_size)).ceil();
    let launching = architecture.layers.len() as f64 * LAYER_SECONDS / sharing;
    steps * (launching + WORK_OF_STEP * work as f64 / MULTIPLICATIONS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Layer;
    use crate::loss::Loss;
    use trawl_dataset::SampleShape;

    fn network(units: u32, batch_size: u32) -> Architecture {
        Architecture {
            input: SampleShape::Vector(units),
            layers: vec![Layer::Linear { units }, Layer::Linear { units: 1 }],
            loss: Loss::Mse,
            batch_size,
            epochs: 1,
        }
    }

    #[test]
    fn small_networks_share_what_launching_costs_and_large_ones_do_their_arithmetic() {
        let alone = epoch_seconds(&network(4, 8), 80.0, 1.0);
        let together = epoch_seconds(&network(4, 8), 80.0, 50.0);
        assert!(alone > 40.0 * together, "{alone} alone, {together} together");
        let large = |members| epoch_seconds(&network(4096, 64), 640.0, members);
        assert_eq!(large(1.0).to_bits(), large(50.0).to_bits());
        let arithmetic = 10.0 * 3.0 * 64.0 * (4096.0 * 4097.0 + 4097.0) / 5e9;
        assert!((large(1.0) / arithmetic - 1.0).abs() < 0.01);
        // The last batch of an epoch also is a step.
        assert_eq!(
            epoch_seconds(&network(4, 8), 81.0, 1.0).to_bits(),
            epoch_seconds(&network(4, 8), 88.0, 1.0).to_bits()
        );
    }
}
