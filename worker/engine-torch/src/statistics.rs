//! State of batch norms beside their parameters: running means and variances of their inputs, which they use outside training.

use tch::{Device, Kind, Tensor};

/// PyTorch's defaults.
const MOMENTUM: f64 = 0.1;
pub(super) const EPS: f64 = 1e-5;

/// For all networks of a stack: the state of each layer with parameters that is a batch norm.
#[derive(Debug)]
pub(super) struct Statistics(Vec<Option<Running>>);

/// The state of one layer.
#[derive(Debug)]
struct Running {
    /// [stack x numbers], so that one call serves all networks.
    mean: Tensor,
    /// The same.
    variance: Tensor,
    /// Batches seen, [stack, 1]. No computation uses it; files of weights have it, as PyTorch's do.
    batches: Tensor,
}

impl Statistics {
    /// PyTorch's initial values. `numbers` has the sizes of a network's batch norms, by layers with parameters.
    pub(super) fn new(numbers: impl Iterator<Item = Option<i64>>, stack: i64, device: Device) -> Self {
        let options = (Kind::Float, device);
        let running = |numbers: i64| Running {
            mean: Tensor::zeros([stack * numbers], options),
            variance: Tensor::ones([stack * numbers], options),
            batches: Tensor::zeros([stack, 1], options),
        };
        Self(numbers.map(|numbers| numbers.map(running)).collect())
    }

    /// The output of the n-th layer with parameters, a batch norm, for [rows, stack x numbers, …]. In training it uses the
    /// batch's statistics and updates the running ones; but not if a batch has one value of each number, and so no variance.
    pub(super) fn normalise(&self, n: usize, x: &Tensor, weight: &Tensor, bias: &Tensor, trains: bool) -> Tensor {
        let Some(Some(running)) = self.0.get(n) else {
            return x.shallow_clone();
        };
        let by_batch = trains && x.numel() > running.mean.numel();
        if by_batch {
            let _ = running.batches.shallow_clone().g_add_scalar_(1);
        }
        let (weight, bias) = (weight.reshape([-1]), bias.reshape([-1]));
        let (mean, variance) = (Some(&running.mean), Some(&running.variance));
        x.batch_norm(
            Some(&weight),
            Some(&bias),
            mean,
            variance,
            by_batch,
            MOMENTUM,
            EPS,
            false,
        )
    }

    /// Running mean, running variance and number of batches of the n-th layer with parameters, for the network at a
    /// place; empty if it is no batch norm.
    pub(super) fn of_place(&self, n: usize, place: i64) -> Vec<Tensor> {
        let running = self.0.get(n).and_then(Option::as_ref);
        running.map_or_else(Vec::new, |running| {
            running.views().map(|view| view.select(0, place)).into()
        })
    }

    /// The whole state, [stack, numbers]; `None` without batch norms.
    pub(super) fn all(&self) -> Option<Tensor> {
        let views: Vec<Tensor> = self.running().flat_map(Running::views).collect();
        (!views.is_empty()).then(|| Tensor::cat(&views, 1))
    }

    /// Replaces the state of the network at a place by numbers in the order of [`Self::all`].
    ///
    /// # Errors
    /// Their number differs.
    pub(super) fn set(&self, place: i64, numbers: &[f32]) -> Result<(), String> {
        let views = self.running().flat_map(Running::views);
        let len: usize = views.map(|view| view.size()[1] as usize).sum();
        if len != numbers.len() {
            return Err(format!("a member has {} statistics, not {len}", numbers.len()));
        }
        if len > 0 {
            self.copy(place, &Tensor::from_slice(numbers));
        }
        Ok(())
    }

    /// The same from a tensor, [numbers].
    pub(super) fn copy(&self, place: i64, numbers: &Tensor) {
        let mut start = 0;
        for view in self.running().flat_map(Running::views) {
            let len = view.size()[1];
            view.select(0, place).copy_(&numbers.narrow(0, start, len));
            start += len;
        }
    }

    fn running(&self) -> impl Iterator<Item = &Running> {
        self.0.iter().flatten()
    }
}

impl Running {
    /// Each as [stack, numbers].
    fn views(&self) -> [Tensor; 3] {
        let stack = self.batches.size()[0];
        [&self.mean, &self.variance, &self.batches].map(|tensor| tensor.view([stack, -1]))
    }
}
