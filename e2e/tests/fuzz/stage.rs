//! The objects of a round's requests: a study amid its work, one that was cancelled, a worker with leases, files.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tonic::Code;
use trawl_e2e::{Client, ScriptedWorker, repository, studies};
use trawl_proto::v1;

/// A token that may be revoked.
const SPARE_TOKEN: &str = "spare";

/// Names of existing things.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The example, on registered files.
    pub(crate) example: v1::Study,
    pub(crate) studies: Vec<String>,
    pub(crate) worker_id: String,
    pub(crate) leases: Vec<v1::Lease>,
    /// Jobs under whose leases nothing was reported.
    pub(crate) jobs: Vec<v1::LeasedJob>,
    pub(crate) hashes: Vec<String>,
}

impl Known {
    /// What a field of that name may hold.
    pub(crate) fn texts(&self, field: &str) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match field {
            "study" => self.studies.clone(),
            "worker_id" => vec![self.worker_id.clone()],
            "sha256" => self.hashes.clone(),
            "job_id" => self.leases.iter().map(|lease| lease.job_id.clone()).collect(),
            "token" => self
                .leases
                .iter()
                .map(|lease| lease.token.clone())
                .chain([SPARE_TOKEN.to_owned()])
                .collect(),
            "name" => words(&["weights.safetensors", "fold-0.safetensors", "network.json", "fuzzed"]),
            "train" | "test" => self.hashes.iter().map(|hash| format!("sha256:{hash}")).collect(),
            "page_token" => {
                let id = self.studies.first().cloned().unwrap_or_default();
                let micros = [
                    "0",
                    "1700000000000000",
                    "-8334601228800000000",
                    "253402300799999999",
                    "9223372036854775807",
                    "8210266876799999999",
                ];
                let moments = micros.iter().map(|micros| format!("{micros}.{id}"));
                let others = words(&[
                    "0",
                    "12",
                    "4294967295",
                    "0.0",
                    "1.99999",
                    "refit.0.a",
                    "trial.0.fold-0.safetensors",
                    "trial.4294967295.x",
                ]);
                let others: Vec<String> = others;
                moments.chain(others).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Puts things into place, and thereby shows that a worker and a user get on.
pub(crate) struct Stage {
    client: Client,
    files: Vec<Vec<u8>>,
}

impl Stage {
    pub(crate) fn new(client: Client) -> anyhow::Result<Self> {
        let files =
            ["train", "test"].map(|which| std::fs::read(repository().join(format!("examples/data/{which}.csv"))));
        Ok(Self {
            client,
            files: files.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// Clears everything away, and begins anew.
    pub(crate) async fn set(&self, round: u64) -> anyhow::Result<Known> {
        self.clear().await?;
        let mut hashes = Vec::new();
        for file in &self.files {
            let name = self.client.put_dataset(file).await?;
            hashes.push(name.trim_start_matches("sha256:").to_owned());
        }
        let live = self.submit(&format!("live-{round}"), &hashes).await?;
        let mut worker = ScriptedWorker::register(&self.client).await?;
        let jobs = worker.lease(6).await?;
        ensure!(jobs.len() == 6, "{} jobs of a new study", jobs.len());
        let [finished, partly, kept, ..] = &jobs[..] else {
            anyhow::bail!("jobs")
        };
        worker.report_all(finished).await?;
        let first = finished.job.as_ref().and_then(|job| job.members.first());
        let name = format!("fold-{}.safetensors", first.map_or(0, |member| member.fold));
        ensure!(worker.leave(finished, 0, &name, b"weights").await?, "an artifact");
        ensure!(worker.finish(finished).await?, "a job could not be finished");
        ensure!(worker.report(partly, 0).await?, "a report");
        let checkpoint = ScriptedWorker::checkpoint_messages(kept, 0, b"a checkpoint");
        ensure!(
            worker.put_checkpoint(tokio_stream::iter(checkpoint)).await?,
            "a checkpoint"
        );
        ensure!(worker.heartbeat(&[partly, kept]).await? == [true, true], "a heartbeat");
        let ended = self.submit(&format!("ended-{round}"), &hashes).await?;
        self.client.trawl_stdout(&["cancel", &ended.name])?;
        Ok(Known {
            example: studies::from_json(&example("fuzzed", &hashes)?)?,
            studies: vec![live.study_id, live.name, ended.study_id, ended.name],
            worker_id: worker.id().to_owned(),
            jobs: jobs[2..].to_vec(),
            leases: jobs.iter().filter_map(|job| job.lease.clone()).collect(),
            hashes,
        })
    }

    async fn submit(&self, name: &str, hashes: &[String]) -> anyhow::Result<v1::StudySummary> {
        self.client.submit(example(name, hashes)?).await
    }

    /// Cancels and deletes all studies, those too that came by chance.
    async fn clear(&self) -> anyhow::Result<()> {
        let mut client = self.client.studies().await?;
        let request = v1::ListStudiesRequest {
            page_size: 1_000,
            page_token: String::new(),
        };
        let there = client.list_studies(request).await?.into_inner().studies;
        for study in there.into_iter().map(|study| study.study_id) {
            let cancelled = client
                .cancel_study(v1::CancelStudyRequest { study: study.clone() })
                .await;
            if let Err(status) = cancelled {
                ensure!(status.code() == Code::FailedPrecondition, "{status}");
            }
            client.delete_study(v1::DeleteStudyRequest { study }).await?;
        }
        let mut admin = self.client.tokens().await?;
        let spare = v1::CreateTokenRequest {
            name: SPARE_TOKEN.to_owned(),
            role: "reader".to_owned(),
            lifetime_seconds: None,
        };
        match admin.create_token(spare).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status.into()),
            _ => Ok(()),
        }
    }
}

/// Trials of three folds, two epochs each.
fn example(name: &str, hashes: &[String]) -> anyhow::Result<Value> {
    let mut study = studies::small(name, 24, 2)?;
    let [train, test] = hashes else {
        anyhow::bail!("two files")
    };
    let csv = study.pointer_mut("/dataset/csv").context("the example has a CSV")?;
    csv["train"] = json!(format!("sha256:{train}"));
    csv["test"] = json!(format!("sha256:{test}"));
    Ok(study)
}
