//! Study files: YAML or JSON in, the `Study` message out, with dataset paths made absolute.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use trawl_proto::{from_json, v1};

use crate::error::Error;

/// Larger than any study that the coordinator would take.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A study with where it came from.
#[derive(Debug)]
pub(crate) struct StudyFile {
    /// The study.
    pub(crate) study: v1::Study,
    /// True for the form for grpcurl, a CreateStudyRequest: it goes as it is, with paths that the coordinator resolves.
    is_request: bool,
}

impl StudyFile {
    /// The paths of this machine that the study names, each with its field.
    pub(crate) fn local_paths(&mut self) -> Vec<(&'static str, &mut String)> {
        let kind = self.study.dataset.as_mut().and_then(|dataset| dataset.kind.as_mut());
        match kind {
            Some(kind) if !self.is_request => {
                let mut paths = paths(kind);
                paths.retain(|(_, path)| path.starts_with('/'));
                paths
            }
            _ => Vec::new(),
        }
    }
}

/// Reads the study in `file`, or on standard input for `-`.
///
/// # Errors
/// A file that cannot be read, or that holds no study; both name the file, and the line or the field.
pub(crate) fn read(file: &Path) -> Result<StudyFile, Error> {
    let (name, text, folder) = if file == Path::new("-") {
        (
            "standard input".into(),
            read_text(io::stdin().lock()),
            std::env::current_dir(),
        )
    } else {
        let parent = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        (
            file.display().to_string(),
            File::open(file).and_then(read_text),
            parent.canonicalize(),
        )
    };
    let at = |error: io::Error| Error::Usage(format!("{name}: {error}"));
    let text = text.map_err(at)?;
    parse(&text, &name, &folder.map_err(at)?)
}

fn read_text(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    Ok(text)
}

/// Reads a study from `text`. `name` is what errors call it; relative dataset paths start at the absolute `folder`.
/// In a request for grpcurl they stay as they are.
fn parse(text: &str, name: &str, folder: &Path) -> Result<StudyFile, Error> {
    let mut value = parse_value(text, name)?;
    let mut is_request = false;
    if let Value::Object(object) = &mut value
        && object.len() == 1
        && let Some(study) = object.remove("study")
    {
        value = study;
        is_request = true;
    }
    if !value.is_object() {
        return Err(Error::Usage(format!(
            "{name}: a study is a mapping of fields such as `name` and `space`"
        )));
    }
    let mut study: v1::Study = from_json(value).map_err(|error| match error.field.as_str() {
        // The study itself.
        "." => Error::Usage(format!("{name}: {}", error.reason)),
        path => field(name, path, &error.reason),
    })?;
    if !is_request && let Some(kind) = study.dataset.as_mut().and_then(|dataset| dataset.kind.as_mut()) {
        for (path_field, path) in paths(kind) {
            *path = absolute(path, folder).map_err(|why| field(name, path_field, &why))?;
        }
    }
    Ok(StudyFile { study, is_request })
}

/// The paths of a dataset, each with its field.
fn paths(kind: &mut v1::dataset::Kind) -> Vec<(&'static str, &mut String)> {
    use v1::dataset::Kind;
    match kind {
        Kind::Csv(csv) => vec![
            ("dataset.csv.train", &mut csv.train),
            ("dataset.csv.test", &mut csv.test),
        ],
        Kind::Npz(npz) => vec![
            ("dataset.npz.train", &mut npz.train),
            ("dataset.npz.test", &mut npz.test),
        ],
        Kind::Idx(idx) => vec![
            ("dataset.idx.train_images", &mut idx.train_images),
            ("dataset.idx.train_labels", &mut idx.train_labels),
            ("dataset.idx.test_images", &mut idx.test_images),
            ("dataset.idx.test_labels", &mut idx.test_labels),
        ],
        Kind::Npy(npy) => vec![
            ("dataset.npy.train_features", &mut npy.train_features),
            ("dataset.npy.train_targets", &mut npy.train_targets),
            ("dataset.npy.test_features", &mut npy.test_features),
            ("dataset.npy.test_targets", &mut npy.test_targets),
        ],
        Kind::FashionMnist(_) => Vec::new(),
    }
}

fn field(name: &str, field: &str, why: &str) -> Error {
    Error::Usage(format!("{name}: {field}: {why}"))
}

/// JSON is YAML, so one parser reads both: YAML 1.2, where `1e-4` is a number and `no` a word.
fn parse_value(text: &str, name: &str) -> Result<Value, Error> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |source| Value::deserialize(source))
        .map_err(|error| Error::Usage(format!("{name}: {}", error.to_string().replace('\n', " "))))
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

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;

    use super::*;

    const EXAMPLE: &str = include_str!("../../examples/regression.yaml");

    fn parse_in_data(text: &str) -> Result<v1::Study, Error> {
        parse(text, "study.yaml", Path::new("/home/ada/studies")).map(|file| file.study)
    }

    fn refused(text: &str) -> String {
        let error = parse_in_data(text).expect_err("it must be refused");
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        error.to_string()
    }

    fn csv(study: &v1::Study) -> &v1::CsvDataset {
        let Some(v1::dataset::Kind::Csv(csv)) = &study.dataset.as_ref().unwrap().kind else {
            panic!("no CSV")
        };
        csv
    }

    #[test]
    fn the_example_is_read_and_its_paths_start_at_its_folder() {
        let study = parse_in_data(EXAMPLE).unwrap();
        assert_eq!(study.name, "regression");
        assert_eq!(study.max_trials, 300);
        assert_eq!(csv(&study).train, "/home/ada/studies/data/train.csv");
        assert_eq!(csv(&study).test, "/home/ada/studies/data/test.csv");
        let Some(v1::distribution::Kind::LogUniform(range)) = &study.space["learning_rate"].kind else {
            panic!()
        };
        assert_eq!((range.low, range.high), (Some(1e-4), Some(1e-1)));
    }

    #[test]
    fn the_form_for_grpcurl_is_the_same_study() {
        let json = include_str!("../../examples/regression.json");
        let mut wrapped = parse_in_data(json).unwrap();
        let plain = parse_in_data(EXAMPLE).unwrap();
        assert_eq!(
            csv(&wrapped).train,
            "examples/data/train.csv",
            "the coordinator's path, not the file's"
        );
        wrapped.name = plain.name.clone();
        wrapped.dataset = plain.dataset.clone();
        assert_eq!(wrapped, plain);
    }

    #[test]
    fn json_may_be_indented_by_tabs() {
        let study = parse_in_data("{\n\t\"name\": \"x\",\n\t\"training\": {\n\t\t\"epochs\": 5\n\t}\n}\n").unwrap();
        assert_eq!(study.name, "x");
    }

    #[test]
    fn words_and_numbers_are_those_of_yaml_1_2() {
        let study = parse_in_data("refit: { set: { a: 1e-4, b: no, c: on, d: true, e: 1E5, f: .5, g: '7' } }").unwrap();
        let set = study.refit.unwrap().set;
        let kind = |name: &str| set[name].kind.clone().unwrap();
        assert_eq!(kind("a"), Kind::NumberValue(1e-4));
        assert_eq!(kind("b"), Kind::StringValue("no".into()));
        assert_eq!(kind("c"), Kind::StringValue("on".into()));
        assert_eq!(kind("d"), Kind::BoolValue(true));
        assert_eq!(kind("e"), Kind::NumberValue(1e5));
        assert_eq!(kind("f"), Kind::NumberValue(0.5));
        assert_eq!(kind("g"), Kind::StringValue("7".into()));
    }

    #[test]
    fn a_key_given_twice_is_refused_with_its_place() {
        let yaml = refused("name: a\nseed: 1\nname: b\n");
        assert!(yaml.contains("duplicate") && yaml.contains("line 3"), "{yaml}");
        let json = refused("{\"name\": \"a\",\n \"name\": \"b\"}");
        assert!(json.contains("duplicate") && json.contains("line 2"), "{json}");
    }

    #[test]
    fn a_misspelt_field_is_named_by_its_path() {
        let text = refused("name: a\ntraining: { learing_rate: 0.1 }\n");
        assert!(
            text.starts_with("study.yaml: training") && text.contains("learing_rate"),
            "{text}"
        );
        let text = refused("space:\n  lr: { log_uniform: { low: x, high: 1 } }\n");
        assert!(text.starts_with("study.yaml: space.lr.log_uniform.low: "), "{text}");
    }

    #[test]
    fn broken_yaml_is_refused_with_its_place() {
        let text = refused("name: a\nmodel:\n  - linear: { units: 3\n  - x\n");
        assert!(text.starts_with("study.yaml: ") && text.contains("line "), "{text}");
        assert!(!text.contains('\n'), "{text}");
        assert!(refused("training: { l2: .nan }").contains("line 1"));
    }

    #[test]
    fn what_is_no_mapping_is_no_study() {
        for text in ["", "- 1", "hello", "study: 3"] {
            let said = refused(text);
            assert!(said.contains("a study is a mapping"), "{text:?}: {said}");
        }
    }

    #[test]
    fn relative_paths_become_absolute_without_dots() {
        let folder = Path::new("/home/ada/studies");
        for (path, want) in [
            ("", ""),
            ("/x/y.csv", "/x/y.csv"),
            ("./a.csv", "/home/ada/studies/a.csv"),
            ("../a.csv", "/home/ada/a.csv"),
            ("link/../a.csv", "/home/ada/studies/link/../a.csv"),
        ] {
            assert_eq!(absolute(path, folder).unwrap(), want, "{path}");
        }
    }
}
