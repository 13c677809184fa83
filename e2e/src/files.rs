//! Files that tests write and read.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;
use trawl_dataset::FileHash;
use trawl_proto::v1;

use crate::system::Client;

/// A path as an argument.
///
/// # Errors
/// It is no text.
pub fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Writes a file into a folder; its path as an argument.
///
/// # Errors
/// It cannot be written.
pub fn written(folder: &Path, name: &str, content: impl Display) -> anyhow::Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, content.to_string())?;
    Ok(text(&path)?.to_owned())
}

/// The lines of a table, its header first.
///
/// # Errors
/// It is no CSV.
pub fn csv_lines(table: &[u8]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(table);
    let records = reader.records();
    records
        .map(|record| Ok(record?.iter().map(str::to_owned).collect()))
        .collect()
}

/// A column of a table with a header.
///
/// # Errors
/// There is none of that name.
pub fn csv_column(table: &str, name: &str) -> anyhow::Result<Vec<String>> {
    let lines = csv_lines(table.as_bytes())?;
    let (header, lines) = lines.split_first().context("a table without a header")?;
    let place = header.iter().position(|column| column == name);
    let place = place.with_context(|| format!("no column {name}"))?;
    Ok(lines.iter().map(|line| line[place].clone()).collect())
}

/// The lines of a table without their last column.
pub fn without_last_column(table: &str, separator: char) -> String {
    let lines = table.lines().filter_map(|line| line.rsplit_once(separator));
    lines.map(|(others, _)| format!("{others}\n")).collect()
}

/// The messages of a dataset file: the first one describes it, each of the others brings 64 KiB.
pub fn dataset_messages(content: &[u8]) -> Vec<v1::PutDatasetRequest> {
    let head = v1::PutDatasetRequest {
        sha256: FileHash::of(content).to_string(),
        bytes: content.len() as u64,
        chunk: Vec::new(),
    };
    let piece = |chunk: &[u8]| v1::PutDatasetRequest {
        chunk: chunk.to_vec(),
        ..Default::default()
    };
    let pieces = content.chunks(64 << 10).map(piece);
    std::iter::once(head).chain(pieces).collect()
}

/// The fetched files of a refit.
#[derive(Debug)]
pub struct RefitFiles(PathBuf);

impl RefitFiles {
    /// Where one of them is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// One of them.
    ///
    /// # Errors
    /// It is not there.
    pub fn text(&self, name: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.path(name)).context(name.to_owned())
    }

    /// One of them as JSON.
    ///
    /// # Errors
    /// It is not there.
    pub fn json(&self, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.text(name)?)?)
    }
}

impl Client {
    /// Sends a dataset file; the name that a study gives it.
    ///
    /// # Errors
    /// The coordinator refuses it.
    pub async fn put_dataset(&self, content: &[u8]) -> anyhow::Result<String> {
        let messages = tokio_stream::iter(dataset_messages(content));
        self.studies().await?.put_dataset(messages).await?;
        Ok(format!("sha256:{}", FileHash::of(content)))
    }

    /// Writes a study file into a folder, submits it and watches it to its end, as users do; what is printed.
    ///
    /// # Errors
    /// It does not complete.
    pub fn complete_file(&self, folder: &Path, study: impl Display) -> anyhow::Result<String> {
        let file = written(folder, "study.yaml", study)?;
        self.trawl_stdout(&["submit", &file, "--watch"])
    }

    /// Fetches the files of a study's first refit, as users do, into a folder below this one.
    ///
    /// # Errors
    /// There is no such refit.
    pub fn fetch_refit(&self, study: &str, below: &Path) -> anyhow::Result<RefitFiles> {
        let folder = below.join(format!("refit-of-{study}"));
        self.trawl_stdout(&["artifacts", study, "--refit", "0", "-o", text(&folder)?])?;
        Ok(RefitFiles(folder))
    }

    /// The errors of the command line client, which refuses something as wrong.
    ///
    /// # Errors
    /// It does not.
    pub fn refused(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.trawl(args)?;
        ensure!(ran.code == Some(2), "trawl {args:?}: {:?}: {}", ran.code, ran.stderr);
        Ok(ran.stderr)
    }
}
