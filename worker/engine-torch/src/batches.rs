//! Rows: samples on the device, and the rows of each member in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tch::{Device, Kind, Tensor};
use trawl_dataset::{Features, FittedTable, FittedTarget, Inputs, Known, SampleShape, Samples, TargetKind, Targets};
use trawl_domain::fold::{FoldRows, RowKeys, Split};
use trawl_domain::network::Architecture;
use trawl_domain::seed::{Purpose, Seed};
use trawl_engine::{EngineError, FitJob, Table};

use super::stack::Stack;
use super::{guarded, to_vec};

/// Meaning of byte features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// Pixels, to be divided by 255.
    Pixels,
    /// Plain numbers.
    Numbers,
}

impl Bytes {
    /// The meaning of the bytes of these features.
    pub(super) fn of(features: &Features) -> Self {
        match features {
            Features::Bytes(_) => Self::Pixels,
            Features::Floats(_) | Features::Whole(_) => Self::Numbers,
        }
    }
}

/// Samples on the device.
#[derive(Debug)]
pub struct DeviceTable {
    /// [rows, features] or [rows, channels, height, width]; bytes where they are pixels or whole numbers.
    features: Tensor,
    shape: SampleShape,
    bytes: Bytes,
    /// [rows, targets], or labels as [rows]; `None` where nobody knows them.
    targets: Option<Tensor>,
    classes: Option<Arc<[String]>>,
    inputs: Option<Arc<Inputs>>,
    row_keys: Option<Arc<[u32]>>,
    standardizes_target: bool,
    fits: Arc<Mutex<Fits>>,
}

/// Preparations fitted on the training rows of folds, by study and fold: jobs of a study ask for the same ones again and again.
type Fits = Vec<((Seed, Split, u32), Arc<FittedTable>)>;

/// Fits of a table that are kept; a study has 65 at most.
const FITS_KEPT_MAX: usize = 256;

impl Clone for DeviceTable {
    fn clone(&self) -> Self {
        Self {
            features: self.features.shallow_clone(),
            shape: self.shape,
            bytes: self.bytes,
            targets: self.targets.as_ref().map(Tensor::shallow_clone),
            classes: self.classes.clone(),
            inputs: self.inputs.clone(),
            row_keys: self.row_keys.clone(),
            standardizes_target: self.standardizes_target,
            fits: Arc::clone(&self.fits),
        }
    }
}

impl Table for DeviceTable {
    fn rows(&self) -> u32 {
        self.features.size()[0] as u32
    }

    fn known(&self) -> Known {
        Known {
            classes: self.classes.as_deref().map(<[_]>::to_vec),
            inputs: self.inputs.as_deref().cloned(),
        }
    }

    fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    fn is_labelled(&self) -> bool {
        self.targets.is_some()
    }

    fn features(&self, rows: &[u32]) -> Result<Features, EngineError> {
        guarded(|| {
            let index: Vec<i64> = rows.iter().copied().map(i64::from).collect();
            let index = Tensor::from_slice(&index).to_device(self.features.device());
            to_features(&self.features.index_select(0, &index), self.bytes)
        })
    }

    fn held_out(&self, split: Split, seed: Seed, fold: u32) -> Result<Vec<u32>, EngineError> {
        let mut rows = self.split(split, seed, &BTreeSet::from([fold]))?;
        Ok(rows.remove(&fold).map(|rows| rows.validate).unwrap_or_default())
    }

    fn fitted_on(&self, split: Split, seed: Seed, fold: u32) -> Result<Option<FittedTable>, EngineError> {
        let mut fitted = self.fitted(seed, split, &BTreeSet::from([fold]))?;
        Ok(fitted.remove(&fold).map(|fitted| (*fitted).clone()))
    }

    fn targets(&self) -> Result<Option<Targets>, EngineError> {
        let Some(targets) = &self.targets else { return Ok(None) };
        guarded(|| {
            let Some(names) = &self.classes else {
                return Some(Targets::Numbers(to_vec(targets)));
            };
            let mut labels = vec![0_i64; targets.numel()];
            targets.to_device(Device::Cpu).copy_data(&mut labels, targets.numel());
            Some(Targets::Classes {
                labels: labels.into_iter().map(|label| label as u32).collect(),
                names: names.to_vec(),
            })
        })
    }
}

impl DeviceTable {
    /// Copies samples to the device.
    pub(super) fn new(samples: &Samples, device: Device) -> Self {
        let shape = std::iter::once(samples.rows).chain(samples.shape.dims());
        let shape: Vec<i64> = shape.map(i64::from).collect();
        let targets = samples.targets.as_ref().map(|targets| match targets {
            Targets::Numbers(values) => Tensor::from_slice(values).view([i64::from(samples.rows), -1]),
            Targets::Classes { labels, .. } => {
                let labels: Vec<i64> = labels.iter().copied().map(i64::from).collect();
                Tensor::from_slice(&labels)
            }
        });
        Self {
            features: to_tensor(&samples.features).view(shape.as_slice()).to_device(device),
            shape: samples.shape,
            bytes: Bytes::of(&samples.features),
            targets: targets.map(|targets| targets.to_device(device)),
            classes: samples.classes().map(Arc::from),
            inputs: samples.inputs.clone().map(Arc::new),
            row_keys: samples.row_keys.as_deref().map(Arc::from),
            standardizes_target: samples.standardizes_target,
            fits: Arc::default(),
        }
    }

    /// The rows of these folds.
    fn split(&self, split: Split, seed: Seed, folds: &BTreeSet<u32>) -> Result<BTreeMap<u32, FoldRows>, EngineError> {
        let targets = match split {
            Split::Validation(validation) if validation.stratify => self.targets()?,
            Split::Validation(_) | Split::All => None,
        };
        let keys = RowKeys {
            rows: self.rows(),
            classes: match &targets {
                Some(Targets::Classes { labels, .. }) => Some(labels),
                Some(Targets::Numbers(_)) | None => None,
            },
            column: self.row_keys.as_deref(),
        };
        let rows = split.rows(seed, keys, folds);
        rows.map_err(|missing| EngineError::BadJob(missing.to_string()))
    }

    /// Memory that samples take on a device, in bytes.
    pub(super) fn bytes_of(samples: &Samples) -> usize {
        let features = match &samples.features {
            Features::Floats(values) => size_of_val(values.as_slice()),
            Features::Bytes(values) | Features::Whole(values) => values.len(),
        };
        let targets = match &samples.targets {
            None => 0,
            Some(Targets::Numbers(values)) => size_of_val(values.as_slice()),
            Some(Targets::Classes { labels, .. }) => size_of::<i64>() * labels.len(),
        };
        features + targets
    }

    /// Preparations fitted on the training rows of these folds; none where rows and targets are used as they are.
    pub(super) fn fitted(
        &self,
        seed: Seed,
        split: Split,
        folds: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, Arc<FittedTable>>, EngineError> {
        let inputs = self.inputs.as_ref().filter(|inputs| !inputs.is_plain());
        if inputs.is_none() && !self.standardizes_target {
            return Ok(BTreeMap::new());
        }
        let mut kept = self.fits.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = |kept: &Fits, fold: u32| kept.iter().any(|(key, _)| *key == (seed, split, fold));
        let new: BTreeSet<u32> = folds.iter().copied().filter(|fold| !is_kept(&kept, *fold)).collect();
        if !new.is_empty() {
            let features = inputs.map(|_| to_features(&self.features, self.bytes));
            let targets = self.targets.as_ref().filter(|_| self.standardizes_target);
            let targets = targets.map(|targets| (to_vec(targets), targets.size()[1] as usize));
            for (fold, rows) in self.split(split, seed, &new)? {
                let fitted = FittedTable {
                    inputs: inputs
                        .zip(features.as_ref())
                        .and_then(|(inputs, features)| inputs.fit(features, self.shape, &rows.train)),
                    targets: targets
                        .as_ref()
                        .map(|(targets, width)| FittedTarget::fit(targets, *width, &rows.train)),
                    words: inputs.map_or_else(Vec::new, |inputs| inputs.words()),
                };
                kept.push(((seed, split, fold), Arc::new(fitted)));
            }
        }
        let fitted = kept
            .iter()
            .filter(|(key, _)| (key.0, key.1) == (seed, split) && folds.contains(&key.2));
        let fitted = fitted.map(|(key, fitted)| (key.2, Arc::clone(fitted))).collect();
        let old = kept.len().saturating_sub(FITS_KEPT_MAX);
        kept.drain(..old);
        Ok(fitted)
    }

    /// True if the rows are of this shape.
    pub(super) fn has_shape(&self, shape: SampleShape) -> bool {
        self.shape == shape
    }

    /// All rows in their order, for each network of a stack: [stack, rows].
    pub(super) fn all_rows(&self, stack: i64) -> Tensor {
        Tensor::arange(i64::from(self.rows()), (Kind::Int64, self.features.device()))
            .unsqueeze(0)
            .expand([stack, -1], false)
    }

    /// These rows, for each network of a stack: [stack, rows].
    pub(super) fn rows_alike(&self, rows: &[u32], stack: i64) -> Tensor {
        let rows: Vec<i64> = rows.iter().copied().map(i64::from).collect();
        let rows = Tensor::from_slice(&rows).to_device(self.features.device());
        rows.unsqueeze(0).expand([stack, -1], false)
    }

    /// True if the rows fit this input and, where they have targets, these outputs.
    pub(super) fn fits(&self, architecture: &Architecture) -> bool {
        let wants_classes = architecture.loss.target_kind() == TargetKind::Class;
        let outputs = architecture.output().map_or(0, SampleShape::len) as i64;
        let fits = |targets: &Tensor| {
            self.classes.is_some() == wants_classes && (wants_classes || targets.size()[1] == outputs)
        };
        self.has_shape(architecture.input) && self.targets.as_ref().is_none_or(fits)
    }

    /// Inputs of the networks, [stack, rows, …], for the rows [stack, rows].
    pub(super) fn gather_features(&self, order: &Tensor) -> Tensor {
        as_input(pick(&self.features, &order.contiguous()), self.bytes)
    }

    /// Features [stack, rows, …] and targets [stack, rows, targets], or labels [stack, rows], of the rows [stack, rows].
    ///
    /// # Panics
    /// The rows have no targets.
    pub(super) fn gather(&self, order: &Tensor) -> (Tensor, Tensor) {
        let order = order.contiguous();
        let targets = self
            .targets
            .as_ref()
            .expect("rows that train or are measured have targets");
        (self.gather_features(&order), pick(targets, &order))
    }
}

/// From a table [rows, …], the rows [stack, rows], which are contiguous, as [stack, rows, …].
fn pick(table: &Tensor, order: &Tensor) -> Tensor {
    let shape = [&order.size()[..], &table.size()[1..]].concat();
    table.index_select(0, &order.view([-1])).view(shape.as_slice())
}

/// Features of a tensor on any device.
fn to_features(features: &Tensor, bytes: Bytes) -> Features {
    if features.kind() != Kind::Uint8 {
        return Features::Floats(to_vec(features));
    }
    let mut values = vec![0; features.numel()];
    features.to_device(Device::Cpu).copy_data(&mut values, features.numel());
    match bytes {
        Bytes::Pixels => Features::Bytes(values),
        Bytes::Numbers => Features::Whole(values),
    }
}

/// Features as they are, on the CPU.
pub(super) fn to_tensor(features: &Features) -> Tensor {
    match features {
        Features::Floats(values) => Tensor::from_slice(values),
        Features::Bytes(values) | Features::Whole(values) => Tensor::from_slice(values),
    }
}

/// Features as network inputs: pixels divided by 255.
pub(super) fn as_input(features: Tensor, bytes: Bytes) -> Tensor {
    match (features.kind(), bytes) {
        (Kind::Uint8, Bytes::Pixels) => features.to_kind(Kind::Float) / 255.0,
        (Kind::Uint8, Bytes::Numbers) => features.to_kind(Kind::Float),
        _ => features,
    }
}

/// The rows of a stack's members.
#[derive(Debug)]
pub(super) struct Rows {
    /// By place in the stack.
    train: Vec<Vec<u32>>,
    train_len: i64,
    validation: Option<Order>,
}

/// Most row numbers, over all networks of a stack, that are on the device at once: an epoch of FashionMNIST.
const ORDER_LEN_MAX: usize = 1 << 22;

/// Rows in the order in which the networks of a stack see them.
#[derive(Debug)]
pub(super) struct Order {
    /// Lists of equal length, by place in the stack.
    rows: Vec<Vec<u32>>,
    stack: i64,
    device: Device,
    /// [stack, rows], if they are few.
    whole: Option<Tensor>,
}

impl Order {
    fn new(rows: Vec<Vec<u32>>, stack: i64, device: Device) -> Self {
        let len = rows[0].len();
        let whole = (len.saturating_mul(stack as usize) <= ORDER_LEN_MAX).then(|| index(&rows, 0..len, stack, device));
        Self {
            rows,
            stack,
            device,
            whole,
        }
    }

    /// Rows that each network sees.
    pub(super) fn len(&self) -> i64 {
        self.rows[0].len() as i64
    }

    /// `len` rows from `start` on, [stack, rows].
    pub(super) fn piece(&self, start: i64, len: i64) -> Tensor {
        match &self.whole {
            Some(whole) => whole.narrow(1, start, len),
            None => index(
                &self.rows,
                start as usize..(start + len) as usize,
                self.stack,
                self.device,
            ),
        }
    }
}

impl Rows {
    /// Splits the rows for each member.
    pub(super) fn new(job: &FitJob<DeviceTable>, stack: &Stack) -> Result<Self, EngineError> {
        let folds = || stack.places().iter().map(|member| job.members[*member].fold);
        let by_fold = job.data.split(job.split, job.seed, &folds().collect())?;
        let cuts: Vec<_> = folds().map(|fold| by_fold[&fold].clone()).collect();
        let lens = (cuts[0].train.len(), cuts[0].validate.len());
        if cuts.iter().any(|cut| (cut.train.len(), cut.validate.len()) != lens) || lens.0 == 0 {
            return Err(EngineError::BadJob(
                "its members have unequal numbers of rows".to_owned(),
            ));
        }
        let (train, validate) = cuts.into_iter().map(|cut| (cut.train, cut.validate)).unzip();
        let device = job.data.features.device();
        Ok(Self {
            train,
            train_len: lens.0 as i64,
            validation: (lens.1 > 0).then(|| Order::new(validate, stack.size(), device)),
        })
    }

    /// The training rows by place in the stack.
    pub(super) fn train(&self) -> &[Vec<u32>] {
        &self.train
    }

    /// Training rows of one member.
    pub(super) fn train_len(&self) -> i64 {
        self.train_len
    }

    /// Steps of an epoch with `batch_size` rows each.
    pub(super) fn steps_in_epoch(&self, batch_size: u32) -> u64 {
        (self.train_len as u64).div_ceil(u64::from(batch_size))
    }

    /// The validation rows, if there are any.
    pub(super) fn validation(&self) -> Option<&Order> {
        self.validation.as_ref()
    }

    /// The training rows of one epoch in each member's own random order.
    pub(super) fn epoch_order(&self, job: &FitJob<DeviceTable>, stack: &Stack, epoch: u32, device: Device) -> Order {
        let orders = stack
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
        Order::new(orders, stack.size(), device)
    }
}

/// A part of equally long lists of rows as a tensor; the idle networks of the stack see the rows of the first one.
fn index(rows: &[Vec<u32>], part: Range<usize>, stack: i64, device: Device) -> Tensor {
    let padded = rows.iter().chain(std::iter::repeat(&rows[0])).take(stack as usize);
    let part = padded.map(|rows| &rows[part.clone()]);
    let flat: Vec<i64> = part.flat_map(|rows| rows.iter().map(|row| i64::from(*row))).collect();
    Tensor::from_slice(&flat).view([stack, -1]).to_device(device)
}

#[cfg(test)]
mod tests {
    use trawl_domain::fold::{By, Validation};

    use super::*;

    #[test]
    fn rows_come_in_the_same_order_whole_and_in_pieces() {
        let rows = vec![vec![3, 1, 2, 0, 4], vec![4, 0, 1, 3, 2]];
        let whole = Order::new(rows.clone(), 4, Device::Cpu);
        let pieces = Order {
            whole: None,
            ..Order::new(rows, 4, Device::Cpu)
        };
        assert!(whole.whole.is_some());
        for (start, len) in [(0, 2), (2, 2), (4, 1)] {
            assert_eq!(whole.piece(start, len), pieces.piece(start, len));
            assert_eq!(pieces.piece(start, len).size(), [4, len]);
        }
    }

    /// A table, and the memory of its tensors.
    fn table(features: Features, targets: Targets) -> (DeviceTable, usize) {
        let samples = Samples {
            rows: 3,
            shape: SampleShape::Vector(2),
            features,
            targets: Some(targets),
            inputs: None,
            row_keys: None,
            standardizes_target: false,
        };
        let table = DeviceTable::new(&samples, Device::Cpu);
        let tensors = std::iter::once(&table.features).chain(&table.targets);
        let bytes = tensors.map(|tensor| tensor.numel() * tensor.kind().elt_size_in_bytes());
        let bytes = bytes.sum();
        assert_eq!(DeviceTable::bytes_of(&samples), bytes);
        (table, bytes)
    }

    #[test]
    fn a_table_of_bytes_goes_into_a_network_as_its_numbers() {
        let values = [0_u8, 1, 7, 128, 254, 255];
        let targets = Targets::Numbers(vec![0.0; 3]);
        let (whole, bytes_of_whole) = table(Features::Whole(values.to_vec()), targets.clone());
        let (floats, bytes_of_floats) = table(Features::Floats(values.map(f32::from).to_vec()), targets);
        let order = Tensor::from_slice(&[2_i64, 0, 1]).view([1, 3]);
        assert_eq!(whole.gather(&order), floats.gather(&order));
        assert_eq!(whole.features(&[1]).expect("a row"), Features::Whole(vec![7, 128]));
        assert_eq!((bytes_of_whole, bytes_of_floats), (6 + 12, 24 + 12));
    }

    #[test]
    fn classes_are_split_by_their_labels_and_numbers_are_not() {
        let names = vec!["a".into(), "b".into()];
        let labels = Targets::Classes {
            labels: vec![1, 0, 0],
            names,
        };
        let halves = Split::Validation(Validation {
            stratify: true,
            shuffle: false,
            ..Validation::k_fold(2)
        });
        let split = |targets| {
            let (table, _) = table(Features::Whole(vec![7; 6]), targets);
            table.split(halves, Seed(7), &BTreeSet::from([1]))
        };
        let rows = split(labels).expect("rows with labels");
        assert_eq!((&rows[&1].train[..], &rows[&1].validate[..]), (&[0, 1][..], &[2][..]));
        assert!(matches!(
            split(Targets::Numbers(vec![0.5; 3])),
            Err(EngineError::BadJob(_))
        ));
    }

    #[test]
    fn a_column_splits_the_rows_and_what_is_fitted_on_them() {
        let by_groups = Split::Validation(Validation {
            by: By::Groups,
            shuffle: false,
            ..Validation::k_fold(2)
        });
        let samples = Samples {
            rows: 5,
            shape: SampleShape::Vector(1),
            features: Features::Floats(vec![0.0; 5]),
            targets: Some(Targets::Numbers(vec![1.0, 2.0, 30.0, 3.0, 50.0])),
            inputs: None,
            row_keys: Some(vec![0, 0, 1, 0, 1]),
            standardizes_target: true,
        };
        let table = DeviceTable::new(&samples, Device::Cpu);
        let rows = table
            .split(by_groups, Seed(7), &BTreeSet::from([0, 1]))
            .expect("groups");
        assert_eq!(
            (&rows[&0].train[..], &rows[&0].validate[..]),
            (&[2, 4][..], &[0, 1, 3][..])
        );
        let fitted = table
            .fitted(Seed(7), by_groups, &BTreeSet::from([0, 1]))
            .expect("fitted");
        let mean = |fold: u32| fitted[&fold].targets.as_ref().map(|targets| targets[0].mean);
        assert_eq!((mean(0), mean(1)), (Some(40.0), Some(2.0)));
        let without = Samples {
            row_keys: None,
            ..samples
        };
        let table = DeviceTable::new(&without, Device::Cpu);
        assert!(matches!(
            table.split(by_groups, Seed(7), &BTreeSet::from([0])),
            Err(EngineError::BadJob(_))
        ));
    }

    #[test]
    fn a_label_takes_eight_bytes_and_bytes_stay_bytes() {
        let labels = Targets::Classes {
            labels: vec![0, 1, 0],
            names: vec!["a".into(), "b".into()],
        };
        assert_eq!(table(Features::Whole(vec![7; 6]), labels).1, 6 + 3 * 8);
    }
}
