//! The study of a load, and what an undisturbed run of it left: scripted workers report the very losses that it had, and
//! under faults it has to leave the very rows again, on any workers.

use std::collections::HashMap;

use anyhow::ensure;
use serde_json::{Value, json};
use trawl_proto::v1;

use crate::history::LeasedTo;
use crate::studies;
use crate::system::{Client, System};
use crate::views::{Rows, difference};

/// Name of the study in the undisturbed run.
const NAME: &str = "load";

/// How large a study is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Trials, each of 3 folds. Jobs have 3 members for every 32 of them, and there are up to 32.
    pub trials: u32,
    /// Epochs of each.
    pub epochs: u32,
}

/// A study that was trained once without faults.
#[derive(Debug)]
pub struct Reference {
    study: Value,
    rows: Rows,
    /// Training and validation loss by trial, fold and epoch.
    losses: HashMap<(u32, u32, u32), (f64, f64)>,
}

impl Reference {
    /// Trains one with two workers.
    ///
    /// # Errors
    /// It does not complete.
    pub async fn train(size: Size) -> anyhow::Result<Self> {
        let study = study(size)?;
        let mut system = System::start(&[]).await?;
        system.add_workers(2)?;
        system.submit(studies::from_json(&study)?).await?;
        let ended = system.watch_to_end(NAME).await?;
        ensure!(ended.state == "completed", "the undisturbed run: {}", ended.error);
        let losses: Vec<(i32, i32, i32, f64, f64)> =
            sqlx::query_as("SELECT trial, fold, epoch, train_loss, val_loss FROM trawl.epoch_reports WHERE study = $1")
                .bind(NAME)
                .fetch_all(&system.sql)
                .await?;
        ensure!(
            losses.len() == (size.trials * 3 * size.epochs) as usize,
            "a trial of the undisturbed run diverged: scripted workers cannot play that"
        );
        let losses = losses.into_iter().map(|(trial, fold, epoch, train, val)| {
            let key = (trial as u32, fold as u32, epoch as u32);
            (key, (train, val))
        });
        Ok(Self {
            study,
            rows: system.all_rows(NAME).await?,
            losses: losses.collect(),
        })
    }

    /// The study under another name.
    ///
    /// # Errors
    /// It is none.
    pub fn study(&self, name: &str) -> anyhow::Result<v1::Study> {
        let mut study = self.study.clone();
        study["name"] = json!(name);
        studies::from_json(&study)
    }

    /// One epoch of all of a job's members as the undisturbed run had it, with `more` added to each loss.
    pub fn report(&self, lease: &LeasedTo, epoch: u32, more: f64) -> v1::ReportEpochsRequest {
        let losses = |(trial, fold): &(u32, u32)| self.losses.get(&(*trial, *fold, epoch)).copied();
        let of_members = (0..).zip(lease.members.iter().filter_map(losses));
        let members = of_members.map(|(member, (train, val))| v1::MemberEpochs {
            member,
            train_loss: vec![train + more],
            metrics: vec![val + more],
            diverged: false,
        });
        v1::ReportEpochsRequest {
            lease: Some(lease.claim.into()),
            first_epoch: epoch,
            metrics: vec!["val_loss".into()],
            members: members.collect(),
        }
    }

    /// The first row in which a study of that name differs from the undisturbed run, if there is one.
    ///
    /// # Errors
    /// A view cannot be read.
    pub async fn first_difference(&self, client: &Client, name: &str) -> anyhow::Result<Option<String>> {
        let (its, ours) = (format!("\"study\":\"{name}\""), format!("\"study\":\"{NAME}\""));
        let mut found = client.all_rows(name).await?;
        for row in found.iter_mut().flat_map(|(_, rows)| rows) {
            *row = row.replace(&its, &ours);
        }
        Ok(difference(&self.rows, &found).map(|difference| format!("{name}: {difference}")))
    }
}

/// Many jobs of a few members each, of which none diverges.
fn study(size: Size) -> anyhow::Result<Value> {
    let mut study = studies::small(NAME, size.trials, size.epochs)?;
    study["space"]["optimizer"] = json!({ "choice": ["adam"] });
    study["space"]["learning_rate"] = json!({ "log_uniform": { "low": 1e-4, "high": 1e-2 } });
    study.as_object_mut().map(|study| study.remove("refit"));
    Ok(study)
}
