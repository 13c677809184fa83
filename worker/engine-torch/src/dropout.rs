//! Dropout masks: drawn for each member from its own stream, so that they depend on nothing else in the job.

use tch::{Device, Tensor};
use trawl_domain::seed::{Purpose, Stream};
use trawl_engine::FitJob;

use super::DeviceTable;
use super::stack::Stack;

/// Draws the masks of all members.
#[derive(Debug)]
pub(super) struct Dropout {
    /// Probability by layer and place in the stack.
    p: Vec<Vec<f32>>,
    /// By place in the stack; empty where nothing is ever dropped.
    streams: Vec<Stream>,
    /// Job's member by place.
    places: Vec<usize>,
    device: Device,
}

impl Dropout {
    pub(super) fn new(stack: &Stack, job: &FitJob<DeviceTable>, device: Device) -> Self {
        let places = stack.places().to_vec();
        let layers = job.architecture.dropout_layers();
        let p = |layer: usize| {
            places
                .iter()
                .map(|member| job.members[*member].hyperparameters.dropout[layer] as f32)
                .collect()
        };
        Self {
            p: (0..layers).map(p).collect(),
            streams: Vec::new(),
            places,
            device,
        }
    }

    /// Each epoch has a stream of its own, so that training can go on from the end of any epoch.
    pub(super) fn begin_epoch(&mut self, job: &FitJob<DeviceTable>, epoch: u32) {
        if self.p.iter().flatten().all(|p| *p == 0.0) {
            return;
        }
        let stream = |member: &usize| {
            let member = &job.members[*member];
            job.seed.stream(Purpose::Dropout {
                owner: member.owner,
                fold: member.fold,
                epoch,
            })
        };
        self.streams = self.places.iter().map(stream).collect();
    }

    /// Positions in the epoch's streams, by place in the stack; empty where nothing is ever dropped.
    pub(super) fn positions(&self) -> Vec<u64> {
        self.streams.iter().map(Stream::position).collect()
    }

    /// Continues an epoch from these positions, by place in the stack.
    pub(super) fn resume_epoch(&mut self, job: &FitJob<DeviceTable>, epoch: u32, positions: &[u64]) {
        self.begin_epoch(job, epoch);
        for (stream, position) in self.streams.iter_mut().zip(positions) {
            stream.skip_to(*position);
        }
    }

    /// Factors for the inputs of a dropout layer, [stack, numbers of one member]: 0 with probability p, else 1 / (1 - p).
    /// `None` if no member drops anything in this layer. A member that drops nothing draws nothing.
    pub(super) fn mask(&mut self, layer: usize, stack: i64, len: i64) -> Option<Tensor> {
        let p = &self.p[layer];
        if p.iter().all(|p| *p == 0.0) {
            return None;
        }
        let mut factors = vec![1.0_f32; (stack * len) as usize];
        for ((factors, p), stream) in factors.chunks_exact_mut(len as usize).zip(p).zip(&mut self.streams) {
            if *p > 0.0 {
                let kept = 1.0 / (1.0 - p);
                factors
                    .iter_mut()
                    .for_each(|factor| *factor = if stream.unit_f32() < *p { 0.0 } else { kept });
            }
        }
        Some(Tensor::from_slice(&factors).to_device(self.device).view([stack, len]))
    }
}
