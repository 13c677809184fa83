//! `trawl health`: whether the coordinator can serve. For its supervisor; needs no token.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::client::{HealthClient, unary};
use crate::error::Error;
use crate::output::Output;

/// Prints what the coordinator says of itself.
pub(super) async fn health(client: &mut HealthClient, output: &mut Output) -> Result<(), Error> {
    let status = client
        .check(unary(HealthCheckRequest::default()))
        .await?
        .into_inner()
        .status();
    match status {
        ServingStatus::Serving => {
            output.text("serving\n")?;
            output.flush()
        }
        _ => Err(Error::Failed(
            "the coordinator cannot serve: its database does not answer".into(),
        )),
    }
}
