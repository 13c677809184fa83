//! Retries calls until there is an answer.

use tonic::{Code, Status};
use trawl_domain::lease::{LeaseClaim, LeaseLost};
use trawl_proto::{retry_after, v1};

use super::Agent;
use super::connection::Backoff;
use super::job_error::JobError;
use super::leases::LeaseEnd;

/// Writes under a lease. Retries until there is an answer: a broken call may or may not have been carried out, and a
/// second copy changes nothing. Gives up once the lease is lost, or is to be handed back while there is no space.
///
/// # Errors
/// [`LeaseLost`], if that is the answer; or the coordinator refuses.
pub(super) async fn write<F>(agent: &Agent, lease: LeaseClaim, call: impl Fn() -> F) -> Result<(), JobError>
where
    F: Future<Output = Result<i32, Status>>,
{
    // Without space there will be none soon: the study was paused for it. A request to slow down has a retry time; a lack of space has none.
    let is_full = |status: &Status| status.code() == Code::ResourceExhausted && retry_after(status).is_none();
    let gives_up = |end, status: &Status| end == LeaseEnd::Lost || is_full(status);
    write_unless(agent, lease, gives_up, call).await
}

/// The same; `gives_up` decides by the lease's end and the failure.
pub(super) async fn write_unless<F>(
    agent: &Agent,
    lease: LeaseClaim,
    gives_up: impl Fn(LeaseEnd, &Status) -> bool,
    call: impl Fn() -> F,
) -> Result<(), JobError>
where
    F: Future<Output = Result<i32, Status>>,
{
    let mut backoff = Backoff::new(agent.settings.worker_id);
    loop {
        match call().await {
            Ok(status) if status == i32::from(v1::LeaseStatus::Held) => return Ok(()),
            Ok(_) => {
                agent.leases.lost(lease);
                return Err(LeaseLost.into());
            }
            Err(status) if may_pass(&status) => {
                if agent.leases.end_of(lease).is_some_and(|end| gives_up(end, &status)) {
                    return Err(JobError::Interrupted);
                }
                agent
                    .connection
                    .failed("the end of a job, or a file of it, was not taken", &status);
                backoff.wait(&status).await;
            }
            Err(status) => return Err(JobError::Refused(Box::new(status))),
        }
    }
}

/// True for failures of the connection or of the moment, after which a retry may succeed.
pub(super) fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::ResourceExhausted
    )
}
