//! The log of a run: every line that the real code logs, with its time, and a hash over all of them.

use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Lines that are kept for a look, the first ones.
const LINES_MAX: usize = 200_000;

/// A log that is being written. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Written>>);

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    hasher: DefaultHasher,
    /// Lines in all.
    pub(crate) events: u64,
    /// The first ones of them.
    pub(crate) lines: Vec<String>,
    /// Job and epoch of every acknowledgement that came to a worker.
    pub(crate) acknowledged: Vec<(String, u32)>,
}

impl Written {
    /// A hash over all lines.
    pub(crate) fn digest(&self) -> u64 {
        self.hasher.finish()
    }
}

impl Log {
    /// What was written.
    pub(crate) fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub(crate) fn line(&self, now: Duration, text: &str) {
        let line = format!("{:10.3} {text}", now.as_secs_f64());
        let mut written = self.written();
        written.events += 1;
        written.hasher.write(line.as_bytes());
        if written.lines.len() < LINES_MAX {
            written.lines.push(line);
        }
    }

    /// Runs `work`; this log gets what trawl's crates log meanwhile.
    pub(crate) fn record<T>(&self, work: impl FnOnce() -> T) -> T {
        let ours = Targets::new().with_targets([("trawl_", LevelFilter::DEBUG), ("simulation", LevelFilter::DEBUG)]);
        let subscriber = tracing_subscriber::registry().with(self.clone().with_filter(ours));
        tracing::subscriber::with_default(subscriber, work)
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        if line.text.starts_with("report acknowledged") {
            let epochs = line.first_epoch..line.first_epoch + line.epochs;
            let acknowledged = epochs.map(|epoch| (line.job_id.clone(), epoch));
            self.written().acknowledged.extend(acknowledged);
        }
        self.line(turmoil::sim_elapsed().unwrap_or_default(), &line.text);
    }
}

#[derive(Default)]
struct Line {
    text: String,
    job_id: String,
    first_epoch: u32,
    epochs: u32,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.text.insert_str(0, &format!("{value:?} ")),
            name => {
                if name == "job.id" {
                    self.job_id = format!("{value:?}");
                }
                let _ = write!(self.text, " {name}={value:?}");
            }
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "report.first_epoch" => self.first_epoch = value as u32,
            "report.epochs" => self.epochs = value as u32,
            _ => {}
        }
        self.record_debug(field, &value);
    }
}
