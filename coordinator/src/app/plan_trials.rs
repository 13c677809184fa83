//! Plan: samples the next window of a study's trials and queues the jobs that train them.

use tracing::{debug, info};
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::job;
use trawl_domain::seed::Owner;

use super::{App, AppError};
use crate::store::folds::{self, NewFold};
use crate::store::jobs::{self, JobSplit, NewJob};
use crate::store::{Connection, studies, trials};

/// Plans a window of the study that waits longest for one; false if none does.
pub async fn plan_next(app: &App) -> Result<bool, AppError> {
    let mut tx = app.begin().await?;
    let Some(study_id) = studies::next_to_plan(&mut tx).await? else {
        return Ok(false);
    };
    plan_window(app, &mut tx, study_id).await?;
    tx.commit().await?;
    app.signal_studies();
    Ok(true)
}

/// Plans the next window of one study. Another request may have planned it meanwhile: then nothing happens.
pub(super) async fn plan_window(app: &App, conn: &mut Connection, study_id: StudyId) -> Result<(), AppError> {
    let record = studies::lock(conn, study_id).await?;
    let study = app.study_of(&record)?;
    let window = job::plan_window(&study.study, record.next_trial).map_err(|v| AppError::stored_study(study_id, &v))?;
    let Some(window) = window else {
        debug!(study.id = %study_id, "all trials are planned");
        return Ok(());
    };
    let mut new_jobs = Vec::with_capacity(window.jobs.len());
    let mut new_folds = Vec::new();
    for planned in &window.jobs {
        let job_id = JobId(app.new_id());
        new_jobs.push(NewJob {
            job_id,
            members: planned.folds.len() as u32,
            epochs: planned.epochs,
            split: JobSplit::Validation,
        });
        new_folds.extend((0..).zip(&planned.folds).map(|(member, fold)| NewFold {
            job_id,
            member,
            owner: Owner::Trial(fold.trial),
            fold: fold.fold,
        }));
    }
    trials::insert(conn, study_id, &window.trials).await?;
    jobs::insert(conn, study_id, None, &new_jobs).await?;
    folds::insert(conn, study_id, &new_folds).await?;
    let next_trial = record.next_trial + window.trials.len() as u32;
    studies::set_next_trial(conn, study_id, next_trial).await?;
    info!(study.id = %study_id, study.name = record.name, plan.trials = window.trials.len(), plan.jobs = new_jobs.len(),
        plan.next_trial = next_trial, "trials planned");
    Ok(())
}
