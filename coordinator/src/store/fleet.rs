//! Jobs, studies and workers, counted for the gauges.

use super::{Connection, StoreError};

/// Jobs, studies and workers by state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetCounts {
    /// Leases.
    pub leases: i64,
    /// Trials of running studies that have not ended.
    pub trials_open: i64,
    /// Jobs that the workers online can train at once.
    pub slots: i64,
    /// Jobs that these workers train.
    pub slots_busy: i64,
    /// Studies that paused by themselves.
    pub studies_self_paused: i64,
    jobs_queued: i64,
    jobs_paused: i64,
    studies: [i64; 6],
    workers_online: i64,
    workers_lost: i64,
    workers_stopped: i64,
}

const STUDY_STATES: [&str; 6] = ["running", "paused", "refitting", "completed", "failed", "cancelled"];

/// States, each with its number if that is known.
type ByState<const N: usize> = [(&'static str, Option<i64>); N];

impl FleetCounts {
    /// Jobs that have not ended.
    pub fn jobs(counts: Option<&Self>) -> ByState<3> {
        [
            ("queued", counts.map(|counts| counts.jobs_queued)),
            ("paused", counts.map(|counts| counts.jobs_paused)),
            ("leased", counts.map(|counts| counts.leases)),
        ]
    }

    /// Studies that are not deleted.
    pub fn studies(counts: Option<&Self>) -> ByState<6> {
        let mut index = 0;
        STUDY_STATES.map(|state| {
            index += 1;
            (state, counts.map(|counts| counts.studies[index - 1]))
        })
    }

    /// Workers that were seen within a day.
    pub fn workers(counts: Option<&Self>) -> ByState<3> {
        [
            ("online", counts.map(|counts| counts.workers_online)),
            ("lost", counts.map(|counts| counts.workers_lost)),
            ("stopped", counts.map(|counts| counts.workers_stopped)),
        ]
    }
}

/// Counts from the queue, studies, workers and leases; reads neither trials nor reports.
pub async fn count(conn: &mut Connection) -> Result<FleetCounts, StoreError> {
    let row = sqlx::query!(
        r#"WITH queued AS (
             SELECT count(*) FILTER (WHERE s.state <> 'paused') AS open, count(*) FILTER (WHERE s.state = 'paused') AS paused
             FROM trawl_store.jobs j JOIN trawl_store.studies s USING (study_id)
             WHERE j.state = 'queued'
         ), of_studies AS (
             SELECT coalesce(sum(max_trials - trials_completed - trials_pruned - trials_failed - trials_cancelled)
                             FILTER (WHERE state = 'running'), 0)::bigint AS trials_open,
                    count(*) FILTER (WHERE state = 'running') AS running, count(*) FILTER (WHERE state = 'paused') AS paused,
                    count(*) FILTER (WHERE pause_reason IS NOT NULL) AS self_paused,
                    count(*) FILTER (WHERE state = 'refitting') AS refitting,
                    count(*) FILTER (WHERE state = 'completed') AS completed,
                    count(*) FILTER (WHERE state = 'failed') AS failed,
                    count(*) FILTER (WHERE state = 'cancelled') AS cancelled
             FROM trawl_store.studies
             WHERE deleted_at IS NULL
         ), seen AS (
             SELECT worker_id, slots,
                    CASE WHEN stopped_at IS NOT NULL THEN 'stopped'
                         WHEN last_seen_at + lost_after < clock_timestamp() THEN 'lost'
                         ELSE 'online' END AS state
             FROM trawl_store.workers
             WHERE last_seen_at > clock_timestamp() - interval '1 day'
         ), of_workers AS (
             SELECT count(*) FILTER (WHERE state = 'online') AS online, count(*) FILTER (WHERE state = 'lost') AS lost,
                    count(*) FILTER (WHERE state = 'stopped') AS stopped,
                    coalesce(sum(slots) FILTER (WHERE state = 'online'), 0)::bigint AS slots
             FROM seen
         )
         SELECT (SELECT count(*) FROM trawl_store.leases) AS "leases!",
                (SELECT count(*) FROM trawl_store.leases JOIN seen USING (worker_id) WHERE state = 'online') AS "slots_busy!",
                queued.open AS "jobs_queued!", queued.paused AS "jobs_paused!",
                s.trials_open AS "trials_open!", s.running AS "running!", s.paused AS "paused!",
                s.self_paused AS "self_paused!", s.refitting AS "refitting!",
                s.completed AS "completed!", s.failed AS "failed!", s.cancelled AS "cancelled!",
                w.online AS "online!", w.lost AS "lost!", w.stopped AS "stopped!", w.slots AS "slots!"
         FROM queued, of_studies s, of_workers w"#,
    )
    .fetch_one(conn)
    .await?;
    Ok(FleetCounts {
        leases: row.leases,
        trials_open: row.trials_open,
        slots: row.slots,
        slots_busy: row.slots_busy,
        studies_self_paused: row.self_paused,
        jobs_queued: row.jobs_queued,
        jobs_paused: row.jobs_paused,
        studies: [
            row.running,
            row.paused,
            row.refitting,
            row.completed,
            row.failed,
            row.cancelled,
        ],
        workers_online: row.online,
        workers_lost: row.lost,
        workers_stopped: row.stopped,
    })
}
