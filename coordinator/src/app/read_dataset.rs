//! Reads the files that a study names: from a path of this machine, from those that were registered, or FashionMNIST.

use std::path::Path;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use trawl_domain::check::{FilePlace, FileRef, Source};
use trawl_domain::dataset::{self, DatasetShape, FileHash, Format, Part, ReadError, Samples, TargetKind};
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_domain::violation::Violations;

use super::{App, AppError};
use crate::store::dataset_files;

/// What a path begins with that names a registered file.
const REGISTERED: &str = "sha256:";

/// A file, read.
#[derive(Debug)]
pub(super) struct DatasetFile {
    pub(super) hash: FileHash,
    pub(super) content: Bytes,
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

/// Reads the files of a dataset and checks what is in them.
///
/// # Errors
/// The store is away. A file that cannot be read, or is not what it should be, is a violation of the field that names it.
pub(super) async fn read_dataset(
    app: &App,
    source: &Source,
    kind: TargetKind,
) -> Result<Result<(DatasetFiles, DatasetShape), Violations>, AppError> {
    let mut violations = Violations::new();
    let train = read_part(app, source, &source.train, &mut violations).await?;
    let test = match &source.test {
        Some(test) => read_part(app, source, test, &mut violations).await?,
        None => None,
    };
    let samples = train
        .as_ref()
        .and_then(|files| parse(source, kind, &source.train, files, None, &mut violations));
    if let (Some(samples), Some(named), Some(files)) = (&samples, &source.test, &test) {
        let test = parse(source, kind, named, files, samples.classes(), &mut violations);
        if let Some(test) = test.filter(|test| test.shape != samples.shape) {
            violations.add(
                &named.features.field,
                format!(
                    "has rows of {}, and the training part rows of {}",
                    test.shape, samples.shape
                ),
            );
        }
    }
    let read = train.zip(samples).map(|(train, samples)| {
        let shape = samples.dataset_shape();
        (DatasetFiles { train, test }, shape)
    });
    Ok(violations.into_result(read))
}

fn parse(
    source: &Source,
    kind: TargetKind,
    named: &Part<FileRef>,
    files: &PartFiles,
    classes: Option<&[String]>,
    v: &mut Violations,
) -> Option<Samples> {
    let content = files.as_ref().map(|file| &file.content[..]);
    dataset::read(&source.format, kind, content, classes)
        .map_err(|error| {
            let file = named
                .targets
                .as_ref()
                .filter(|_| error.in_targets)
                .unwrap_or(&named.features);
            v.add(
                field_of(&source.format, file, &error),
                format!("{}: {error}", shown(file)),
            );
        })
        .ok()
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

fn shown(file: &FileRef) -> &str {
    match &file.place {
        FilePlace::Named(path) => path,
        FilePlace::FashionMnist { name, .. } => name,
    }
}

async fn read_part(
    app: &App,
    source: &Source,
    part: &Part<FileRef>,
    v: &mut Violations,
) -> Result<Option<PartFiles>, AppError> {
    let features = read_file(app, &part.features, v).await?;
    let targets = match &part.targets {
        Some(file) => read_file(app, file, v).await?,
        None => None,
    };
    debug_assert_eq!(
        part.targets.is_some(),
        !matches!(source.format, Format::Csv(_) | Format::Npz(_))
    );
    Ok(match (features, part.targets.is_some(), targets) {
        (Some(features), false, _) => Some(Part {
            features,
            targets: None,
        }),
        (Some(features), true, Some(targets)) => Some(Part {
            features,
            targets: Some(targets),
        }),
        _ => None,
    })
}

/// One file; `None` if it cannot be had, which is noted.
async fn read_file(app: &App, file: &FileRef, v: &mut Violations) -> Result<Option<DatasetFile>, AppError> {
    let read = match &file.place {
        FilePlace::FashionMnist { name, sha256 } => fashion_mnist(app, name, sha256).await,
        FilePlace::Named(path) => match path.strip_prefix(REGISTERED) {
            Some(hash) => registered(app, hash).await?,
            None => {
                let full = app.settings.dataset_dir.join(path);
                read_bounded(&full)
                    .await
                    .map_err(|error| format!("{}: {error}", full.display()))
            }
        },
    };
    Ok(match read {
        Ok(content) => Some(DatasetFile {
            hash: FileHash::of(&content),
            content,
        }),
        Err(reason) => {
            v.add(&file.field, reason);
            None
        }
    })
}

async fn registered(app: &App, hash: &str) -> Result<Result<Bytes, String>, AppError> {
    let Ok(hash) = hash.parse::<FileHash>() else {
        return Ok(Err(format!("{REGISTERED} must be followed by 64 hexadecimal digits")));
    };
    let mut conn = app.pool.acquire().await?;
    if !dataset_files::is_there(&mut conn, hash).await? {
        return Ok(Err(format!("no file with the hash {hash} is registered")));
    }
    drop(conn);
    Ok(Ok(app.files.read_whole(&dataset_files::object_key(hash)).await?))
}

async fn fashion_mnist(app: &App, name: &str, sha256: &str) -> Result<Bytes, String> {
    for folder in &app.settings.fashion_mnist_dirs {
        let path = folder.join(name);
        match read_bounded(&path).await {
            Ok(content) if FileHash::of(&content).to_string() == sha256 => return Ok(content),
            Ok(_) => return Err(format!("{} is not FashionMNIST's: its hash is another", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    let folders: Vec<String> = app
        .settings
        .fashion_mnist_dirs
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    Err(format!(
        "the coordinator has no {name} in {}: `make setup` fetches it, TRAWL_FASHION_MNIST names another folder",
        folders.join(" or ")
    ))
}

async fn read_bounded(path: &Path) -> std::io::Result<Bytes> {
    let file = tokio::fs::File::open(path).await?;
    if !file.metadata().await?.is_file() {
        return Err(std::io::Error::other("is not a file"));
    }
    let mut content = Vec::new();
    // One byte more than allowed, so that a file that is too large shows.
    file.take(DATASET_BYTES_MAX + 1).read_to_end(&mut content).await?;
    Ok(content.into())
}
