//! Reads the files that a study names: by a path on this machine, by the hash of a registered file, or as FashionMNIST.
//!
//! Only one part of one dataset is in memory at a time, however many studies are submitted. It is read in pieces, on a
//! thread that serves no calls.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use trawl_dataset::{
    Allowance, Content as _, DatasetShape, FileContent, FileHash, FileHasher, FilePlace, FileRef, Inputs, Known, Part,
    PartName, ReadError, Role, RowsDigest, SampleShape, Samples, Source, TargetKind, Targets,
};
use trawl_domain::fold::{FoldSize, RowKeys};
use trawl_domain::limits::{DATASET_BYTES_MAX, DATASET_VALUES_MAX};
use trawl_domain::violation::Violations;
use trawl_proto::study::{Folds, TrainingRows};

use super::{App, AppError, Settings, dataset_dir};
use crate::files::Fingerprint;
use crate::store::dataset_files;

/// Prefix of a path that names a registered file.
const REGISTERED: &str = "sha256:";

/// A file that was read.
#[derive(Clone, Debug)]
pub(super) struct DatasetFile {
    pub(super) fingerprint: Fingerprint,
    place: FilePlace,
}

/// The files of one part.
pub(super) type PartFiles = Part<DatasetFile>;

/// The files of a dataset.
#[derive(Debug)]
pub(super) struct DatasetFiles {
    pub(super) train: PartFiles,
    pub(super) validation: Option<PartFiles>,
    pub(super) test: Option<PartFiles>,
    /// False if the test rows have no targets.
    pub(super) test_is_labelled: bool,
    /// Rows of each class in the training part and the validation part together.
    pub(super) class_sizes: Vec<u32>,
    /// Rows of each class in the validation part.
    pub(super) validation_class_sizes: Vec<u32>,
    /// The meaning of a table's columns.
    pub(super) inputs: Option<Inputs>,
    /// Names of the classes; `None` where numbers are predicted.
    pub(super) classes: Option<Vec<String>>,
    /// The training rows.
    pub(super) rows: ReadRows,
}

/// What is kept of the training rows.
#[derive(Debug)]
pub(super) struct ReadRows {
    shape: DatasetShape,
    keys: Option<ReadKeys>,
    /// The only fold, where a validation part is given.
    fold: Option<[FoldSize; 1]>,
    gaps: Vec<u32>,
}

/// Values of the column that rows are split by, and the rows' classes.
#[derive(Debug)]
struct ReadKeys {
    column: Vec<u32>,
    classes: Option<Vec<u32>>,
}

impl ReadRows {
    /// Facts that a study is checked against.
    pub(super) fn known(&self) -> TrainingRows<'_> {
        let keys = RowKeys {
            rows: self.shape.train_rows,
            classes: self.keys.as_ref().and_then(|keys| keys.classes.as_deref()),
            column: self.keys.as_ref().map(|keys| &keys.column[..]),
        };
        TrainingRows {
            shape: self.shape,
            folds: match &self.fold {
                Some(fold) => Folds::Sizes(fold),
                None => Folds::OfRows(keys),
            },
        }
    }

    /// These rows, followed by the rows of a validation part.
    ///
    /// # Errors
    /// Why the validation rows do not fit this dataset.
    fn with(mut self, validation: &Self) -> Result<Self, String> {
        let train = self.shape.train_rows;
        self.shape = self.shape.with(validation.shape)?;
        self.fold = Some([FoldSize {
            train,
            validate: validation.shape.train_rows,
        }]);
        add(&mut self.gaps, &validation.gaps);
        Ok(self)
    }

    /// Drops the data that single rows are split by: it is as long as the table.
    pub(super) fn forget_keys(&mut self) {
        self.keys = None;
    }

    /// Empty cells, by column of a table.
    pub(super) fn gaps(&self) -> &[u32] {
        &self.gaps
    }

    /// `None` without targets.
    fn of(samples: Samples) -> Option<Self> {
        let (shape, gaps) = (samples.dataset_shape()?, samples.gaps());
        let classes = match samples.targets {
            Some(Targets::Classes { labels, .. }) => Some(labels),
            Some(Targets::Numbers(_)) | None => None,
        };
        let keys = samples.row_keys.map(|column| ReadKeys { column, classes });
        Some(Self {
            shape,
            keys,
            fold: None,
            gaps,
        })
    }
}

/// Adds numbers, element by element.
fn add(to: &mut [u32], others: &[u32]) {
    to.iter_mut().zip(others).for_each(|(own, other)| *own += other);
}

impl DatasetFiles {
    /// True if the study names all files by hash: then its submitter has them, and may see their content.
    pub(super) fn are_registered(&self) -> bool {
        self.all().all(|file| is_registered(&file.place))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &DatasetFile> {
        let further = self.validation.iter().chain(&self.test);
        self.train.files().chain(further.flat_map(Part::files))
    }
}

impl DatasetFile {
    /// The file, opened again to be registered; `None` if it is registered already.
    pub(super) async fn open(&self, app: &App) -> Result<Option<tokio::fs::File>, AppError> {
        if is_registered(&self.place) {
            return Ok(None);
        }
        let (settings, place) = (app.settings.clone(), self.place.clone());
        let opened = on_thread(move || open(&settings, &place)).await?;
        let file = opened.map_err(|_| AppError::Unavailable("a dataset file is gone; submit again"))?;
        Ok(Some(tokio::fs::File::from_std(file)))
    }
}

/// Reads the files of a dataset and checks their content.
///
/// # Errors
/// The store is away. An unreadable or unsuitable file is a violation of the field that names it.
pub(super) async fn read_dataset(
    app: &App,
    source: &Source,
    kind: TargetKind,
) -> Result<Result<DatasetFiles, Violations>, AppError> {
    let turn = Arc::clone(&app.dataset_reading).acquire_owned().await;
    let turn = turn.map_err(|_| AppError::Unavailable("the coordinator stops"))?;
    let stop = CancellationToken::new();
    // Cancelled with the call: when its time is over, or its caller is gone.
    let _stops = stop.clone().drop_guard();
    let mut reading = Reading {
        app,
        source,
        kind,
        values: DATASET_VALUES_MAX,
        turn: Arc::new(turn),
        stop,
        violations: Violations::new(),
    };
    let mut train = reading.part(PartName::Train, &source.train, None).await?;
    let validation = match &source.validation {
        Some(named) => Some(reading.part(PartName::Validation, named, Some(&train)).await?),
        None => None,
    };
    let test = match &source.test {
        Some(named) => Some(reading.part(PartName::Test, named, Some(&train)).await?),
        None => None,
    };
    let validation_content = validation.as_ref().and_then(|validation| validation.content.as_ref());
    let test_content = test.as_ref().and_then(|test| test.content.as_ref());
    if let (Some(named), Some(validation)) = (&source.validation, validation_content) {
        reading.join(named, &mut train, validation);
    }
    if let (Some(named), Some(train), Some(test)) = (&source.test, &train.content, test_content) {
        reading.check_test(named, train, validation_content, test);
    }
    let known = train
        .content
        .as_ref()
        .map(|train| train.known.clone())
        .unwrap_or_default();
    let test_is_labelled = test_content.is_none_or(|test| test.is_labelled);
    let validation_class_sizes = validation_content.map(|validation| validation.class_sizes.clone());
    let content = train
        .content
        .and_then(|content| Some((content.training?, content.class_sizes)));
    let read = train
        .files
        .zip(content)
        .map(|(files, (rows, class_sizes))| DatasetFiles {
            train: files,
            validation: validation.and_then(|validation| validation.files),
            test: test.and_then(|test| test.files),
            test_is_labelled,
            class_sizes,
            validation_class_sizes: validation_class_sizes.unwrap_or_default(),
            inputs: known.inputs,
            classes: known.classes,
            rows,
        });
    Ok(reading.violations.into_result(read))
}

/// A dataset that is being read.
struct Reading<'a> {
    app: &'a App,
    source: &'a Source,
    kind: TargetKind,
    /// Numbers that may still be read.
    values: u64,
    /// Held until the last thread that reads this dataset has ended.
    turn: Arc<OwnedSemaphorePermit>,
    stop: CancellationToken,
    violations: Violations,
}

/// One part: its files, if all exist, and its content, if it is valid.
struct ReadPart {
    files: Option<PartFiles>,
    content: Option<PartContent>,
}

/// What is kept of the content of a part.
struct PartContent {
    /// Present for a part with targets.
    training: Option<ReadRows>,
    sample: SampleShape,
    known: Known,
    class_sizes: Vec<u32>,
    is_labelled: bool,
    rows: RowsDigest,
}

impl Reading<'_> {
    /// Reads a part; after a broken training part, only checks that the files of other parts exist.
    async fn part(
        &mut self,
        part: PartName,
        named: &Part<FileRef>,
        train: Option<&ReadPart>,
    ) -> Result<ReadPart, AppError> {
        let features = self.file(&named.features).await?;
        let targets = match &named.targets {
            Some(file) => Some(self.file(file).await?),
            None => None,
        };
        let (Some((features, features_content)), Some(targets)) = (features, transpose(targets)) else {
            return Ok(ReadPart {
                files: None,
                content: None,
            });
        };
        let (targets, targets_content) = targets.unzip();
        let content = Part {
            features: features_content,
            targets: targets_content,
        };
        let content = match train.map(|train| train.content.as_ref()) {
            Some(None) => None,
            Some(Some(train)) => self.parse(part, named, content, train.known.clone()).await?,
            None => self.parse(part, named, content, Known::default()).await?,
        };
        Ok(ReadPart {
            files: Some(Part { features, targets }),
            content,
        })
    }

    /// Appends the rows of the validation part to the training rows, if both fit one dataset.
    fn join(&mut self, named: &Part<FileRef>, train: &mut ReadPart, validation: &PartContent) {
        let field = &named.features.field;
        let Some(content) = &mut train.content else {
            return;
        };
        if validation.rows == content.rows {
            self.violations.add(
                field,
                "has the very rows of the training part: trials would be measured on the rows that they learned from; name other rows",
            );
        }
        add(&mut content.class_sizes, &validation.class_sizes);
        let joined = content.training.take().zip(validation.training.as_ref());
        match joined.map(|(train, validation)| train.with(validation)) {
            Some(Ok(rows)) => content.training = Some(rows),
            Some(Err(reason)) => self.violations.add(field, reason),
            None => {}
        }
    }

    /// Checks that the test part fits the other parts.
    fn check_test(
        &mut self,
        named: &Part<FileRef>,
        train: &PartContent,
        validation: Option<&PartContent>,
        test: &PartContent,
    ) {
        let field = &named.features.field;
        if test.sample != train.sample {
            self.violations.add(
                field,
                format!(
                    "has rows of {}, and the training part rows of {}",
                    test.sample, train.sample
                ),
            );
            return;
        }
        let same = match validation {
            _ if test.rows == train.rows => "the training part",
            Some(validation) if test.rows == validation.rows => "the validation part",
            _ => return,
        };
        if !self.source.test_is_train {
            self.violations.add(
                field,
                format!(
                    "has the very rows of {same}: what is measured on them says nothing about new rows; name other files or \
                     arrays, or say that it is meant by `test_is_train: true` in `dataset`"
                ),
            );
        }
    }

    /// Reads a part's files, and drops the content; `known` is what the training part shows, for other parts.
    async fn parse(
        &mut self,
        part: PartName,
        named: &Part<FileRef>,
        content: Part<FileContent>,
        known: Known,
    ) -> Result<Option<PartContent>, AppError> {
        let (format, kind, values) = (self.source.format.clone(), self.kind, self.values);
        let (turn, stop) = (Arc::clone(&self.turn), self.stop.clone());
        let parsed = on_thread(move || {
            let mut allowance = Allowance {
                values,
                go_on: &|| !stop.is_cancelled(),
            };
            let role = Role::of(part, &known);
            let part = content.as_ref().map(|content| content as &dyn trawl_dataset::Content);
            let samples = trawl_dataset::read(&format, kind, role, part, &mut allowance);
            let found = samples.map(|samples| PartContent {
                sample: samples.shape,
                known: samples.known(),
                class_sizes: samples.class_sizes(),
                is_labelled: samples.targets.is_some(),
                rows: samples.rows_digest(),
                training: ReadRows::of(samples),
            });
            let values = allowance.values;
            // Their memory is free before the next turn begins, except for the data that rows are split by.
            drop((content, turn));
            (found, values)
        });
        let (found, values) = parsed.await?;
        self.values = values;
        Ok(found.map_err(|error| self.refuse(part, named, &error)).ok())
    }

    fn refuse(&mut self, part: PartName, named: &Part<FileRef>, error: &ReadError) {
        let file = named.targets.as_ref().filter(|_| error.in_targets);
        let file = file.unwrap_or(&named.features);
        // A message quotes a file's content only if the submitter has the file, as its hash proves.
        let mut places = self.source.files().map(|file| &file.place);
        let reason = if places.all(is_registered) {
            &error.reason
        } else {
            &error.unquoted
        };
        let field = self.source.field_of(part, error);
        self.violations
            .add(field, format!("{}: {reason}", name_of(&file.place)));
    }

    /// Opens one file; `None` if it is unavailable, which is noted.
    async fn file(&mut self, file: &FileRef) -> Result<Option<(DatasetFile, FileContent)>, AppError> {
        let (turn, stop) = (Arc::clone(&self.turn), self.stop.clone());
        let read = match registered_name(&file.place) {
            Some(name) => match open_registered(self.app, name).await? {
                Ok((hash, opened)) => {
                    on_thread(move || {
                        let read = check_registered(hash, opened, &stop);
                        drop(turn);
                        read
                    })
                    .await?
                }
                Err(reason) => Err(reason),
            },
            None => {
                let (settings, place) = (self.app.settings.clone(), file.place.clone());
                on_thread(move || {
                    let read = read_file(&settings, &place, &stop);
                    drop(turn);
                    read
                })
                .await?
            }
        };
        Ok(match read {
            Ok((fingerprint, content)) => {
                let file = DatasetFile {
                    fingerprint,
                    place: file.place.clone(),
                };
                Some((file, content))
            }
            Err(reason) => {
                self.violations.add(&file.field, reason);
                None
            }
        })
    }
}

/// `None` if something was wanted and is missing.
fn transpose<T>(asked: Option<Option<T>>) -> Option<Option<T>> {
    match asked {
        Some(None) => None,
        Some(found) => Some(found),
        None => Some(None),
    }
}

/// Runs slow or blocking work on a thread that serves no calls.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AppError> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| AppError::Internal(format!("reading a dataset: {error}")))
}

/// The name that a request uses for a file.
fn name_of(place: &FilePlace) -> &str {
    match place {
        FilePlace::Named(path) => path,
        FilePlace::FashionMnist { name, .. } => name,
    }
}

fn registered_name(place: &FilePlace) -> Option<&str> {
    match place {
        FilePlace::Named(path) => path.strip_prefix(REGISTERED),
        FilePlace::FashionMnist { .. } => None,
    }
}

fn is_registered(place: &FilePlace) -> bool {
    registered_name(place).is_some()
}

async fn open_registered(app: &App, hash: &str) -> Result<Result<(FileHash, File), String>, AppError> {
    let Ok(hash) = hash.parse::<FileHash>() else {
        return Ok(Err(format!("{REGISTERED} must be followed by 64 hexadecimal digits")));
    };
    let mut conn = app.pool.acquire().await?;
    if !dataset_files::is_there(&mut conn, hash).await? {
        return Ok(Err(format!("no file with the hash {hash} is registered")));
    }
    drop(conn);
    let opened = app.files.open_file(&dataset_files::object_key(hash)).await?;
    Ok(Ok((hash, opened)))
}

fn check_registered(
    hash: FileHash,
    opened: File,
    stop: &CancellationToken,
) -> Result<(Fingerprint, FileContent), String> {
    let content = FileContent::new(opened).map_err(|error| format!("the file with the hash {hash}: {error}"))?;
    match fingerprint(&content, stop) {
        Ok(Some(fingerprint)) if fingerprint.sha256 == hash => Ok((fingerprint, content)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err("takes too long to be read".to_owned()),
        _ => Err(format!("the file with the hash {hash} is broken; register it again")),
    }
}

/// A file of this machine.
fn read_file(
    settings: &Settings,
    place: &FilePlace,
    stop: &CancellationToken,
) -> Result<(Fingerprint, FileContent), String> {
    let failed = |error: io::Error| match place {
        _ if error.kind() == io::ErrorKind::Interrupted => "takes too long to be read".to_owned(),
        FilePlace::FashionMnist { name, .. } => format!("the coordinator's {name}: {error}"),
        FilePlace::Named(path) => unreadable(path),
    };
    let content = FileContent::new(open(settings, place)?).map_err(failed)?;
    let Some(fingerprint) = fingerprint(&content, stop).map_err(failed)? else {
        return Err(format!("{} {}", name_of(place), trawl_dataset::TOO_LARGE));
    };
    match place {
        FilePlace::FashionMnist { name, sha256 } if fingerprint.sha256.to_string() != *sha256 => Err(format!(
            "the coordinator's {name} is not FashionMNIST's: its hash is another"
        )),
        _ => Ok((fingerprint, content)),
    }
}

/// Size and hash of a file; `None` if it is larger than a dataset's file may be.
///
/// # Errors
/// It cannot be read, or the caller no longer waits.
fn fingerprint(content: &FileContent, stop: &CancellationToken) -> io::Result<Option<Fingerprint>> {
    const PIECE_BYTES: usize = 1 << 20;
    if content.bytes() > DATASET_BYTES_MAX {
        return Ok(None);
    }
    let mut source = content.open()?;
    let (mut hasher, mut bytes) = (FileHasher::default(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = source.read(&mut piece)?;
        if len == 0 {
            let sha256 = hasher.finish();
            return Ok(Some(Fingerprint { bytes, sha256 }));
        }
        hasher.update(&piece[..len]);
        bytes += len as u64;
        // The file may grow meanwhile.
        if bytes > DATASET_BYTES_MAX {
            return Ok(None);
        }
    }
}

fn open(settings: &Settings, place: &FilePlace) -> Result<File, String> {
    match place {
        FilePlace::FashionMnist { name, .. } => fashion_mnist(settings, name),
        FilePlace::Named(path) => match &settings.dataset_dir {
            Some(folder) => folder.open(path).map_err(|_| unreadable(path)),
            None => Err(format!(
                "'{path}' is a path, and this coordinator reads none: `trawl submit` sends the files of a study file, and \
                 --dataset-dir gives the coordinator a folder to read below"
            )),
        },
    }
}

/// One message for a path outside the folder, a missing file, a lack of permission and a non-file: callers cannot distinguish them.
fn unreadable(path: &str) -> String {
    format!("'{path}' is no file that the coordinator can read below its --dataset-dir")
}

fn fashion_mnist(settings: &Settings, name: &str) -> Result<File, String> {
    for folder in &settings.fashion_mnist_dirs {
        let path = folder.join(name);
        match dataset_dir::open(&path) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    let folders: Vec<String> = settings
        .fashion_mnist_dirs
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    Err(format!(
        "the coordinator has no {name} in {}: `make setup` fetches it, TRAWL_FASHION_MNIST names another folder",
        folders.join(" or ")
    ))
}
