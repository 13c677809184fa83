//! What a report is made of, read from a coordinator and bounded.

use std::collections::BTreeMap;

use tonic::Status;
use trawl_proto::v1::list_epoch_reports_request::Of;
use trawl_proto::v1::{
    DataSummary, Distribution, EpochReport, GetArtifactRequest, GetStudyRequest, GetStudyResponse,
    ListBestTrialsRequest, ListBestTrialsResponse, ListEpochReportsRequest, ListEpochReportsResponse,
    ListTrialsRequest, ListTrialsResponse, Objective, RefitSummary, Study, StudySummary, Trial,
};

/// Trials that are drawn, the first ones by number.
pub(crate) const TRIALS_MAX: usize = 10_000;
/// Rows of the ranking.
pub(crate) const RANKING_MAX: u32 = 25;
/// Best trials whose learning curves are drawn.
pub(crate) const CURVES_MAX: usize = 10;
/// Refits that are drawn, the last ones.
pub(crate) const REFITS_MAX: usize = 5;
/// Epoch reports of one trial or refit: those of 50 folds of 800 epochs.
pub(crate) const EPOCH_REPORTS_MAX: usize = 40_000;
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
pub struct StudyData {
    pub(crate) summary: StudySummary,
    pub(crate) spec: Study,
    pub(crate) data: Option<DataSummary>,
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
    /// Artifacts that are not drawn, since they are too large together with those before them.
    pub(crate) left_out: Vec<String>,
}

/// An artifact with its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArtifactFile {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Where studies are read: from a coordinator by its RPCs, or within it.
pub trait Source: Sync {
    /// As `GetStudy`.
    fn study(&self, request: GetStudyRequest) -> impl Future<Output = Result<GetStudyResponse, Status>> + Send;
    /// As `ListTrials`.
    fn trials(&self, request: ListTrialsRequest) -> impl Future<Output = Result<ListTrialsResponse, Status>> + Send;
    /// As `ListBestTrials`.
    fn best_trials(
        &self,
        request: ListBestTrialsRequest,
    ) -> impl Future<Output = Result<ListBestTrialsResponse, Status>> + Send;
    /// As `ListEpochReports`.
    fn epoch_reports(
        &self,
        request: ListEpochReportsRequest,
    ) -> impl Future<Output = Result<ListEpochReportsResponse, Status>> + Send;
    /// The bytes of an artifact, as `GetArtifact` sends them in pieces.
    fn artifact(&self, request: GetArtifactRequest) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
}

impl StudyData {
    /// Reads the search of a study by its name or id, without curves and refits: this number of trials, and the best ones.
    ///
    /// # Errors
    /// What the source answers, as of an unknown study.
    pub async fn read_search(
        source: &impl Source,
        study: &str,
        trials_max: usize,
        best_max: u32,
    ) -> Result<Self, Status> {
        let answer = source.study(GetStudyRequest { study: study.into() }).await?;
        let summary = answer.study.unwrap_or_default();
        // By id from here on: a name could be another study's a moment later.
        let (trials, are_trials_cut) = trials(source, &summary.study_id, trials_max).await?;
        let request = ListBestTrialsRequest {
            study: summary.study_id.clone(),
            limit: best_max,
        };
        let ranking = source.best_trials(request).await?.trials;
        Ok(Self {
            summary,
            spec: answer.spec.unwrap_or_default(),
            data: answer.data,
            trials,
            are_trials_cut,
            ranking,
            curves: Vec::new(),
            refits: Vec::new(),
        })
    }

    /// Reads all of a study by its name or id, with artifacts of this many bytes together: they take several times that while they are drawn.
    ///
    /// # Errors
    /// What the source answers, as of an unknown study.
    pub async fn read(source: &impl Source, study: &str, artifact_bytes_max: u64) -> Result<Self, Status> {
        let mut read = Self::read_search(source, study, TRIALS_MAX, RANKING_MAX).await?;
        let study = &read.summary.study_id.clone();
        for trial in read.ranking.iter().take(CURVES_MAX) {
            let reports = epoch_reports(source, study, Of::Trial(trial.trial)).await?;
            let trial = trial.clone();
            read.curves.push(TrialCurves { trial, reports });
        }
        let mut bytes_left = artifact_bytes_max;
        for refit in read.summary.refits.iter().rev().take(REFITS_MAX).rev() {
            read.refits
                .push(refit_data(source, study, refit, &mut bytes_left).await?);
        }
        Ok(read)
    }

    /// What is said of the study as a whole.
    pub fn summary(&self) -> &StudySummary {
        &self.summary
    }

    /// The best trials, the best first.
    pub fn ranking(&self) -> &[Trial] {
        &self.ranking
    }
}

async fn trials(source: &impl Source, study: &str, max: usize) -> Result<(Vec<Trial>, bool), Status> {
    let mut trials = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTrialsRequest {
            study: study.into(),
            page_size: 500,
            page_token,
        };
        let page = source.trials(request).await?;
        trials.extend(page.trials);
        if page.next_page_token.is_empty() || trials.len() > max {
            break;
        }
        page_token = page.next_page_token;
    }
    let are_cut = trials.len() > max;
    trials.truncate(max);
    Ok((trials, are_cut))
}

async fn epoch_reports(source: &impl Source, study: &str, of: Of) -> Result<Vec<EpochReport>, Status> {
    let mut reports = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListEpochReportsRequest {
            study: study.into(),
            of: Some(of),
            page_size: 10_000,
            page_token,
        };
        let page = source.epoch_reports(request).await?;
        reports.extend(page.reports);
        if page.next_page_token.is_empty() || reports.len() >= EPOCH_REPORTS_MAX {
            break;
        }
        page_token = page.next_page_token;
    }
    reports.truncate(EPOCH_REPORTS_MAX);
    Ok(reports)
}

async fn refit_data(
    source: &impl Source,
    study: &str,
    refit: &RefitSummary,
    bytes_left: &mut u64,
) -> Result<RefitData, Status> {
    let reports = epoch_reports(source, study, Of::Refit(refit.refit)).await?;
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for artifact in refit
        .artifacts
        .iter()
        .filter(|artifact| KINDS.contains(&artifact.kind.as_str()))
    {
        let Some(rest) = bytes_left.checked_sub(artifact.bytes) else {
            left_out.push(artifact.name.clone());
            continue;
        };
        *bytes_left = rest;
        let request = GetArtifactRequest {
            study: study.into(),
            refit: Some(refit.refit),
            trial: None,
            name: artifact.name.clone(),
        };
        files.push(ArtifactFile {
            kind: artifact.kind.clone(),
            name: artifact.name.clone(),
            bytes: source.artifact(request).await?,
        });
    }
    Ok(RefitData {
        summary: refit.clone(),
        reports,
        files,
        left_out,
    })
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
