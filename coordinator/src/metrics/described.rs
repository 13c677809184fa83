//! Descriptions of all metrics.

use metrics::{KeyName, Recorder, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;

/// Registers the description of each metric.
pub(super) fn describe(recorder: &PrometheusRecorder) {
    for (name, help) in GAUGES {
        recorder.describe_gauge(KeyName::from_const_str(name), None, (*help).into());
    }
    for (name, help) in COUNTERS {
        recorder.describe_counter(KeyName::from_const_str(name), None, (*help).into());
    }
    for (name, unit, help) in HISTOGRAMS {
        recorder.describe_histogram(KeyName::from_const_str(name), Some(*unit), (*help).into());
    }
}

/// Gauges, with descriptions.
const GAUGES: &[(&str, &str)] = &[
    ("trawl_build_info", "1; the version of this coordinator."),
    ("trawl_database_up", "1 if Postgres answered at this scrape."),
    (
        "trawl_jobs",
        "Jobs that may be leased (queued), wait for a paused study (paused), or train (leased). From the database, the same from every coordinator.",
    ),
    (
        "trawl_leases",
        "Leases that are held. From the database, the same from every coordinator.",
    ),
    (
        "trawl_trials_open",
        "Trials of running studies that have not ended, planned or not. From the database, the same from every coordinator.",
    ),
    (
        "trawl_studies",
        "Studies by state. From the database, the same from every coordinator.",
    ),
    (
        "trawl_studies_self_paused",
        "Studies that paused by themselves, for the reason that `trawl show` gives. From the database, the same from every coordinator.",
    ),
    (
        "trawl_quota_used",
        "What studies take of each quota. From the database, the same from every coordinator.",
    ),
    ("trawl_quota_limit", "What they may take, by this process's flags."),
    (
        "trawl_tls_certificate_end_seconds",
        "When the first certificate of --tls-cert ends, in seconds since 1970; NaN without TLS.",
    ),
    (
        "trawl_workers",
        "Workers seen within a day, by state. From the database, the same from every coordinator.",
    ),
    (
        "trawl_worker_slots",
        "Jobs that the workers online can train at once. From the database, the same from every coordinator.",
    ),
    (
        "trawl_worker_slots_busy",
        "Jobs that they train. From the database, the same from every coordinator.",
    ),
    (
        "trawl_database_pool_used",
        "Connections of this process to Postgres that are in use.",
    ),
    (
        "trawl_database_pool_idle",
        "Connections of this process to Postgres that nobody uses.",
    ),
    (
        "trawl_database_pool_max",
        "Connections to Postgres that this process may have.",
    ),
    (
        "trawl_grpc_calls_open",
        "Calls and streams of this process that are under way.",
    ),
];

/// Counters, with descriptions.
const COUNTERS: &[(&str, &str)] = &[
    (
        "trawl_epoch_reports_total",
        "Epoch reports that this process made durable, second copies among them.",
    ),
    (
        "trawl_report_messages_total",
        "Messages of epoch reports that this process answered, by what became of them.",
    ),
    ("trawl_jobs_leased_total", "Leases that this process granted."),
    (
        "trawl_leases_ended_total",
        "Leases that this process ended, by how they ended.",
    ),
    (
        "trawl_attempts_failed_total",
        "Attempts at jobs that failed, noted by this process, by cause.",
    ),
    (
        "trawl_calls_refused_total",
        "Calls that this process refused before they reached a service, by reason; the web port's among them.",
    ),
    ("trawl_grpc_calls_total", "Calls that ended in this process, by how."),
    (
        "trawl_upload_bytes_total",
        "Bytes of files that this process put into the object store, by kind.",
    ),
];

/// Histograms, with units and descriptions.
const HISTOGRAMS: &[(&str, Unit, &str)] = &[
    (
        "trawl_report_commit_rows",
        Unit::Count,
        "Epoch reports of one transaction of this process.",
    ),
    (
        "trawl_report_acknowledgement_seconds",
        Unit::Seconds,
        "Time from a message of epoch reports to its answer in this process.",
    ),
    (
        "trawl_claim_seconds",
        Unit::Seconds,
        "Time of a worker's claim of jobs in the database.",
    ),
    (
        "trawl_database_wait_seconds",
        Unit::Seconds,
        "Time until this process had a connection to Postgres and its transaction had begun.",
    ),
];
