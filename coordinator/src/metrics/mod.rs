//! Metrics for Prometheus. Counters and histograms are this process's own; gauges of jobs, studies and workers are
//! counted in the database ([`crate::app::gauges`]), so every coordinator reports the same.
//!
//! No label grows with studies, trials, jobs, workers or tokens: label values are words of this program.

mod described;

use std::fmt;
use std::time::Duration;

use described::describe;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tonic::Code;
use trawl_domain::failure::FailureCause;

use crate::store::fleet::FleetCounts;
use crate::store::leases::{OUTCOMES, Outcome};

const METADATA: Metadata<'static> = Metadata::new("trawl", Level::INFO, None);
/// From an idle Postgres to an overloaded one.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Up to the rows of the largest commit.
const ROWS: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0];

/// The outcome of a message of epoch reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is durable.
    Durable,
    /// Its lease is lost.
    LeaseLost,
    /// It was not written, and will be sent again.
    NotWritten,
    /// Its job lacks that epoch or member.
    Refused,
}

impl Answered {
    const ALL: [Self; 4] = [Self::Durable, Self::LeaseLost, Self::NotWritten, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::LeaseLost => "lease_lost",
            Self::NotWritten => "not_written",
            Self::Refused => "refused",
        }
    }
}

/// Why a call was refused before it reached a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no token.
    NoToken,
    /// It is not valid.
    BadToken,
    /// The caller's role may not call it.
    Role,
    /// Its caller is over its rate.
    RateLimited,
    /// There is no such RPC.
    NoSuchRpc,
    /// Tokens cannot be read.
    Unavailable,
}

impl Refused {
    const ALL: [Self; 6] = [
        Self::NoToken,
        Self::BadToken,
        Self::Role,
        Self::RateLimited,
        Self::NoSuchRpc,
        Self::Unavailable,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::Role => "role",
            Self::RateLimited => "rate_limited",
            Self::NoSuchRpc => "no_such_rpc",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Connections to Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Open ones.
    pub open: u32,
    /// Idle ones among them.
    pub idle: u32,
    /// The limit.
    pub max: u32,
}

/// All metrics of a coordinator.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    epoch_reports: Counter,
    commit_rows: Histogram,
    acknowledgement: Histogram,
    claim: Histogram,
    jobs_leased: Counter,
    database_wait: Histogram,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_rows".to_owned()), &ROWS))
            // It fails only for an empty list.
            .expect("there are buckets")
            .build_recorder();
        describe(&recorder);
        let histogram = |name| recorder.register_histogram(&Key::from_static_name(name), &METADATA);
        let counter = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let metrics = Self {
            handle: recorder.handle(),
            epoch_reports: counter("trawl_epoch_reports_total"),
            commit_rows: histogram("trawl_report_commit_rows"),
            acknowledgement: histogram("trawl_report_acknowledgement_seconds"),
            claim: histogram("trawl_claim_seconds"),
            jobs_leased: counter("trawl_jobs_leased_total"),
            database_wait: histogram("trawl_database_wait_seconds"),
            recorder,
        };
        metrics.begin_at_zero();
        metrics
    }

    /// A rate counts the first event only if the counter was zero before it.
    fn begin_at_zero(&self) {
        for outcome in OUTCOMES {
            self.counter("trawl_leases_ended_total", "outcome", outcome).absolute(0);
        }
        for cause in FailureCause::ALL {
            self.counter("trawl_attempts_failed_total", "cause", cause.as_str())
                .absolute(0);
        }
        for answered in Answered::ALL {
            self.counter("trawl_report_messages_total", "outcome", answered.as_str())
                .absolute(0);
        }
        for refused in Refused::ALL {
            self.counter("trawl_calls_refused_total", "reason", refused.as_str())
                .absolute(0);
        }
        for kind in UPLOAD_KINDS {
            self.counter("trawl_upload_bytes_total", "kind", kind).absolute(0);
        }
        self.gauge("trawl_build_info", &[("version", env!("CARGO_PKG_VERSION"))])
            .set(1.0);
        self.set_certificate_end(None);
    }

    fn counter(&self, name: &'static str, label: &'static str, value: &'static str) -> Counter {
        let key = Key::from_parts(name, vec![Label::from_static_parts(label, value)]);
        self.recorder.register_counter(&key, &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &'static str)]) -> Gauge {
        let labels = labels
            .iter()
            .map(|(label, value)| Label::from_static_parts(label, value));
        let key = Key::from_parts(name, labels.collect::<Vec<_>>());
        self.recorder.register_gauge(&key, &METADATA)
    }

    /// A message of epoch reports was answered, this long after it came.
    pub fn answered(&self, answered: Answered, after: Duration) {
        self.counter("trawl_report_messages_total", "outcome", answered.as_str())
            .increment(1);
        self.acknowledgement.record(after.as_secs_f64());
    }

    /// A transaction made this many epoch reports durable.
    pub fn committed(&self, rows: usize) {
        self.epoch_reports.increment(rows as u64);
        self.commit_rows.record(rows as f64);
    }

    /// A worker's claim took this long in the database, and got this many jobs.
    pub fn claimed(&self, jobs: usize, after: Duration) {
        self.jobs_leased.increment(jobs as u64);
        self.claim.record(after.as_secs_f64());
    }

    /// A lease ended.
    pub fn lease_ended(&self, outcome: Outcome<'_>) {
        self.counter("trawl_leases_ended_total", "outcome", outcome.as_str())
            .increment(1);
        if let Some((cause, _)) = outcome.failure() {
            self.counter("trawl_attempts_failed_total", "cause", cause.as_str())
                .increment(1);
        }
    }

    /// A file is whole in the object store.
    pub fn uploaded(&self, object_key: &str, bytes: u64) {
        // The first folder of a key says what it is.
        let kind = UPLOAD_KINDS.into_iter().find(|kind| object_key.starts_with(kind));
        if let Some(kind) = kind {
            self.counter("trawl_upload_bytes_total", "kind", kind).increment(bytes);
        }
    }

    /// A transaction began after this time.
    pub fn database_waited(&self, time: Duration) {
        self.database_wait.record(time.as_secs_f64());
    }

    /// A call did not reach its service.
    pub fn refused(&self, reason: Refused) {
        self.counter("trawl_calls_refused_total", "reason", reason.as_str())
            .increment(1);
    }

    /// A call of this RPC began.
    pub fn call_began(&self, service: &'static str, method: &'static str) {
        self.open_calls(service, method).increment(1.0);
    }

    /// It ended.
    pub fn call_ended(&self, service: &'static str, method: &'static str, code: Code) {
        self.open_calls(service, method).decrement(1.0);
        self.ended_calls(service, method, code).increment(1);
    }

    /// Internal errors may end calls of this RPC.
    pub fn may_fail(&self, service: &'static str, method: &'static str) {
        for code in [Code::Internal, Code::Unknown, Code::DataLoss] {
            self.ended_calls(service, method, code).absolute(0);
        }
    }

    fn ended_calls(&self, service: &'static str, method: &'static str, code: Code) -> Counter {
        let labels = [("service", service), ("method", method), ("code", code_name(code))];
        let labels = labels.map(|(label, value)| Label::from_static_parts(label, value));
        let key = Key::from_parts("trawl_grpc_calls_total", labels.to_vec());
        self.recorder.register_counter(&key, &METADATA)
    }

    fn open_calls(&self, service: &'static str, method: &'static str) -> Gauge {
        self.gauge("trawl_grpc_calls_open", &[("service", service), ("method", method)])
    }

    /// Counts from the database; without them, the gauges are NaN.
    pub fn set_fleet(&self, counts: Option<&FleetCounts>) {
        let set = |name, labels: &[_], value: Option<i64>| {
            self.gauge(name, labels)
                .set(value.map_or(f64::NAN, |value| value as f64));
        };
        self.gauge("trawl_database_up", &[])
            .set(f64::from(u8::from(counts.is_some())));
        for (state, jobs) in FleetCounts::jobs(counts) {
            set("trawl_jobs", &[("state", state)], jobs);
        }
        for (state, studies) in FleetCounts::studies(counts) {
            set("trawl_studies", &[("state", state)], studies);
        }
        for (state, workers) in FleetCounts::workers(counts) {
            set("trawl_workers", &[("state", state)], workers);
        }
        set("trawl_leases", &[], counts.map(|counts| counts.leases));
        set("trawl_trials_open", &[], counts.map(|counts| counts.trials_open));
        set("trawl_worker_slots", &[], counts.map(|counts| counts.slots));
        set("trawl_worker_slots_busy", &[], counts.map(|counts| counts.slots_busy));
        set(
            "trawl_studies_self_paused",
            &[],
            counts.map(|counts| counts.studies_self_paused),
        );
    }

    /// What studies take of a quota, NaN if that is not known, and what they may take.
    pub fn set_quota(&self, quota: &'static str, used: Option<u64>, limit: u64) {
        let labels = [("quota", quota)];
        self.gauge("trawl_quota_used", &labels)
            .set(used.map_or(f64::NAN, |used| used as f64));
        self.gauge("trawl_quota_limit", &labels).set(limit as f64);
    }

    /// When the first TLS certificate ends, in seconds since 1970.
    pub fn set_certificate_end(&self, at: Option<i64>) {
        self.gauge("trawl_tls_certificate_end_seconds", &[])
            .set(at.map_or(f64::NAN, |at| at as f64));
    }

    /// The connections of this process to Postgres.
    pub fn set_pool(&self, pool: PoolUse) {
        let set = |name, value: u32| self.gauge(name, &[]).set(f64::from(value));
        set("trawl_database_pool_used", pool.open.saturating_sub(pool.idle));
        set("trawl_database_pool_idle", pool.idle);
        set("trawl_database_pool_max", pool.max);
    }

    /// All of it in Prometheus's text form.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Has to be called regularly, even if nobody scrapes: otherwise samples of histograms pile up.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }
}

/// Kinds of files, by the first folder of their keys.
const UPLOAD_KINDS: [&str; 3] = ["artifacts", "checkpoints", "datasets"];

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
