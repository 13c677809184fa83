//! Study files: YAML or JSON in, the `Study` message out, with dataset paths made absolute; and the errors of one, each with its
//! place.

mod document;
mod snippet;
mod syntax;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use prost_types::Struct;
use trawl_proto::{from_json, v1};

use crate::error::{Error, Finding};
use document::{Half, Node};
use snippet::{Remark, draw};

/// More bytes than any study that the coordinator would take.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A study with where it came from.
#[derive(Debug)]
pub(crate) struct StudyFile {
    /// The study. Its relative paths start at the root by now.
    pub(crate) study: v1::Study,
    /// The paths of this machine that it names.
    pub(crate) paths: Vec<NamedPath>,
    /// What errors call the file.
    name: String,
    text: String,
    /// The study within the text.
    root: Node,
}

/// A path that a study names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    /// Its field.
    pub(crate) field: &'static str,
    /// As it stands in the file.
    pub(crate) written: String,
    /// From the root on.
    pub(crate) path: String,
}

impl StudyFile {
    /// Where a path of the study is to be replaced.
    pub(crate) fn path_mut(&mut self, field: &str) -> Option<&mut String> {
        let kind = self.study.dataset.as_mut()?.kind.as_mut()?;
        paths(kind)
            .into_iter()
            .find(|(of, _)| *of == field)
            .map(|(_, path)| path)
    }

    /// The errors of the study, each with its place in the file.
    pub(crate) fn refused(&self, findings: &[Finding]) -> Error {
        refused(findings, &self.name, &self.text, &self.root)
    }
}

fn refused(findings: &[Finding], name: &str, text: &str, root: &Node) -> Error {
    let remarks = findings.iter().map(|finding| {
        let half = if finding.is_name { Half::Name } else { Half::Value };
        Remark {
            title: finding.to_string(),
            place: root.find(&finding.field, half),
            help: finding.help.clone(),
        }
    });
    Error::Usage(draw(remarks.collect(), name, text))
}

/// Reads the study in `file`, or on standard input for `-`.
///
/// # Errors
/// A file that cannot be read, or that holds no study, with the place of what is wrong.
pub(crate) fn read(file: &Path) -> Result<StudyFile, Error> {
    let (name, bytes) = content(file)?;
    let folder = if file == Path::new("-") {
        std::env::current_dir()
    } else {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).canonicalize()
    };
    let folder = folder.map_err(|error| Error::Usage(format!("{name}: {error}")))?;
    parse(&bytes, &name, &folder)
}

/// Configurations with where they came from.
#[derive(Debug)]
pub(crate) struct TrialsFile {
    /// The configurations.
    pub(crate) trials: Vec<Struct>,
    name: String,
    text: String,
    root: Node,
}

impl TrialsFile {
    /// The errors of the configurations, each with its place in the file.
    pub(crate) fn refused(&self, findings: &[Finding]) -> Error {
        refused(findings, &self.name, &self.text, &self.root)
    }
}

/// Reads the configurations in `file`, or on standard input for `-`: its `trials`, as a study file has them.
///
/// # Errors
/// A file that cannot be read, or that holds something else, with the place of what is wrong.
pub(crate) fn read_trials(file: &Path) -> Result<TrialsFile, Error> {
    let (name, bytes) = content(file)?;
    let (text, root) = tree(&bytes, &name)?;
    if !root.is_mapping() {
        return Err(Error::Usage(draw(
            vec![Remark {
                title: "configurations are a list under `trials`".to_owned(),
                place: root.place(),
                help: Some("write `trials:` above the list".to_owned()),
            }],
            &name,
            &text,
        )));
    }
    let request: Result<v1::EnqueueTrialsRequest, _> = from_json(&root.to_json());
    let request = request.map_err(|errors| {
        let findings: Vec<Finding> = errors.iter().cloned().map(Finding::from).collect();
        refused(&findings, &name, &text, &root)
    })?;
    if !request.study.is_empty() {
        let named = Finding::new("study", "is named on the command line: leave it out here");
        return Err(refused(&[named], &name, &text, &root));
    }
    Ok(TrialsFile {
        trials: request.trials,
        name,
        text,
        root,
    })
}

/// What errors call a file, and its bytes.
fn content(file: &Path) -> Result<(String, Vec<u8>), Error> {
    let (name, bytes) = if file == Path::new("-") {
        ("standard input".to_owned(), read_bytes(io::stdin().lock()))
    } else {
        (file.display().to_string(), File::open(file).and_then(read_bytes))
    };
    let bytes = bytes.map_err(|error| Error::Usage(format!("{name}: {error}")))?;
    Ok((name, bytes))
}

fn read_bytes(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    Ok(bytes)
}

/// A file's text, and what it holds.
fn tree(bytes: &[u8], name: &str) -> Result<(String, Node), Error> {
    // The byte order mark that some editors put before UTF-8 is no part of the text.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let wrong = |remark: Remark| Error::Usage(draw(vec![remark], name, &text));
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(wrong(Remark {
            title: "this is no text in UTF-8".to_owned(),
            // The place of the replacement character that stands for it.
            place: error.valid_up_to()..error.valid_up_to(),
            help: Some("save the file as UTF-8".to_owned()),
        }));
    }
    let whole = document::parse(&text).map_err(|error| wrong(syntax::explain(&error, &text)))?;
    Ok((text, whole))
}

/// Reads a study. `name` is what errors call the file; relative dataset paths start at the absolute `folder`. In a request for
/// grpcurl they stay as they are.
fn parse(bytes: &[u8], name: &str, folder: &Path) -> Result<StudyFile, Error> {
    let (text, whole) = tree(bytes, name)?;
    let text = &*text;
    // The form for grpcurl, a CreateStudyRequest: it goes as it is, with paths that the coordinator resolves.
    let (root, is_request) = match whole.only("study") {
        Ok(study) => (study, true),
        Err(whole) => (whole, false),
    };
    let wrong = |remark: Remark| Error::Usage(draw(vec![remark], name, text));
    if !root.is_mapping() {
        return Err(wrong(Remark {
            title: "a study is a mapping of fields such as `name` and `space`".to_owned(),
            place: root.place(),
            help: None,
        }));
    }
    let study: Result<v1::Study, _> = from_json(&root.to_json());
    let mut study = study.map_err(|errors| {
        let findings: Vec<Finding> = errors.iter().cloned().map(Finding::from).collect();
        refused(&findings, name, text, &root)
    })?;
    let mut named = Vec::new();
    if !is_request && let Some(kind) = study.dataset.as_mut().and_then(|dataset| dataset.kind.as_mut()) {
        for (field, path) in paths(kind) {
            let whole =
                absolute(path, folder).map_err(|why| refused(&[Finding::new(field, why)], name, text, &root))?;
            let written = std::mem::replace(path, whole);
            if path.starts_with('/') {
                named.push(NamedPath {
                    field,
                    written,
                    path: path.clone(),
                });
            }
        }
    }
    Ok(StudyFile {
        study,
        paths: named,
        name: name.to_owned(),
        text: text.to_owned(),
        root,
    })
}

/// The paths of a dataset, each with its field.
fn paths(kind: &mut v1::dataset::Kind) -> Vec<(&'static str, &mut String)> {
    use v1::dataset::Kind;
    match kind {
        Kind::Csv(csv) => vec![
            ("dataset.csv.train", &mut csv.train),
            ("dataset.csv.validation", &mut csv.validation),
            ("dataset.csv.test", &mut csv.test),
        ],
        Kind::Npz(npz) => vec![
            ("dataset.npz.train", &mut npz.train),
            ("dataset.npz.validation", &mut npz.validation),
            ("dataset.npz.test", &mut npz.test),
        ],
        Kind::Idx(idx) => vec![
            ("dataset.idx.train_images", &mut idx.train_images),
            ("dataset.idx.train_labels", &mut idx.train_labels),
            ("dataset.idx.validation_images", &mut idx.validation_images),
            ("dataset.idx.validation_labels", &mut idx.validation_labels),
            ("dataset.idx.test_images", &mut idx.test_images),
            ("dataset.idx.test_labels", &mut idx.test_labels),
        ],
        Kind::Npy(npy) => vec![
            ("dataset.npy.train_features", &mut npy.train_features),
            ("dataset.npy.train_targets", &mut npy.train_targets),
            ("dataset.npy.validation_features", &mut npy.validation_features),
            ("dataset.npy.validation_targets", &mut npy.validation_targets),
            ("dataset.npy.test_features", &mut npy.test_features),
            ("dataset.npy.test_targets", &mut npy.test_targets),
        ],
        Kind::Pictures(pictures) => vec![
            ("dataset.pictures.train", &mut pictures.train),
            ("dataset.pictures.validation", &mut pictures.validation),
            ("dataset.pictures.test", &mut pictures.test),
        ],
        Kind::FashionMnist(_) => Vec::new(),
    }
}

/// The path from the root on; an empty one stays empty, for the coordinator to complain about.
fn absolute(path: &str, folder: &Path) -> Result<String, String> {
    if path.is_empty() || path.starts_with('/') || path.starts_with("sha256:") {
        return Ok(path.to_owned());
    }
    let mut whole = PathBuf::from(folder);
    let mut inside = 0_usize;
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            // `folder` holds no links, so its own name can be dropped; below it, `x/..` may lead elsewhere than back.
            Component::ParentDir if inside == 0 => {
                whole.pop();
            }
            other => {
                whole.push(other);
                inside += 1;
            }
        }
    }
    whole
        .into_os_string()
        .into_string()
        .map_err(|_| "the study file's folder has no UTF-8 name".to_owned())
}
