//! Reads studies for reports made inside the coordinator: through the users' service, within its limits.

use tokio_stream::StreamExt;
use tonic::{Request, Status};
use trawl_proto::v1;
use trawl_proto::v1::study_service_server::StudyService;
use trawl_report::Source;

use super::study_service::Studies;

impl Source for Studies {
    async fn study(&self, request: v1::GetStudyRequest) -> Result<v1::GetStudyResponse, Status> {
        Ok(self.get_study(Request::new(request)).await?.into_inner())
    }

    async fn trials(&self, request: v1::ListTrialsRequest) -> Result<v1::ListTrialsResponse, Status> {
        Ok(self.list_trials(Request::new(request)).await?.into_inner())
    }

    async fn best_trials(&self, request: v1::ListBestTrialsRequest) -> Result<v1::ListBestTrialsResponse, Status> {
        Ok(self.list_best_trials(Request::new(request)).await?.into_inner())
    }

    async fn epoch_reports(
        &self,
        request: v1::ListEpochReportsRequest,
    ) -> Result<v1::ListEpochReportsResponse, Status> {
        Ok(StudyService::list_epoch_reports(self, Request::new(request))
            .await?
            .into_inner())
    }

    async fn artifact(&self, request: v1::GetArtifactRequest) -> Result<Vec<u8>, Status> {
        let mut pieces = self.get_artifact(Request::new(request)).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?.chunk);
        }
        Ok(bytes)
    }
}
