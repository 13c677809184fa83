//! `trawl report`: a study as one HTML page, and its figures as PNG files.

use std::path::Path;

use tonic::Status;
use trawl_proto::v1;
use trawl_report::{Report, Source, StudyData};

use crate::args::ReportArgs;
use crate::client::{Client, patiently, unary};
use crate::error::{Error, say};
use crate::output::{Output, write_whole};

/// The coordinator keeps no artifact that is larger.
const ARTIFACT_BYTES_MAX: usize = 64 << 20;

/// Makes the report of a study.
pub(super) async fn report(client: &Client, args: &ReportArgs, output: &mut Output) -> Result<(), Error> {
    let study = StudyData::read(&Remote(client), &args.study, u64::MAX).await?;
    let report = Report::of(&study);
    for error in report.errors() {
        say(&error);
    }
    // A reader of the file finds the old page or the new one, and never half of one.
    write_whole(&args.output, |draft| std::fs::write(draft, report.page()))?;
    output.line(&format!("report {}", args.output.display()))?;
    if let Some(folder) = &args.png {
        let figures = write_png(&report, folder)?;
        output.line(&format!("figures {}: {figures}", folder.display()))?;
    }
    output.flush()
}

/// Writes every figure into a folder, which is made if it is missing; gives their number.
fn write_png(report: &Report, folder: &Path) -> Result<usize, Error> {
    let failed = |error: std::io::Error| Error::Failed(format!("cannot make {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut written = 0;
    for picture in report.pictures() {
        let png = picture
            .png()
            .map_err(|error| Error::Failed(format!("cannot draw {} as PNG: {error}", picture.name())))?;
        write_whole(&folder.join(format!("{}.png", picture.name())), |draft| {
            std::fs::write(draft, png)
        })?;
        written += 1;
    }
    Ok(written)
}

/// A coordinator, by its RPCs.
struct Remote<'a>(&'a Client);

impl Source for Remote<'_> {
    async fn study(&self, request: v1::GetStudyRequest) -> Result<v1::GetStudyResponse, Status> {
        let mut client = self.0.clone();
        Ok(client.get_study(unary(request)).await?.into_inner())
    }

    async fn trials(&self, request: v1::ListTrialsRequest) -> Result<v1::ListTrialsResponse, Status> {
        patiently(|| {
            let (mut client, request) = (self.0.clone(), unary(request.clone()));
            async move { client.list_trials(request).await }
        })
        .await
    }

    async fn best_trials(&self, request: v1::ListBestTrialsRequest) -> Result<v1::ListBestTrialsResponse, Status> {
        let mut client = self.0.clone();
        Ok(client.list_best_trials(unary(request)).await?.into_inner())
    }

    async fn epoch_reports(
        &self,
        request: v1::ListEpochReportsRequest,
    ) -> Result<v1::ListEpochReportsResponse, Status> {
        patiently(|| {
            let (mut client, request) = (self.0.clone(), unary(request.clone()));
            async move { client.list_epoch_reports(request).await }
        })
        .await
    }

    async fn artifact(&self, request: v1::GetArtifactRequest) -> Result<Vec<u8>, Status> {
        let mut client = self.0.clone();
        let mut pieces = client.get_artifact(unary(request)).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(answer) = pieces.message().await? {
            bytes.extend_from_slice(&answer.chunk);
            if bytes.len() > ARTIFACT_BYTES_MAX {
                return Err(Status::resource_exhausted("an artifact is above 64 MiB"));
            }
        }
        Ok(bytes)
    }
}
