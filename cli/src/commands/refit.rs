//! `trawl refit`: one configuration is trained again.

use trawl_proto::v1::RefitStudyRequest;

use super::watch;
use crate::args::RefitArgs;
use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::Output;

/// Starts a refit.
pub(super) async fn refit(client: &mut Client, args: &RefitArgs, output: &mut Output) -> Result<(), Error> {
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
        watch::watch_refit(client, &args.study, refit.refit, output).await?;
    }
    Ok(())
}
