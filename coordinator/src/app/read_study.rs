//! Reads the current state of studies, trials, losses and artifacts.

use chrono::{DateTime, Utc};
use tracing::warn;
use trawl_domain::baseline::Baseline;
use trawl_domain::id::StudyId;
use trawl_domain::metric::TrialValue;
use trawl_domain::racing::Racing;
use trawl_domain::search::Generations;
use trawl_domain::seed::FitOwner;
use trawl_domain::study::Study;

use super::judge_winner::judge_now;
use super::{App, AppError, study_not_found};
use crate::files::Pieces;
use crate::store::Connection;
use crate::store::artifacts::{self, ArtifactRecord, Position};
use crate::store::baselines;
use crate::store::curves::{self, ReportRecord};
use crate::store::folds::{self, FoldRecord};
use crate::store::leases::{self, SlotUse};
use crate::store::refits::{self, RefitRecord};
use crate::store::studies::{self, StudyRecord};
use crate::store::trials::{self, TrialRecord, UnderWay};
use crate::store::winners::{self, ImportanceRecord, WinnerRecord};

/// The current state of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyView {
    /// The study.
    pub record: StudyRecord,
    /// Trials training now.
    pub trials_running: u32,
    /// Where trials depend on each other: the first generation with an unfinished trial, and the number of generations.
    pub generation: Option<(u32, u32)>,
    /// Epoch reports of the whole study, refits included; `None` where a searched number of epochs leaves it open.
    pub epochs_total: Option<u64>,
    /// How its trials are raced, and the epoch reports of the whole study if none were pruned.
    pub race: Option<(Racing, Option<u64>)>,
    /// The best trial so far.
    pub best: Option<TrialRecord>,
    /// Refits with their artifacts.
    pub refits: Vec<(RefitRecord, Vec<ArtifactRecord>)>,
    /// The value of the best trial, once the search has ended. Only for a single study.
    pub winner: Option<WinnerRecord>,
    /// The importance of parameters, likewise.
    pub importance: Option<ImportanceRecord>,
    /// The values of baselines, once the first job has ended. Only for a single study.
    pub baselines: Vec<(Baseline, TrialValue)>,
}

/// One study.
pub async fn get_study(app: &App, study: &str) -> Result<StudyView, AppError> {
    let found = app.find_study(study).await?;
    // A failure here does not fail the request.
    if let Err(error) = judge_now(app, found.study_id).await {
        warn!(study.id = %found.study_id, error = %error, "winner cannot be judged; the next tick tries again");
    }
    let record = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    let views = views(app, &mut conn, vec![record]).await?;
    let mut view = views.into_iter().next().ok_or_else(|| study_not_found(study))?;
    view.winner = winners::of_study(&mut conn, view.record.study_id).await?;
    view.importance = winners::importance(&mut conn, view.record.study_id).await?;
    view.baselines = baselines::of_study(&mut conn, view.record.study_id).await?;
    Ok(view)
}

/// How busy the workers' slots were during a study's search; and, where planning waits for results, the most trials under way at once.
pub async fn slot_use(app: &App, record: &StudyRecord) -> Result<Option<(SlotUse, Option<u32>)>, AppError> {
    let mut conn = app.pool.acquire().await?;
    let used = leases::slot_use(&mut conn, record.study_id).await?;
    let study = app.listed_study(record)?;
    Ok(used.map(|used| (used, study.study.waits().map(Generations::startup_trials))))
}

/// A page of studies, the newest first; `after` is the last study of the page before.
pub async fn list_studies(
    app: &App,
    after: Option<(DateTime<Utc>, StudyId)>,
    limit: u32,
) -> Result<Vec<StudyView>, AppError> {
    let mut conn = app.pool.acquire().await?;
    let records = studies::page(&mut conn, after, limit).await?;
    views(app, &mut conn, records).await
}

/// The current states of studies, read together.
async fn views(app: &App, conn: &mut Connection, records: Vec<StudyRecord>) -> Result<Vec<StudyView>, AppError> {
    let ids: Vec<StudyId> = records.iter().map(|record| record.study_id).collect();
    let mut refits = refits::of_studies(conn, &ids).await?;
    let mut artifacts = artifacts::of_refits(conn, &ids).await?;
    let mut best = trials::best(conn, &ids, 1).await?;
    let under_way = trials::under_way(conn, &ids).await?;
    let views = records.into_iter().map(|record| {
        let id = record.study_id;
        let refits = refits.extract_if(.., |refit| refit.study_id == id).collect();
        let artifacts = artifacts.extract_if(.., |artifact| artifact.study_id == id).collect();
        let best = best.extract_if(.., |trial| trial.study_id == id).next();
        let study = app.listed_study(&record)?;
        Ok(view(
            &study.study,
            record,
            under_way.get(&id).copied().unwrap_or_default(),
            best,
            refits,
            artifacts,
        ))
    });
    views.collect()
}

fn view(
    study: &Study,
    record: StudyRecord,
    under_way: UnderWay,
    best: Option<TrialRecord>,
    refits: Vec<RefitRecord>,
    mut artifacts: Vec<ArtifactRecord>,
) -> StudyView {
    // Until the search ends, its final refit is counted in advance.
    let refit_count = (refits.len() as u64).max(u64::from(study.refit.is_some()));
    let with_refits = |search: u64| search + refit_count * study.refit_epoch_reports();
    let epochs_total = study.search_epoch_reports().map(with_refits);
    let unraced = study.unraced_epoch_reports().map(with_refits);
    let with_artifacts = refits
        .into_iter()
        .map(|refit| {
            let number = refit.refit;
            (
                refit,
                artifacts
                    .extract_if(.., |artifact| artifact.owner == FitOwner::Refit(number))
                    .collect(),
            )
        })
        .collect();
    // Trials depend on each other only across generations.
    let generations = study
        .compares_trials()
        .then(|| study.max_trials.div_ceil(study.generations.size));
    StudyView {
        trials_running: under_way.running,
        generation: under_way.generation.zip(generations),
        best,
        refits: with_artifacts,
        epochs_total,
        winner: None,
        importance: None,
        baselines: Vec::new(),
        race: study.racing.clone().map(|racing| (racing, unraced)),
        record,
    }
}

/// A page of trials by number, from `first` on.
pub async fn list_trials(app: &App, study: &str, first: u32, limit: u32) -> Result<Vec<TrialRecord>, AppError> {
    let record = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    Ok(trials::page(&mut conn, record.study_id, first, limit).await?)
}

/// The head of the ranking.
pub async fn list_best_trials(app: &App, study: &str, limit: u32) -> Result<Vec<TrialRecord>, AppError> {
    let record = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    Ok(trials::best(&mut conn, &[record.study_id], limit).await?)
}

/// One trial with its folds.
pub async fn get_trial(app: &App, study: &str, number: u32) -> Result<(TrialRecord, Vec<FoldRecord>), AppError> {
    let record = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    let trial = trial(&mut conn, &record, number).await?;
    let folds = folds::of_owners(&mut conn, record.study_id, &[number], None).await?;
    Ok((trial, folds))
}

pub(super) async fn trial(conn: &mut Connection, record: &StudyRecord, number: u32) -> Result<TrialRecord, AppError> {
    trials::page(conn, record.study_id, number, 1)
        .await?
        .into_iter()
        .find(|trial| trial.trial == number)
        .ok_or_else(|| AppError::NotFound(format!("study '{}' has no trial {number} yet", record.name)))
}

/// A page of the losses of a trial or a refit.
pub async fn list_epoch_reports(
    app: &App,
    study: &str,
    owner: FitOwner,
    after: Option<(u32, u32)>,
    limit: u32,
) -> Result<Vec<ReportRecord>, AppError> {
    let record = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    match owner {
        FitOwner::Trial(number) => {
            trial(&mut conn, &record, number).await?;
        }
        FitOwner::Refit(number) => {
            if !refits::of_study(&mut conn, record.study_id)
                .await?
                .iter()
                .any(|refit| refit.refit == number)
            {
                return Err(AppError::NotFound(format!(
                    "study '{}' has no refit {number}",
                    record.name
                )));
            }
        }
    }
    Ok(curves::page(&mut conn, record.study_id, owner, after, limit).await?)
}

/// A page of the artifacts of a study; `after` is the last one of the page before.
pub async fn list_artifacts(
    app: &App,
    study: &str,
    after: Option<&Position>,
    limit: u32,
) -> Result<Vec<ArtifactRecord>, AppError> {
    let record = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    Ok(artifacts::page(&mut conn, record.study_id, after, limit).await?)
}

/// One artifact with its bytes.
pub async fn get_artifact(
    app: &App,
    study: &str,
    owner: FitOwner,
    name: &str,
) -> Result<(ArtifactRecord, Pieces), AppError> {
    let record = app.find_study(study).await?;
    let not_found = || {
        let owner = match owner {
            FitOwner::Trial(trial) => format!("trial {trial}"),
            FitOwner::Refit(refit) => format!("refit {refit}"),
        };
        AppError::NotFound(format!(
            "{owner} of study '{}' has no artifact of that name",
            record.name
        ))
    };
    let mut conn = app.pool.acquire().await?;
    let found = artifacts::find(&mut conn, record.study_id, owner, name).await?;
    drop(conn);
    let artifact = found.ok_or_else(not_found)?;
    match app.files.read(&artifact.object_key).await {
        Ok(pieces) => Ok((artifact, pieces)),
        // Its trial has just dropped out of the best ones.
        Err(error) if error.is_not_found() => Err(not_found()),
        Err(error) => Err(error.into()),
    }
}
