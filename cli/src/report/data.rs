//! What a report is made of, fetched from the coordinator and bounded.

use std::collections::BTreeMap;

use trawl_proto::v1::list_epoch_reports_request::Of;
use trawl_proto::v1::{
    Distribution, EpochReport, GetArtifactRequest, GetStudyRequest, ListBestTrialsRequest, ListEpochReportsRequest,
    ListTrialsRequest, Objective, RefitSummary, Study, StudySummary, Trial,
};

use crate::client::{Client, patiently, unary};
use crate::error::Error;

/// Trials that are drawn, the first ones by number.
pub(crate) const TRIALS_MAX: usize = 10_000;
/// Rows of the ranking.
pub(crate) const RANKING_MAX: u32 = 25;
/// Best trials whose learning curves are drawn.
pub(crate) const CURVES_MAX: usize = 10;
/// Refits that are drawn, the last ones.
pub(crate) const REFITS_MAX: usize = 5;
/// Epoch reports of one trial or refit.
pub(crate) const EPOCH_REPORTS_MAX: usize = 400_000;
/// The coordinator keeps none that is larger.
const ARTIFACT_BYTES_MAX: u64 = 64 << 20;

/// The kinds of artifacts that are drawn.
const KINDS: [&str; 8] = [
    "calibration",
    "predictions",
    "weight_histograms",
    "activation_profiles",
    "activations",
    "confusion_matrix",
    "feature_maps",
    "misclassified",
];

/// A study with all that its report shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct StudyData {
    pub(crate) summary: StudySummary,
    pub(crate) spec: Study,
    /// By number, at most [`TRIALS_MAX`].
    pub(crate) trials: Vec<Trial>,
    /// True if there are more.
    pub(crate) are_trials_cut: bool,
    /// The best first, at most [`RANKING_MAX`].
    pub(crate) ranking: Vec<Trial>,
    /// Of the head of the ranking, at most [`CURVES_MAX`].
    pub(crate) curves: Vec<TrialCurves>,
    /// The last [`REFITS_MAX`] by number.
    pub(crate) refits: Vec<RefitData>,
}

/// A trial's epoch reports.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrialCurves {
    pub(crate) trial: Trial,
    pub(crate) reports: Vec<EpochReport>,
}

/// A refit with what it left.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefitData {
    pub(crate) summary: RefitSummary,
    pub(crate) reports: Vec<EpochReport>,
    pub(crate) files: Vec<ArtifactFile>,
}

/// An artifact with its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArtifactFile {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Fetches a study.
///
/// # Errors
/// An unknown study, a broken connection, an artifact above 64 MiB.
pub(crate) async fn fetch(client: &mut Client, study: &str) -> Result<StudyData, Error> {
    let request = GetStudyRequest { study: study.into() };
    let answer = client.get_study(unary(request)).await?.into_inner();
    let summary = answer.study.unwrap_or_default();
    // By id from here on: a name could be another study's a moment later.
    let study = summary.study_id.as_str();
    let (trials, are_trials_cut) = trials(client, study).await?;
    let request = ListBestTrialsRequest {
        study: study.into(),
        limit: RANKING_MAX,
    };
    let ranking = client.list_best_trials(unary(request)).await?.into_inner().trials;
    let mut curves = Vec::new();
    for trial in ranking.iter().take(CURVES_MAX) {
        let reports = epoch_reports(client, study, Of::Trial(trial.trial)).await?;
        let trial = trial.clone();
        curves.push(TrialCurves { trial, reports });
    }
    let mut refits = Vec::new();
    for refit in summary.refits.iter().rev().take(REFITS_MAX).rev() {
        refits.push(refit_data(client, study, refit).await?);
    }
    Ok(StudyData {
        spec: answer.spec.unwrap_or_default(),
        trials,
        are_trials_cut,
        ranking,
        curves,
        refits,
        summary,
    })
}

async fn trials(client: &Client, study: &str) -> Result<(Vec<Trial>, bool), Error> {
    let mut trials = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTrialsRequest {
            study: study.into(),
            page_size: 500,
            page_token,
        };
        let page = patiently(|| {
            let (mut client, request) = (client.clone(), unary(request.clone()));
            async move { client.list_trials(request).await }
        })
        .await?;
        trials.extend(page.trials);
        if page.next_page_token.is_empty() || trials.len() > TRIALS_MAX {
            break;
        }
        page_token = page.next_page_token;
    }
    let are_cut = trials.len() > TRIALS_MAX;
    trials.truncate(TRIALS_MAX);
    Ok((trials, are_cut))
}

async fn epoch_reports(client: &Client, study: &str, of: Of) -> Result<Vec<EpochReport>, Error> {
    let mut reports = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListEpochReportsRequest {
            study: study.into(),
            of: Some(of),
            page_size: 10_000,
            page_token,
        };
        let page = patiently(|| {
            let (mut client, request) = (client.clone(), unary(request.clone()));
            async move { client.list_epoch_reports(request).await }
        })
        .await?;
        reports.extend(page.reports);
        if page.next_page_token.is_empty() || reports.len() >= EPOCH_REPORTS_MAX {
            break;
        }
        page_token = page.next_page_token;
    }
    reports.truncate(EPOCH_REPORTS_MAX);
    Ok(reports)
}

async fn refit_data(client: &mut Client, study: &str, refit: &RefitSummary) -> Result<RefitData, Error> {
    let reports = epoch_reports(client, study, Of::Refit(refit.refit)).await?;
    let mut files = Vec::new();
    for artifact in &refit.artifacts {
        if KINDS.contains(&artifact.kind.as_str()) {
            files.push(ArtifactFile {
                kind: artifact.kind.clone(),
                name: artifact.name.clone(),
                bytes: artifact_bytes(client, study, refit.refit, &artifact.name).await?,
            });
        }
    }
    Ok(RefitData {
        summary: refit.clone(),
        reports,
        files,
    })
}

async fn artifact_bytes(client: &mut Client, study: &str, refit: u32, name: &str) -> Result<Vec<u8>, Error> {
    let request = GetArtifactRequest {
        study: study.into(),
        refit: Some(refit),
        trial: None,
        name: name.into(),
    };
    let mut chunks = client.get_artifact(unary(request)).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(answer) = chunks.message().await? {
        bytes.extend_from_slice(&answer.chunk);
        if bytes.len() as u64 > ARTIFACT_BYTES_MAX {
            return Err(Error::Failed(format!(
                "artifact {name} of refit {refit} is above 64 MiB"
            )));
        }
    }
    Ok(bytes)
}

/// What an objective is, for people.
pub(crate) fn objective_name(metric: &str) -> &str {
    match metric {
        "val_loss" | "" => "validation loss",
        "val_accuracy" => "validation accuracy",
        "val_mae" => "validation MAE",
        "val_r2" => "validation R²",
        "val_rmse" => "validation RMSE",
        "val_mape" => "validation MAPE",
        "val_balanced_accuracy" => "balanced validation accuracy",
        "val_f1" => "validation F1",
        "val_f1_weighted" => "weighted validation F1",
        "val_auc" => "validation AUC",
        "val_average_precision" => "validation average precision",
        "val_log_loss" => "validation log loss",
        "val_brier" => "validation Brier score",
        "worker_seconds" => "seconds of workers",
        "parameters" => "trainable parameters",
        other => other,
    }
}

impl StudyData {
    /// True if a higher value is better.
    pub(crate) fn is_maximized(&self) -> bool {
        self.summary.goal == "maximize"
    }

    /// What the value of a trial is.
    pub(crate) fn value_name(&self) -> &str {
        objective_name(self.objective().map_or("", |objective| objective.metric.as_str()))
    }

    /// The objective by which trials are ranked; `None` where it was left out.
    pub(crate) fn objective(&self) -> Option<&Objective> {
        self.spec.objective.as_ref().or(self.spec.objectives.first())
    }

    /// The searched parameters, by name.
    pub(crate) fn searched(&self) -> BTreeMap<String, Distribution> {
        trawl_proto::study::searched(&self.spec).into_iter().collect()
    }

    /// True if nothing will be added any more.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.summary.state.as_str(), "completed" | "failed" | "cancelled")
    }
}
