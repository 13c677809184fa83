//! `trawl refit`: one configuration is trained again.

use trawl_proto::v1::RefitStudyRequest;

use super::watch;
use crate::args::RefitArgs;
use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::Output;

/// Starts a refit.
pub(super) async fn refit(
    connect: &impl AsyncFn() -> Result<Client, Error>,
    args: &RefitArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let mut client = connect().await?;
    let request = RefitStudyRequest {
        study: args.study.clone(),
        trial: args.trial,
    };
    let refit = client
        .refit_study(unary(request))
        .await?
        .into_inner()
        .refit
        .unwrap_or_default();
    output.line(&format!("refit {} of trial {}", refit.refit, refit.trial))?;
    output.flush()?;
    if args.watch {
        watch::watch_refit(connect, &mut client, &args.study, refit.refit, output).await?;
    }
    Ok(())
}
