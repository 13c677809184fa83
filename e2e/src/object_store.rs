//! The contents of a system's object store, in fact and by the tables.

use std::path::PathBuf;

use anyhow::ensure;
use sqlx::PgPool;
use trawl_dataset::FileHash;
use trawl_proto::v1;

use crate::ask::Ask;
use crate::system::{Client, System, look_for};

impl System {
    /// The files of a folder of the object store, below it, in order; one that is missing has none.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn objects(&self, folder: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut folders = vec![self.artifacts.path().join(folder)];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                // Folders go with their last file, at any moment.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Waits until a folder of the object store has that many files.
    ///
    /// # Errors
    /// It never has.
    pub async fn wait_for_objects(&self, folder: &str, count: usize) -> anyhow::Result<Vec<PathBuf>> {
        look_for(&format!("{count} objects in {folder}"), async || {
            Ok(Some(self.objects(folder)?).filter(|objects| objects.len() == count))
        })
        .await
    }

    /// Waits until the coordinator has nothing more to sweep.
    ///
    /// # Errors
    /// It always has.
    pub async fn wait_until_swept(&self) -> anyhow::Result<()> {
        let sql = self.owner().await?;
        look_for("the sweep", async || {
            let loose: i64 = sql.value("SELECT count(*) FROM trawl_store.pending_objects").await?;
            Ok((loose == 0).then_some(()))
        })
        .await
    }

    /// Compares the object store with the tables once everything is swept: it has exactly the listed objects, and datasets are named
    /// by their hash. Returns how many there are.
    ///
    /// # Errors
    /// An object is missing, broken, or listed nowhere.
    pub async fn compare_objects(&self) -> anyhow::Result<usize> {
        self.wait_until_swept().await?;
        let sql = self.owner().await?;
        let listed = listed_keys(&sql).await?;
        let mut there = Vec::new();
        for object in self.objects("")? {
            let key = object.strip_prefix(self.artifacts.path())?.display().to_string();
            if let Some(hash) = key.strip_prefix("datasets/") {
                ensure!(
                    FileHash::of(&std::fs::read(&object)?).to_string() == hash,
                    "{key} is broken"
                );
            }
            there.push(key);
        }
        ensure!(there == listed, "the object store has {there:?}, listed are {listed:?}");
        Ok(there.len())
    }
}

async fn listed_keys(sql: &PgPool) -> anyhow::Result<Vec<String>> {
    let mut keys: Vec<String> = sql
        .values(
            "SELECT object_key FROM trawl_store.artifacts
             UNION ALL SELECT 'datasets/' || encode(sha256, 'hex') FROM trawl_store.dataset_files",
        )
        .await?;
    keys.sort();
    Ok(keys)
}

/// A row of `trawl.artifacts`: study, refit, trial, name, size and hash.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ListedArtifact {
    /// Name of the study.
    pub study: String,
    /// The refit that left it.
    pub refit: Option<i32>,
    /// The trial that left it.
    pub trial: Option<i32>,
    /// File name.
    pub name: String,
    /// Size in bytes.
    pub bytes: i64,
    /// SHA-256 of the bytes, in hexadecimal digits.
    pub sha256: String,
}

impl ListedArtifact {
    /// Asks for its bytes.
    pub fn request(&self) -> v1::GetArtifactRequest {
        let number = |number: Option<i32>| number.map(i32::unsigned_abs);
        request(&self.study, number(self.refit), number(self.trial), &self.name)
    }
}

fn request(study: &str, refit: Option<u32>, trial: Option<u32>, name: &str) -> v1::GetArtifactRequest {
    v1::GetArtifactRequest {
        study: study.to_owned(),
        refit,
        trial,
        name: name.to_owned(),
    }
}

impl Client {
    /// The artifacts that are visible.
    ///
    /// # Errors
    /// The view cannot be read.
    pub async fn listed_artifacts(&self) -> anyhow::Result<Vec<ListedArtifact>> {
        let query = "SELECT study, refit, trial, name, bytes, sha256 FROM trawl.artifacts
                     ORDER BY study, refit, trial, name";
        Ok(sqlx::query_as(query).fetch_all(&self.sql).await?)
    }

    /// The bytes of an artifact.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn artifact(&self, request: v1::GetArtifactRequest) -> anyhow::Result<Vec<u8>> {
        let mut pieces = self.studies().await?.get_artifact(request).await?.into_inner();
        let mut content = Vec::new();
        while let Some(piece) = pieces.message().await? {
            content.extend(piece.chunk);
        }
        Ok(content)
    }

    /// The bytes of a file that a refit left.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn refit_file(&self, study: &str, refit: u32, name: &str) -> anyhow::Result<Vec<u8>> {
        self.artifact(request(study, Some(refit), None, name)).await
    }

    /// The bytes of a file that a trial left.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn trial_file(&self, study: &str, trial: u32, name: &str) -> anyhow::Result<Vec<u8>> {
        self.artifact(request(study, None, Some(trial), name)).await
    }

    /// Fetches every visible artifact, and returns how many there are.
    ///
    /// # Errors
    /// One is not what the view says.
    pub async fn fetch_all_artifacts(&self) -> anyhow::Result<usize> {
        let listed = self.listed_artifacts().await?;
        for artifact in &listed {
            let content = self.artifact(artifact.request()).await?;
            ensure!(
                content.len() == usize::try_from(artifact.bytes)?,
                "the size of {artifact:?}"
            );
            ensure!(
                FileHash::of(&content).to_string() == artifact.sha256,
                "the hash of {artifact:?}"
            );
        }
        Ok(listed.len())
    }
}
