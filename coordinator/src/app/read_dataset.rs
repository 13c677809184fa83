//! Reads the files that a study names: from a path of this machine, from those that were registered, or FashionMNIST.
//!
//! One part of one dataset is in memory at a time, whatever number of studies is submitted, and it is read on a thread that
//! serves nobody else.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use trawl_domain::check::{FilePlace, FileRef, Source};
use trawl_domain::dataset::{
    self, Allowance, DatasetShape, FileHash, Format, Part, ReadError, SampleShape, TargetKind,
};
use trawl_domain::limits::{DATASET_BYTES_MAX, DATASET_VALUES_MAX};
use trawl_domain::violation::Violations;

use super::{App, AppError, Settings, dataset_dir};
use crate::files::Fingerprint;
use crate::store::dataset_files;

/// What a path begins with that names a registered file.
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
    pub(super) test: Option<PartFiles>,
}

impl DatasetFiles {
    pub(super) fn all(&self) -> impl Iterator<Item = &DatasetFile> {
        self.train.files().chain(self.test.iter().flat_map(Part::files))
    }
}

impl DatasetFile {
    /// The file once more, to be registered; `None` if it is registered.
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

/// Reads the files of a dataset and checks what is in them.
///
/// # Errors
/// The store is away. A file that cannot be read, or is not what it should be, is a violation of the field that names it.
pub(super) async fn read_dataset(
    app: &App,
    source: &Source,
    kind: TargetKind,
) -> Result<Result<(DatasetFiles, DatasetShape), Violations>, AppError> {
    let turn = Arc::clone(&app.dataset_reading).acquire_owned().await;
    let turn = turn.map_err(|_| AppError::Unavailable("the coordinator stops"))?;
    let stop = CancellationToken::new();
    // With the call, when its time is over or its caller is gone.
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
    let train = reading.part(&source.train, None).await?;
    let test = match &source.test {
        Some(test) => Some(reading.part(test, Some(&train)).await?),
        None => None,
    };
    let read = train.files.zip(train.content).map(|(files, content)| {
        let test = test.and_then(|test| test.files);
        (DatasetFiles { train: files, test }, content.shape)
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
    /// Until the last thread that reads for it has ended.
    turn: Arc<OwnedSemaphorePermit>,
    stop: CancellationToken,
    violations: Violations,
}

/// One part: its files, if all are there, and what is in them, if it is what it should be.
struct ReadPart {
    files: Option<PartFiles>,
    content: Option<Content>,
}

/// What is kept of the content of a part.
struct Content {
    shape: DatasetShape,
    sample: SampleShape,
    classes: Option<Vec<String>>,
}

impl Reading<'_> {
    /// Reads a part; after a training part that is broken, whether the files of the test part are there.
    async fn part(&mut self, named: &Part<FileRef>, train: Option<&ReadPart>) -> Result<ReadPart, AppError> {
        debug_assert_eq!(
            named.targets.is_some(),
            !matches!(self.source.format, Format::Csv(_) | Format::Npz(_))
        );
        let features = self.file(&named.features).await?;
        let targets = match &named.targets {
            Some(file) => Some(self.file(file).await?),
            None => None,
        };
        let (Some((features, features_bytes)), Some(targets)) = (features, transpose(targets)) else {
            return Ok(ReadPart {
                files: None,
                content: None,
            });
        };
        let (targets, targets_bytes) = targets.unzip();
        let bytes = Part {
            features: features_bytes,
            targets: targets_bytes,
        };
        let content = match train.map(|train| train.content.as_ref()) {
            Some(None) => None,
            Some(Some(train)) => {
                let test = self.parse(named, bytes, train.classes.clone()).await?;
                self.check_sample(named, train, test)
            }
            None => self.parse(named, bytes, None).await?,
        };
        Ok(ReadPart {
            files: Some(Part { features, targets }),
            content,
        })
    }

    fn check_sample(&mut self, named: &Part<FileRef>, train: &Content, test: Option<Content>) -> Option<Content> {
        if let Some(test) = test.as_ref().filter(|test| test.sample != train.sample) {
            self.violations.add(
                &named.features.field,
                format!(
                    "has rows of {}, and the training part rows of {}",
                    test.sample, train.sample
                ),
            );
        }
        test
    }

    /// Reads what is in the files of a part, and drops them.
    async fn parse(
        &mut self,
        named: &Part<FileRef>,
        bytes: Part<Bytes>,
        classes: Option<Vec<String>>,
    ) -> Result<Option<Content>, AppError> {
        let (format, kind, values) = (self.source.format.clone(), self.kind, self.values);
        let (turn, stop) = (Arc::clone(&self.turn), self.stop.clone());
        let parsed = on_thread(move || {
            let mut allowance = Allowance {
                values,
                go_on: &|| !stop.is_cancelled(),
            };
            let part = bytes.as_ref().map(|bytes| &bytes[..]);
            let samples = dataset::read(&format, kind, part, classes.as_deref(), &mut allowance);
            let content = samples.map(|samples| Content {
                shape: samples.dataset_shape(),
                sample: samples.shape,
                classes: samples.classes().map(<[_]>::to_vec),
            });
            let values = allowance.values;
            // What they had in memory is free before somebody else's turn.
            drop((bytes, turn));
            (content, values)
        });
        let (content, values) = parsed.await?;
        self.values = values;
        Ok(content.map_err(|error| self.refuse(named, &error)).ok())
    }

    fn refuse(&mut self, named: &Part<FileRef>, error: &ReadError) {
        let file = named.targets.as_ref().filter(|_| error.in_targets);
        let file = file.unwrap_or(&named.features);
        // What stands in a file is shown to those who sent it, and its hash shows that they have it.
        let source = self.source;
        let files = source.train.files().chain(source.test.iter().flat_map(Part::files));
        let mut places = files.map(|file| &file.place);
        let reason = if places.all(is_registered) {
            &error.reason
        } else {
            &error.unquoted
        };
        let field = field_of(&self.source.format, file, error);
        self.violations
            .add(field, format!("{}: {reason}", name_of(&file.place)));
    }

    /// One file with its bytes; `None` if it cannot be had, which is noted.
    async fn file(&mut self, file: &FileRef) -> Result<Option<(DatasetFile, Bytes)>, AppError> {
        let read = match registered_name(&file.place) {
            Some(name) => registered(self.app, name).await?,
            None => {
                let (settings, place) = (self.app.settings.clone(), file.place.clone());
                let turn = Arc::clone(&self.turn);
                on_thread(move || {
                    let read = read_file(&settings, &place);
                    drop(turn);
                    read
                })
                .await?
            }
        };
        Ok(match read {
            Ok((sha256, content)) => {
                let file = DatasetFile {
                    fingerprint: Fingerprint {
                        bytes: content.len() as u64,
                        sha256,
                    },
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

/// `None` where something is asked for and is not there.
fn transpose<T>(asked: Option<Option<T>>) -> Option<Option<T>> {
    match asked {
        Some(None) => None,
        Some(found) => Some(found),
        None => Some(None),
    }
}

/// Does something that takes time or waits for a disk, on a thread that serves nobody.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AppError> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| AppError::Internal(format!("reading a dataset: {error}")))
}

/// A missing column is the mistake of the field that names it.
fn field_of(format: &Format, file: &FileRef, error: &ReadError) -> String {
    match (format, &error.column) {
        (Format::Csv(columns), Some(column)) => match columns.features.iter().position(|feature| feature == column) {
            Some(index) => format!("dataset.csv.features[{index}]"),
            None => "dataset.csv.target".to_owned(),
        },
        (Format::Npz(arrays), Some(array)) if arrays.features == *array => "dataset.npz.features".to_owned(),
        (Format::Npz(_), Some(_)) => "dataset.npz.target".to_owned(),
        _ => file.field.clone(),
    }
}

/// What a file is called by those who name it.
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

async fn registered(app: &App, hash: &str) -> Result<Result<(FileHash, Bytes), String>, AppError> {
    let Ok(hash) = hash.parse::<FileHash>() else {
        return Ok(Err(format!("{REGISTERED} must be followed by 64 hexadecimal digits")));
    };
    let mut conn = app.pool.acquire().await?;
    if !dataset_files::is_there(&mut conn, hash).await? {
        return Ok(Err(format!("no file with the hash {hash} is registered")));
    }
    drop(conn);
    let content = app.files.read_whole(&dataset_files::object_key(hash)).await?;
    if FileHash::of(&content) != hash {
        return Ok(Err(format!(
            "the file with the hash {hash} is broken; register it again"
        )));
    }
    Ok(Ok((hash, content)))
}

/// A file of this machine, with its hash.
fn read_file(settings: &Settings, place: &FilePlace) -> Result<(FileHash, Bytes), String> {
    let file = open(settings, place)?;
    let content = match dataset_dir::read(file) {
        Ok(Some(content)) => content,
        Ok(None) => return Err(format!("{} is larger than {DATASET_BYTES_MAX} bytes", name_of(place))),
        Err(error) => match place {
            FilePlace::FashionMnist { name, .. } => return Err(format!("the coordinator's {name}: {error}")),
            FilePlace::Named(path) => return Err(unreadable(path)),
        },
    };
    let hash = FileHash::of(&content);
    match place {
        FilePlace::FashionMnist { name, sha256 } if hash.to_string() != *sha256 => Err(format!(
            "the coordinator's {name} is not FashionMNIST's: its hash is another"
        )),
        _ => Ok((hash, content.into())),
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

/// Outside of the folder, not there, not permitted, no file: nobody can tell these apart.
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
