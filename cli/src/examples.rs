//! The examples that are part of the program, with the tables that they name: `trawl submit @regression`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Error;

/// A study file, and the files that it names by paths relative to itself.
struct Example {
    name: &'static str,
    study: &'static str,
    tables: &'static [(&'static str, &'static str)],
}

/// A study file by its name, with tables of `examples/data`.
macro_rules! example {
    ($name:literal, $($table:literal),*) => {
        Example {
            name: $name,
            study: include_str!(concat!("../../examples/", $name, ".yaml")),
            tables: &[$((
                concat!("data/", $table),
                include_str!(concat!("../../examples/data/", $table)),
            )),*],
        }
    };
}

const EXAMPLES: [Example; 5] = [
    example!("regression", "train.csv", "test.csv"),
    example!("paper-regression", "train.csv", "test.csv"),
    example!("houses", "houses.csv"),
    example!("buildings", "buildings.csv"),
    example!("failures", "failures.csv"),
];

/// An example, written into a folder that goes with this.
#[derive(Debug)]
pub(crate) struct Unpacked {
    folder: TempDir,
    name: &'static str,
}

impl Unpacked {
    /// The study file.
    pub(crate) fn study_file(&self) -> PathBuf {
        self.folder.path().join(format!("{}.yaml", self.name))
    }
}

/// Unpacks the example that `@NAME` stands for; `None` for any other path.
///
/// # Errors
/// There is no such example, or no folder for it.
pub(crate) fn unpack(file: &Path) -> Result<Option<Unpacked>, Error> {
    let Some(name) = file.to_str().and_then(|file| file.strip_prefix('@')) else {
        return Ok(None);
    };
    let Some(example) = EXAMPLES.iter().find(|example| example.name == name) else {
        let names = EXAMPLES.map(|example| format!("@{}", example.name));
        return Err(Error::Usage(format!(
            "there is no example @{name}; there are {}",
            names.join(", ")
        )));
    };
    let failed = |error: std::io::Error| Error::Failed(format!("cannot unpack @{name}: {error}"));
    let unpacked = Unpacked {
        folder: tempfile::tempdir().map_err(failed)?,
        name: example.name,
    };
    std::fs::write(unpacked.study_file(), example.study).map_err(failed)?;
    for (path, text) in example.tables {
        let path = unpacked.folder.path().join(path);
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        std::fs::write(path, text).map_err(failed)?;
    }
    Ok(Some(unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study_file;

    #[test]
    fn every_example_is_a_study_whose_tables_are_there() {
        for example in &EXAMPLES {
            let unpacked = unpack(Path::new(&format!("@{}", example.name))).unwrap().unwrap();
            let file = study_file::read(&unpacked.study_file()).unwrap();
            assert_eq!(file.study.name, example.name);
            let data = file.study.dataset.unwrap();
            let Some(trawl_proto::v1::dataset::Kind::Csv(csv)) = data.kind else {
                panic!("{}", example.name)
            };
            for path in [csv.train, csv.test].iter().filter(|path| !path.is_empty()) {
                assert!(Path::new(path).exists(), "{path}");
            }
        }
    }

    #[test]
    fn an_unknown_example_is_answered_with_those_that_there_are() {
        let error = unpack(Path::new("@regresion")).unwrap_err().to_string();
        assert!(
            error.contains("no example @regresion; there are @regression"),
            "{error}"
        );
        assert!(unpack(Path::new("regression.yaml")).unwrap().is_none());
    }
}
