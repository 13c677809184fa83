//! Rows: tables on the device, and which of their rows each member sees in which order.

use tch::{Device, Kind, Tensor};
use trawl_domain::seed::Purpose;

use super::stack::Stack;
use super::{TrainError, TrainJob};

/// A table on the device.
#[derive(Debug)]
pub struct DeviceTable {
    /// [rows, features].
    features: Tensor,
    /// [rows, outputs].
    targets: Tensor,
}

impl DeviceTable {
    /// Copies rows × features and rows × outputs to the device.
    pub fn from_rows(features: &[f32], targets: &[f32], rows: usize, feature_count: usize, device: Device) -> Self {
        let (rows, feature_count) = (rows as i64, feature_count as i64);
        Self {
            features: Tensor::from_slice(features)
                .view([rows, feature_count])
                .to_device(device),
            targets: Tensor::from_slice(targets).view([rows, -1]).to_device(device),
        }
    }

    /// The same memory under another handle, for another job.
    pub fn shallow_clone(&self) -> Self {
        Self {
            features: self.features.shallow_clone(),
            targets: self.targets.shallow_clone(),
        }
    }

    /// Columns that go into the network.
    pub(super) fn feature_count(&self) -> i64 {
        self.features.size()[1]
    }

    /// Features [stack, rows, features] and targets [stack, rows, outputs] of the rows [stack, rows].
    pub(super) fn gather(&self, order: &Tensor) -> (Tensor, Tensor) {
        let (stack, rows) = (order.size()[0], order.size()[1]);
        let index = order.reshape([-1]);
        let pick = |table: &Tensor| table.index_select(0, &index).view([stack, rows, table.size()[1]]);
        (pick(&self.features), pick(&self.targets))
    }

    /// All rows in their order, for each network of a stack: [stack, rows].
    pub(super) fn all_rows(&self, stack: i64, device: Device) -> Tensor {
        Tensor::arange(self.features.size()[0], (Kind::Int64, device))
            .unsqueeze(0)
            .expand([stack, -1], false)
    }
}

/// The rows of a job's members.
#[derive(Debug)]
pub(super) struct Rows {
    /// By member.
    train: Vec<Vec<u32>>,
    train_len: i64,
    /// [stack, rows], by place in the stack.
    validation: Option<Tensor>,
}

impl Rows {
    /// Splits the rows for each member.
    pub(super) fn new(job: &TrainJob) -> Result<Self, TrainError> {
        let total = job.data.features.size()[0] as u32;
        let cuts: Vec<_> = job
            .members
            .iter()
            .map(|member| job.split.rows(job.seed, total, member.fold))
            .collect();
        let lens = (cuts[0].train.len(), cuts[0].validate.len());
        if cuts.iter().any(|cut| (cut.train.len(), cut.validate.len()) != lens) || lens.0 == 0 {
            return Err(TrainError::BadJob(
                "its members have unequal numbers of rows".to_owned(),
            ));
        }
        let places = Stack::places_of(job);
        let validate: Vec<&[u32]> = places.iter().map(|member| cuts[*member].validate.as_slice()).collect();
        let validation =
            (lens.1 > 0).then(|| index(&validate, Stack::size_of(places.len()), job.data.features.device()));
        Ok(Self {
            train: cuts.into_iter().map(|cut| cut.train).collect(),
            train_len: lens.0 as i64,
            validation,
        })
    }

    /// Training rows of one member.
    pub(super) fn train_len(&self) -> i64 {
        self.train_len
    }

    /// The validation rows, [stack, rows], if there are any.
    pub(super) fn validation(&self) -> Option<&Tensor> {
        self.validation.as_ref()
    }

    /// The training rows of one epoch in each member's own random order, [stack, rows].
    pub(super) fn epoch_order(&self, job: &TrainJob, stack: &Stack, epoch: u32, device: Device) -> Tensor {
        let orders: Vec<Vec<u32>> = stack
            .places()
            .iter()
            .map(|place| {
                let member = &job.members[*place];
                let purpose = Purpose::BatchOrder {
                    owner: member.owner,
                    fold: member.fold,
                    epoch,
                };
                let rows = &self.train[*place];
                let order = job.seed.stream(purpose).permutation(rows.len());
                order.into_iter().map(|row| rows[row as usize]).collect()
            })
            .collect();
        let orders: Vec<&[u32]> = orders.iter().map(Vec::as_slice).collect();
        index(&orders, stack.size(), device)
    }
}

/// Rows of equal length as a tensor; the idle networks of the stack see what the first one sees.
fn index(rows: &[&[u32]], stack: i64, device: Device) -> Tensor {
    let padded = rows.iter().chain(std::iter::repeat(&rows[0])).take(stack as usize);
    let flat: Vec<i64> = padded.flat_map(|rows| rows.iter().map(|row| i64::from(*row))).collect();
    Tensor::from_slice(&flat).view([stack, -1]).to_device(device)
}
