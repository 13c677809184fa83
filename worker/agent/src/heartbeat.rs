//! The heartbeat renews the leases on calls separate from reports, so that a slow stream loses no job. The fence is
//! separate from the heartbeat, so that a hanging call does not delay it.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{info, warn};
use trawl_proto::{retry_after, v1};

use super::leases::Leases;
use super::{Agent, Times};

/// Renews all leases at every interval, and at once after a new one, until `stop`. A heartbeat without an answer within half an
/// interval is abandoned, and the next one follows: a lease survives several lost heartbeats, and with them a lost coordinator.
pub(super) async fn heartbeat(agent: Arc<Agent>, times: Times, stop: CancellationToken) {
    let answer_within = times.heartbeat_interval / 2;
    let mut next = Instant::now() + times.heartbeat_interval;
    loop {
        tokio::select! {
            biased;
            () = sleep_until(next) => {}
            () = agent.leases.came() => {}
            () = stop.cancelled() => return,
        }
        // The lease runs from some moment after the request left: counting from before that never overrates it.
        let sent = Instant::now();
        let leases = agent.leases.all();
        let request = v1::HeartbeatRequest {
            worker_id: agent.settings.worker_id.to_string(),
            leases: leases.iter().map(|lease| (*lease).into()).collect(),
        };
        next = sent + answer_within;
        match timeout(answer_within, agent.connection.client().heartbeat(request)).await {
            Ok(Ok(answer)) => {
                agent.connection.answered();
                next = sent + times.heartbeat_interval;
                for (lease, status) in leases.into_iter().zip(answer.into_inner().statuses) {
                    let status = v1::LeaseStatus::try_from(status).unwrap_or(v1::LeaseStatus::Unspecified);
                    if matches!(status, v1::LeaseStatus::Held | v1::LeaseStatus::Recalled) {
                        agent.leases.renewed(lease, sent + times.lease_ttl);
                    } else {
                        // Its job may have ended just now, or its study.
                        info!(job.id = %lease.job_id, "lease lost");
                        agent.leases.lost(lease);
                    }
                    if status == v1::LeaseStatus::Recalled {
                        agent.leases.recalled(lease);
                    }
                }
            }
            Ok(Err(status)) if status.code() == Code::NotFound => super::recover(&agent, &status).await,
            Ok(Err(status)) => {
                // When asked to slow down, it retries as soon as it may: a lease has no time to lose.
                if let Some(after) = retry_after(&status) {
                    next = next.min(Instant::now() + after);
                }
                agent.connection.failed("heartbeat failed", &status);
            }
            Err(_) => {
                let reason = format!("no answer within {} ms", answer_within.as_millis());
                let status = Status::deadline_exceeded(reason);
                agent.connection.failed("heartbeat failed", &status);
            }
        }
    }
}

/// Stops the job of each lease that was not renewed, at the moment when the lease may have run out, until `stop`.
pub(super) async fn fence(leases: Leases, stop: CancellationToken) {
    loop {
        let next = leases.next_end();
        let ends = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ends => {}
            // Renewed leases end later than expected; a new one may end first.
            () = leases.came_to_be_fenced() => {}
            () = stop.cancelled() => return,
        }
        let fenced = leases.fence(Instant::now());
        if fenced > 0 {
            warn!(jobs = fenced, "leases may have run out unnoticed: their jobs stop");
        }
    }
}
