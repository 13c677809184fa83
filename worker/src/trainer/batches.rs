//! Rows: samples on the device, and which of their rows each member sees in which order.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use trawl_domain::dataset::{FeatureRows, Features, SampleShape, Samples, TargetKind, Targets};
use trawl_domain::network::Architecture;
use trawl_domain::seed::Purpose;

use super::stack::Stack;
use super::{TrainError, TrainJob, guarded, on_device, to_vec};

/// Features on the device.
#[derive(Debug)]
pub struct DeviceFeatures(
    /// [rows, features] or [rows, channels, height, width]; bytes where they are pixels, to be divided by 255.
    Tensor,
);

impl DeviceFeatures {
    /// Copies rows without targets to the device.
    ///
    /// # Errors
    /// The device has too little memory for them, libtorch failed, or the device is lost.
    pub fn new(rows: &FeatureRows, device: Device) -> Result<Self, TrainError> {
        on_device(device, || Ok(Self::of(rows.rows, rows.shape, &rows.features, device)))
    }

    fn of(rows: u32, shape: SampleShape, features: &Features, device: Device) -> Self {
        let shape: Vec<i64> = std::iter::once(rows).chain(shape.dims()).map(i64::from).collect();
        let features = match features {
            Features::Floats(values) => Tensor::from_slice(values),
            Features::Bytes(pixels) => Tensor::from_slice(pixels),
        };
        Self(features.view(shape.as_slice()).to_device(device))
    }

    /// Rows.
    pub fn rows(&self) -> u32 {
        self.0.size()[0] as u32
    }

    /// True if the rows are of this shape.
    pub(super) fn fit(&self, shape: SampleShape) -> bool {
        let dims: Vec<i64> = shape.dims().into_iter().map(i64::from).collect();
        self.0.size()[1..] == dims
    }

    /// As they go into a network, [stack, rows, …], of the rows [stack, rows].
    pub(super) fn gather(&self, order: &Tensor) -> Tensor {
        as_input(pick(&self.0, &order.contiguous()))
    }

    /// All rows in their order, for each network of a stack: [stack, rows].
    pub(super) fn all_rows(&self, stack: i64, device: Device) -> Tensor {
        Tensor::arange(i64::from(self.rows()), (Kind::Int64, device))
            .unsqueeze(0)
            .expand([stack, -1], false)
    }
}

/// Samples on the device.
#[derive(Debug)]
pub struct DeviceTable {
    features: DeviceFeatures,
    /// [rows, 1], or labels as [rows].
    targets: Tensor,
    classes: Option<Arc<[String]>>,
}

impl DeviceTable {
    /// Copies samples to the device.
    ///
    /// # Errors
    /// The device has too little memory for them, libtorch failed, or the device is lost.
    pub fn new(samples: &Samples, device: Device) -> Result<Self, TrainError> {
        on_device(device, || {
            let targets = match &samples.targets {
                Targets::Numbers(values) => Tensor::from_slice(values).view([i64::from(samples.rows), 1]),
                Targets::Classes { labels, .. } => {
                    let labels: Vec<i64> = labels.iter().copied().map(i64::from).collect();
                    Tensor::from_slice(&labels)
                }
            };
            Ok(Self {
                features: DeviceFeatures::of(samples.rows, samples.shape, &samples.features, device),
                targets: targets.to_device(device),
                classes: samples.classes().map(Arc::from),
            })
        })
    }

    /// The same memory under another handle, for another job.
    pub fn shallow_clone(&self) -> Self {
        Self {
            features: DeviceFeatures(self.features.0.shallow_clone()),
            targets: self.targets.shallow_clone(),
            classes: self.classes.clone(),
        }
    }

    /// Names of the classes, where there are any.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// Rows.
    pub fn rows(&self) -> u32 {
        self.features.rows()
    }

    /// All features, on the device.
    pub fn inputs(&self) -> &DeviceFeatures {
        &self.features
    }

    /// Features of these rows, row by row, off the device.
    ///
    /// # Errors
    /// [`TrainError::Failed`] if they cannot be read from the device, as for a row that is not there.
    pub fn features(&self, rows: &[u32]) -> Result<Features, TrainError> {
        guarded(|| {
            let index: Vec<i64> = rows.iter().copied().map(i64::from).collect();
            let index = Tensor::from_slice(&index).to_device(self.features.0.device());
            let features = self.features.0.index_select(0, &index).to_device(Device::Cpu);
            if features.kind() == Kind::Uint8 {
                let mut pixels = vec![0; features.numel()];
                features.copy_data(&mut pixels, features.numel());
                Features::Bytes(pixels)
            } else {
                Features::Floats(to_vec(&features))
            }
        })
    }

    /// Targets of all rows, off the device.
    ///
    /// # Errors
    /// [`TrainError::Failed`] if they cannot be read from the device.
    pub fn targets(&self) -> Result<Targets, TrainError> {
        guarded(|| {
            let Some(names) = &self.classes else {
                return Targets::Numbers(to_vec(&self.targets));
            };
            let mut labels = vec![0_i64; self.targets.numel()];
            self.targets
                .to_device(Device::Cpu)
                .copy_data(&mut labels, self.targets.numel());
            Targets::Classes {
                labels: labels.into_iter().map(|label| label as u32).collect(),
                names: names.to_vec(),
            }
        })
    }

    /// True if the rows fit this input and these outputs.
    pub(super) fn fits(&self, architecture: &Architecture) -> bool {
        let wants_classes = architecture.loss.target_kind() == TargetKind::Class;
        self.features.fit(architecture.input) && self.classes.is_some() == wants_classes
    }

    /// Features [stack, rows, …] and targets [stack, rows, 1], or labels [stack, rows], of the rows [stack, rows].
    pub(super) fn gather(&self, order: &Tensor) -> (Tensor, Tensor) {
        let order = order.contiguous();
        (self.features.gather(&order), pick(&self.targets, &order))
    }

    /// All rows in their order, for each network of a stack: [stack, rows].
    pub(super) fn all_rows(&self, stack: i64, device: Device) -> Tensor {
        self.features.all_rows(stack, device)
    }
}

/// Of a table [rows, …] the rows [stack, rows], which are contiguous, as [stack, rows, …].
fn pick(table: &Tensor, order: &Tensor) -> Tensor {
    let shape = [&order.size()[..], &table.size()[1..]].concat();
    table.index_select(0, &order.view([-1])).view(shape.as_slice())
}

/// Features as they go into a network: pixels divided by 255.
pub(super) fn as_input(features: Tensor) -> Tensor {
    if features.kind() == Kind::Uint8 {
        features.to_kind(Kind::Float) / 255.0
    } else {
        features
    }
}

/// The rows of a stack's members.
#[derive(Debug)]
pub(super) struct Rows {
    /// By place in the stack.
    train: Vec<Vec<u32>>,
    train_len: i64,
    /// [stack, rows], by place in the stack.
    validation: Option<Tensor>,
}

impl Rows {
    /// Splits the rows for each member.
    pub(super) fn new(job: &TrainJob, stack: &Stack) -> Result<Self, TrainError> {
        let total = job.data.rows();
        let cuts: Vec<_> = stack
            .places()
            .iter()
            .map(|member| job.split.rows(job.seed, total, job.members[*member].fold))
            .collect();
        let lens = (cuts[0].train.len(), cuts[0].validate.len());
        if cuts.iter().any(|cut| (cut.train.len(), cut.validate.len()) != lens) || lens.0 == 0 {
            return Err(TrainError::BadJob(
                "its members have unequal numbers of rows".to_owned(),
            ));
        }
        let validate: Vec<&[u32]> = cuts.iter().map(|cut| cut.validate.as_slice()).collect();
        let validation = (lens.1 > 0).then(|| index(&validate, stack.size(), job.data.features.0.device()));
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
            .zip(&self.train)
            .map(|(member, rows)| {
                let member = &job.members[*member];
                let purpose = Purpose::BatchOrder {
                    owner: member.owner,
                    fold: member.fold,
                    epoch,
                };
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
