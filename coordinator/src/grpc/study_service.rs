//! `trawl.v1.StudyService`.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use trawl_domain::limits::FILE_NAME_CHARS_MAX;
use trawl_domain::seed::FitOwner;
use trawl_proto::v1;
use trawl_proto::v1::study_service_server::StudyService;

use super::admission::DatabaseSlots;
use super::file_streams::{self, FileStream};
use super::guard::caller;
use super::status::invalid_field;
use super::watch::watch;
use super::{page_token, status, study_view, uploads};
use crate::app::register_worker::list_workers;
use crate::app::submit_study::Submitted;
use crate::app::{
    App, AppError, cancel_study, delete_study, grow_study, pause_study, read_study, refit_study, replay_study,
    retry_trials, submit_study,
};

/// The users' service.
#[derive(Clone, Debug)]
pub struct Studies {
    app: Arc<App>,
    database: DatabaseSlots,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Studies {
    /// The service. Streams end when `stop` is cancelled; `tasks` tracks their tasks.
    pub fn new(app: Arc<App>, stop: CancellationToken, tasks: TaskTracker) -> Self {
        Self {
            app,
            database: DatabaseSlots::new(),
            stop,
            tasks,
        }
    }

    /// Limits a call's time, including the wait for its turn.
    async fn in_turn<T>(&self, call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
        self.database.run(call).await
    }
}

type Answer<T> = Result<Response<T>, Status>;
type StreamOf<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl StudyService for Studies {
    async fn create_study(&self, request: Request<v1::CreateStudyRequest>) -> Answer<v1::CreateStudyResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let Some(wire) = request.study else {
            return Err(invalid_field("study", "is missing"));
        };
        let is_long = |name: &String| name.chars().count() > FILE_NAME_CHARS_MAX;
        if request.file_names.values().any(is_long) {
            return Err(invalid_field(
                "file_names",
                format!("must have at most {FILE_NAME_CHARS_MAX} characters each"),
            ));
        }
        let submitted = self
            .in_turn(submit_study::submit_study(
                &self.app,
                wire,
                request.file_names,
                request.dry_run,
                caller,
            ))
            .await?;
        let notes = submitted.notes();
        let already_there = matches!(submitted, Submitted::AlreadyThere(_));
        let (study, outline) = match submitted {
            Submitted::Started(view, _) | Submitted::AlreadyThere(view) => (study_view::study(&view), None),
            Submitted::WouldStart { study, outline, .. } => {
                let summary = v1::StudySummary {
                    name: study.name,
                    goal: study.objective.goal.to_string(),
                    trials_total: study.max_trials,
                    ..Default::default()
                };
                (summary, Some(study_view::outline(&outline)))
            }
        };
        Ok(Response::new(v1::CreateStudyResponse {
            study: Some(study),
            already_there,
            notes,
            outline,
        }))
    }

    async fn get_study(&self, request: Request<v1::GetStudyRequest>) -> Answer<v1::GetStudyResponse> {
        let view = self
            .in_turn(read_study::get_study(&self.app, &request.into_inner().study))
            .await?;
        let spec = trawl_proto::from_json(&view.record.spec)
            .map_err(|error| status::of(AppError::Internal(format!("study {}: {error}", view.record.study_id))))?;
        let used = self.in_turn(read_study::slot_use(&self.app, &view.record)).await?;
        Ok(Response::new(v1::GetStudyResponse {
            study: Some(study_view::study(&view)),
            data: Some(study_view::data(&view.record, &spec)),
            slots: used.map(|(used, under_way_max)| v1::SlotUse {
                slots: used.slots,
                idle: used.idle,
                under_way_max,
            }),
            spec: Some(spec),
        }))
    }

    async fn list_studies(&self, request: Request<v1::ListStudiesRequest>) -> Answer<v1::ListStudiesResponse> {
        let request = request.into_inner();
        let limit = page_size(request.page_size, 100, 1_000)?;
        let after = page_token::read_moment(&request.page_token)?;
        let views = self.in_turn(read_study::list_studies(&self.app, after, limit)).await?;
        let next_page_token = views
            .last()
            .filter(|_| views.len() == limit as usize)
            .map(|last| page_token::moment(last.record.created_at, &last.record.study_id));
        Ok(Response::new(v1::ListStudiesResponse {
            studies: views.iter().map(study_view::study).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    type WatchStudyStream = StreamOf<v1::WatchStudyResponse>;

    async fn watch_study(&self, request: Request<v1::WatchStudyRequest>) -> Answer<Self::WatchStudyStream> {
        let first = self
            .in_turn(read_study::get_study(&self.app, &request.into_inner().study))
            .await?;
        let (sender, receiver) = mpsc::channel(1);
        let (app, database, stop) = (Arc::clone(&self.app), self.database.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = watch(&app, &database, first, &sender) => {}
                () = sender.closed() => {}
                () = stop.cancelled() => {
                    let _ = sender.send(Err(Status::unavailable("the coordinator stops; ask again"))).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn pause_study(&self, request: Request<v1::PauseStudyRequest>) -> Answer<v1::PauseStudyResponse> {
        let view = self
            .in_turn(pause_study::pause_study(&self.app, &request.into_inner().study))
            .await?;
        Ok(Response::new(v1::PauseStudyResponse {
            study: Some(study_view::study(&view)),
        }))
    }

    async fn resume_study(&self, request: Request<v1::ResumeStudyRequest>) -> Answer<v1::ResumeStudyResponse> {
        let view = self
            .in_turn(pause_study::resume_study(&self.app, &request.into_inner().study))
            .await?;
        Ok(Response::new(v1::ResumeStudyResponse {
            study: Some(study_view::study(&view)),
        }))
    }

    async fn cancel_study(&self, request: Request<v1::CancelStudyRequest>) -> Answer<v1::CancelStudyResponse> {
        let view = self
            .in_turn(cancel_study::cancel_study(&self.app, &request.into_inner().study))
            .await?;
        Ok(Response::new(v1::CancelStudyResponse {
            study: Some(study_view::study(&view)),
        }))
    }

    async fn delete_study(&self, request: Request<v1::DeleteStudyRequest>) -> Answer<v1::DeleteStudyResponse> {
        self.in_turn(delete_study::delete_study(&self.app, &request.into_inner().study))
            .await?;
        Ok(Response::new(v1::DeleteStudyResponse {}))
    }

    async fn list_trials(&self, request: Request<v1::ListTrialsRequest>) -> Answer<v1::ListTrialsResponse> {
        let request = request.into_inner();
        let limit = page_size(request.page_size, 100, 1_000)?;
        let first = page_token::read_trial(&request.page_token)?;
        let trials = self
            .in_turn(read_study::list_trials(&self.app, &request.study, first, limit))
            .await?;
        let next = trials
            .last()
            .filter(|_| trials.len() == limit as usize)
            .map(|last| last.trial + 1);
        Ok(Response::new(v1::ListTrialsResponse {
            trials: trials.iter().map(|trial| study_view::trial(trial, &[])).collect(),
            next_page_token: next.map(|trial| trial.to_string()).unwrap_or_default(),
        }))
    }

    async fn get_trial(&self, request: Request<v1::GetTrialRequest>) -> Answer<v1::GetTrialResponse> {
        let request = request.into_inner();
        let (trial, folds) = self
            .in_turn(read_study::get_trial(&self.app, &request.study, request.trial))
            .await?;
        Ok(Response::new(v1::GetTrialResponse {
            trial: Some(study_view::trial(&trial, &folds)),
        }))
    }

    async fn list_epoch_reports(
        &self,
        request: Request<v1::ListEpochReportsRequest>,
    ) -> Answer<v1::ListEpochReportsResponse> {
        use v1::list_epoch_reports_request::Of;
        let request = request.into_inner();
        let owner = match request.of {
            Some(Of::Trial(trial)) => FitOwner::Trial(trial),
            Some(Of::Refit(refit)) => FitOwner::Refit(refit),
            None => return Err(invalid_field("trial", "is missing: name a trial or a refit")),
        };
        let limit = page_size(request.page_size, 1_000, 10_000)?;
        let after = page_token::read_report(&request.page_token)?;
        let reports = self
            .in_turn(read_study::list_epoch_reports(
                &self.app,
                &request.study,
                owner,
                after,
                limit,
            ))
            .await?;
        let last = reports.last().filter(|_| reports.len() == limit as usize);
        Ok(Response::new(v1::ListEpochReportsResponse {
            next_page_token: last
                .map(|last| page_token::report(last.fold_position, last.epoch))
                .unwrap_or_default(),
            reports: reports.iter().map(study_view::epoch_report).collect(),
        }))
    }

    async fn replay_study(&self, request: Request<v1::ReplayStudyRequest>) -> Answer<v1::ReplayStudyResponse> {
        let request = request.into_inner();
        let first = page_token::read_trial(&request.page_token)?;
        let replay = self
            .in_turn(replay_study::replay_study(&self.app, &request.study, first))
            .await?;
        Ok(Response::new(v1::ReplayStudyResponse {
            trials: replay.trials,
            rungs: replay.rungs,
            differences: replay.differences,
            next_page_token: replay.next_trial.map(|trial| trial.to_string()).unwrap_or_default(),
        }))
    }

    async fn list_best_trials(
        &self,
        request: Request<v1::ListBestTrialsRequest>,
    ) -> Answer<v1::ListBestTrialsResponse> {
        let request = request.into_inner();
        let limit = page_size(request.limit, 10, 1_000)?;
        let trials = self
            .in_turn(read_study::list_best_trials(&self.app, &request.study, limit))
            .await?;
        Ok(Response::new(v1::ListBestTrialsResponse {
            trials: trials.iter().map(|trial| study_view::trial(trial, &[])).collect(),
        }))
    }

    async fn extend_study(&self, request: Request<v1::ExtendStudyRequest>) -> Answer<v1::ExtendStudyResponse> {
        let request = request.into_inner();
        let view = self
            .in_turn(grow_study::extend_study(&self.app, &request.study, request.max_trials))
            .await?;
        Ok(Response::new(v1::ExtendStudyResponse {
            study: Some(study_view::study(&view)),
        }))
    }

    async fn enqueue_trials(&self, request: Request<v1::EnqueueTrialsRequest>) -> Answer<v1::EnqueueTrialsResponse> {
        let request = request.into_inner();
        let (trials, view) = self
            .in_turn(grow_study::enqueue_trials(&self.app, &request.study, &request.trials))
            .await?;
        Ok(Response::new(v1::EnqueueTrialsResponse {
            trials,
            study: Some(study_view::study(&view)),
        }))
    }

    async fn retry_trials(&self, request: Request<v1::RetryTrialsRequest>) -> Answer<v1::RetryTrialsResponse> {
        let retried = self
            .in_turn(retry_trials::retry_trials(&self.app, &request.into_inner().study))
            .await?;
        Ok(Response::new(v1::RetryTrialsResponse {
            trials: retried.trials,
            notes: retried.notes,
            study: Some(study_view::study(&retried.study)),
        }))
    }

    async fn refit_study(&self, request: Request<v1::RefitStudyRequest>) -> Answer<v1::RefitStudyResponse> {
        let request = request.into_inner();
        let refit = self
            .in_turn(refit_study::refit_study(&self.app, &request.study, request.trial))
            .await?;
        Ok(Response::new(v1::RefitStudyResponse {
            refit: Some(study_view::refit(&refit, &[])),
        }))
    }

    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Answer<v1::ListWorkersResponse> {
        let workers = self.in_turn(list_workers(&self.app)).await?;
        Ok(Response::new(v1::ListWorkersResponse {
            workers: workers.iter().map(study_view::worker).collect(),
        }))
    }

    async fn list_artifacts(&self, request: Request<v1::ListArtifactsRequest>) -> Answer<v1::ListArtifactsResponse> {
        let request = request.into_inner();
        let limit = page_size(request.page_size, 100, 1_000)?;
        let after = page_token::read_artifact(&request.page_token)?;
        let artifacts = self
            .in_turn(read_study::list_artifacts(
                &self.app,
                &request.study,
                after.as_ref(),
                limit,
            ))
            .await?;
        let last = artifacts.last().filter(|_| artifacts.len() == limit as usize);
        Ok(Response::new(v1::ListArtifactsResponse {
            next_page_token: last
                .map(|last| page_token::artifact(last.owner, &last.name))
                .unwrap_or_default(),
            artifacts: artifacts.iter().map(study_view::artifact).collect(),
        }))
    }

    type GetArtifactStream = FileStream<v1::GetArtifactResponse>;

    async fn get_artifact(&self, request: Request<v1::GetArtifactRequest>) -> Answer<Self::GetArtifactStream> {
        let request = request.into_inner();
        let owner = match (request.refit, request.trial) {
            (Some(refit), None) => FitOwner::Refit(refit),
            (None, Some(trial)) => FitOwner::Trial(trial),
            (None, None) => return Err(invalid_field("refit", "is missing: name a refit or a trial")),
            (Some(_), Some(_)) => return Err(invalid_field("trial", "must be left out where a refit is named")),
        };
        let (artifact, pieces) = self
            .in_turn(read_study::get_artifact(
                &self.app,
                &request.study,
                owner,
                &request.name,
            ))
            .await?;
        let mut about = Some(study_view::artifact(&artifact));
        let message = move |chunk| v1::GetArtifactResponse {
            artifact: about.take(),
            chunk,
        };
        Ok(Response::new(file_streams::send(&self.tasks, pieces, message)))
    }

    async fn put_dataset(&self, request: Request<Streaming<v1::PutDatasetRequest>>) -> Answer<v1::PutDatasetResponse> {
        let (app, inbound) = (Arc::clone(&self.app), request.into_inner());
        // A separate task tidies up if the caller goes away and takes its call with it.
        let receive = async move { uploads::receive_dataset(&app, inbound).await };
        let registered = self.tasks.spawn(receive);
        let already_there = registered
            .await
            .map_err(|_| Status::unavailable("the upload was cut off; send it again"))??;
        Ok(Response::new(v1::PutDatasetResponse { already_there }))
    }
}

pub(super) fn page_size(asked: u32, default: u32, max: u32) -> Result<u32, Status> {
    match asked {
        0 => Ok(default),
        asked if asked <= max => Ok(asked),
        asked => Err(invalid_field(
            "page_size",
            format!("must be at most {max}, and {asked} is not"),
        )),
    }
}
