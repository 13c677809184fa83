//! Lines of the log that repeat: while Postgres or a coordinator is away, every call and every tick fails for the same reason.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Time after which the same line is logged again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Lines that are remembered; while there are as many, no further one is held back.
const LINES_MAX: usize = 256;

/// Lets each warning and each error through once a minute: those with the same text and the same fields.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<BTreeMap<String, Instant>>);

impl Repeats {
    fn is_news(&self, line: String, now: Instant) -> bool {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|_, at| now.saturating_duration_since(*at) < AGAIN_AFTER);
        let is_news = !lines.contains_key(&line);
        if is_news && lines.len() < LINES_MAX {
            lines.insert(line, now);
        }
        is_news
    }
}

impl<S> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::WARN {
            return true;
        }
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        self.is_news(line.0, Instant::now())
    }
}

/// The target of an event, and its fields; the text is one of them.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A text takes everything.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing::{error, info, warn};
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    use tracing_subscriber::{fmt, registry};

    use super::*;

    /// What a log was given.
    #[derive(Clone, Debug, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_warning_that_repeats_is_left_out_and_another_one_is_not() {
        let written = Written::default();
        let writer = written.clone();
        let log = fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let subscriber = registry().with(log.with_filter(Repeats::default()));
        tracing::subscriber::with_default(subscriber, || {
            for try_no in 0..3 {
                warn!(error = "refused", "Postgres is away");
                error!(error = "refused", try_no = try_no / 2, "a call failed");
                info!("job finished");
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |part: &str| text.matches(part).count();
        assert_eq!(
            (count("Postgres is away"), count("a call failed"), count("job finished")),
            (1, 2, 3),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_news_again_after_a_minute() {
        let repeats = Repeats::default();
        let began = Instant::now();
        let at = |second, line: &str| repeats.is_news(line.to_owned(), began + Duration::from_secs(second));
        assert!(at(0, "refused"));
        assert!(!at(30, "refused"));
        assert!(at(30, "no answer"));
        assert!(!at(59, "refused"));
        assert!(at(60, "refused"));
        assert!(!at(89, "no answer"));
    }
}
