//! Watches a study for subscribers.

use std::time::Duration;

use tokio::sync::mpsc;
use tonic::Status;
use trawl_domain::state::TrialState;
use trawl_proto::v1;

use super::admission::DatabaseSlots;
use super::study_view;
use crate::app::App;
use crate::app::read_study::{self, StudyView};

/// Least time between two looks at a watched study.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// Most time between two looks, even without a notification.
const WATCH_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Sends a study now and after every change, until it and its refits ended.
pub(super) async fn watch(
    app: &App,
    database: &DatabaseSlots,
    mut view: StudyView,
    sender: &mpsc::Sender<Result<v1::WatchStudyResponse, Status>>,
) {
    let mut changed = app.studies_changed();
    let mut sent = None;
    loop {
        let study = study_view::study(&view);
        let refits_ended = view
            .refits
            .iter()
            .all(|(refit, _)| !matches!(refit.state, TrialState::Queued | TrialState::Running));
        let ended = view.record.state.is_final() && refits_ended;
        if sent.as_ref() != Some(&study) {
            if sender
                .send(Ok(v1::WatchStudyResponse {
                    study: Some(study.clone()),
                }))
                .await
                .is_err()
            {
                return;
            }
            sent = Some(study);
        }
        if ended {
            return;
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
        // Looks again even if a notification is late or lost.
        let _ = tokio::time::timeout(WATCH_LOOK_INTERVAL, changed.changed()).await;
        let id = view.record.study_id.to_string();
        match database.run(read_study::get_study(app, &id)).await {
            Ok(next) => view = next,
            Err(status) => {
                let _ = sender.send(Err(status)).await;
                return;
            }
        }
    }
}
