//! `trawl watch`: follows a study to its end, through restarts of the coordinator, or on to the next one.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::ctrl_c;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use trawl_proto::retry_after;
use trawl_proto::v1::{GetStudyRequest, ListWorkersRequest, StudySummary, WatchStudyRequest};

use crate::client::{Client, unary};
use crate::error::{Error, is_transport, say};
use crate::output::{Output, shown};
use crate::progress::{Pace, bar_text, done_of_total, is_final, outcome_line, progress_line, refit_text, trials_done};

/// In lines, finished trials are news at most this often,
const TRIAL_LINES_INTERVAL: Duration = Duration::from_secs(1);
/// and epochs alone this often.
const EPOCH_LINES_INTERVAL: Duration = Duration::from_secs(5);
const REFIT_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// After a silence of the stream of this length, the watch asks whether there are workers.
const SILENCE: Duration = Duration::from_secs(5);

/// Follows a study, by its id or name, until it ends. Where the coordinator is gone, `connect` finds one that answers.
///
/// # Errors
/// Also if it ended otherwise than completed.
pub(super) async fn watch_study(
    connect: &impl AsyncFn() -> Result<Client, Error>,
    client: &mut Client,
    (study, name): (&str, &str),
    output: &mut Output,
) -> Result<(), Error> {
    let is_terminal = output.is_terminal();
    let mut watch = Watch::new(output);
    let ended = tokio::select! {
        biased;
        ended = follow_to_end(connect, client, study, &mut watch) => ended,
        _ = ctrl_c() => Err(Error::Interrupted(format!("{name} goes on; `trawl watch {name}` follows it again"))),
    };
    watch.close();
    let ended = ended?;
    still_open(output.line(&outcome_line(&ended)).and_then(|()| output.flush()))?;
    match ended.state.as_str() {
        "completed" => {
            if is_terminal {
                say(&next_steps(&ended));
            }
            Ok(())
        }
        _ if ended.error.is_empty() => Err(Error::Failed(format!("study {} {}", ended.name, ended.state))),
        _ => Err(Error::Failed(format!(
            "study {} {}: {}",
            ended.name, ended.state, ended.error
        ))),
    }
}

async fn follow_to_end(
    connect: &impl AsyncFn() -> Result<Client, Error>,
    client: &mut Client,
    study: &str,
    watch: &mut Watch<'_>,
) -> Result<StudySummary, Error> {
    loop {
        let (told, error) = match follow(client, study, watch).await {
            Ok(Some(ended)) => return Ok(ended),
            // A coordinator that shuts down ends its streams in good order.
            Ok(None) => (
                None,
                Error::Failed("the coordinator ended the stream before the study ended".into()),
            ),
            Err(Broken::ForNow(status)) => (retry_after(&status), status.into()),
            Err(Broken::ForGood(error)) => return Err(error),
        };
        watch.wait_out(told, error).await?;
        connect_again(connect, client).await;
    }
}

/// Turns to a coordinator that answers, which may be another one. While there is none, the next call fails and says why.
async fn connect_again(connect: &impl AsyncFn() -> Result<Client, Error>, client: &mut Client) {
    if let Ok(connected) = connect().await {
        *client = connected;
    }
}

/// Next steps for a user who watched a study.
fn next_steps(study: &StudySummary) -> String {
    let name = &study.name;
    let mut steps = vec![
        format!("trawl best {name}"),
        format!("trawl report {name} -o {name}.html"),
    ];
    if study.refits.iter().any(|refit| refit.state == "completed") {
        steps.push(format!("trawl predict {name} FILE"));
    }
    format!("next: {}", steps.join(" · "))
}

/// Follows one refit until it ends. The stream of a study ends with the study, which may have ended before its refit
/// was asked for; so this one polls.
///
/// # Errors
/// Also if it ended otherwise than completed.
pub(super) async fn watch_refit(
    connect: &impl AsyncFn() -> Result<Client, Error>,
    client: &mut Client,
    study: &str,
    number: u32,
    output: &mut Output,
) -> Result<(), Error> {
    let mut watch = Watch::new(output);
    let ended = loop {
        match client
            .get_study(unary(GetStudyRequest {
                study: study.to_owned(),
            }))
            .await
        {
            Ok(answer) => {
                let summary = answer.into_inner().study.unwrap_or_default();
                match summary.refits.iter().find(|refit| refit.refit == number) {
                    Some(refit) if is_final(&refit.state) => break refit.clone(),
                    Some(_) => watch.show(&summary)?,
                    None => return Err(watch.ended(Error::Failed(format!("refit {number} does not exist any more")))),
                }
                sleep(REFIT_POLL_INTERVAL).await;
            }
            Err(status) => match Broken::from(status) {
                Broken::ForNow(status) => {
                    watch.wait_out(retry_after(&status), status.into()).await?;
                    connect_again(connect, client).await;
                }
                Broken::ForGood(error) => return Err(watch.ended(error)),
            },
        }
    };
    watch.close();
    let text = refit_text(&ended);
    still_open(output.line(&text).and_then(|()| output.flush()))?;
    if ended.state == "completed" {
        Ok(())
    } else {
        Err(Error::Failed(text))
    }
}

/// Why there is no more.
enum Broken {
    /// Asking again may help.
    ForNow(Status),
    ForGood(Error),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        if is_transport(&status) || retry_after(&status).is_some() {
            Self::ForNow(status)
        } else {
            Self::ForGood(status.into())
        }
    }
}

/// Shows one stream; returns the ended study, or `None` if the stream stopped before.
async fn follow(client: &mut Client, study: &str, watch: &mut Watch<'_>) -> Result<Option<StudySummary>, Broken> {
    let mut stream = client
        .watch_study(WatchStudyRequest {
            study: study.to_owned(),
        })
        .await?
        .into_inner();
    loop {
        let Ok(message) = timeout(SILENCE, stream.message()).await else {
            watch.say_if_nobody_works(client).await;
            continue;
        };
        let Some(message) = message? else { break };
        let Some(summary) = message.study else { continue };
        if is_final(&summary.state) {
            // The outcome's own line follows.
            return Ok(Some(summary));
        }
        watch.show(&summary).map_err(Broken::ForGood)?;
    }
    Ok(None)
}

/// A closed standard output leaves the outcome unseen, so the exit status must not report success.
fn still_open(written: Result<(), Error>) -> Result<(), Error> {
    written.map_err(|error| match error {
        Error::OutputClosed => Error::Failed("standard output was closed before the end".into()),
        other => other,
    })
}

/// The user's view meanwhile, and how patient the watch still is.
struct Watch<'a> {
    view: View<'a>,
    pace: Pace,
    started: Instant,
    delays: ExponentialBackoff,
    /// The user knows that there are no workers.
    is_told_of_workers: bool,
}

enum View<'a> {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere, with what the last line said.
    Lines {
        output: &'a mut Output,
        last: Option<Shown>,
    },
}

struct Shown {
    at: Instant,
    state: String,
    trials: u32,
    epochs: u64,
    refits: String,
}

impl<'a> Watch<'a> {
    fn new(output: &'a mut Output) -> Self {
        let view = if output.is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{bar:16} {percent:>3}%  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            View::Bar(bar)
        } else {
            View::Lines { output, last: None }
        };
        Self {
            view,
            pace: Pace::default(),
            started: Instant::now(),
            delays: reconnect_delays(),
            is_told_of_workers: false,
        }
    }

    /// The study as it stands now.
    fn show(&mut self, study: &StudySummary) -> Result<(), Error> {
        self.delays = reconnect_delays();
        self.is_told_of_workers = false;
        let now = Instant::now();
        self.pace.record(now - self.started, study);
        match &mut self.view {
            View::Bar(bar) => {
                let (done, total) = done_of_total(study);
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(shown(&bar_text(study, &self.pace)));
                Ok(())
            }
            View::Lines { output, last } => {
                let shown = Shown::of(study, now);
                if last.as_ref().is_some_and(|last| !shown.is_news_after(last)) {
                    return Ok(());
                }
                *last = Some(shown);
                still_open(
                    output
                        .line(&progress_line(study, &self.pace))
                        .and_then(|()| output.flush()),
                )
            }
        }
    }

    /// Says so if no worker is online: then nothing of a study moves. If the question fails, the stream will report what is wrong.
    async fn say_if_nobody_works(&mut self, client: &mut Client) {
        if self.is_told_of_workers {
            return;
        }
        let Ok(answer) = client.list_workers(unary(ListWorkersRequest {})).await else {
            return;
        };
        if answer
            .into_inner()
            .workers
            .iter()
            .any(|worker| worker.state == "online")
        {
            return;
        }
        self.is_told_of_workers = true;
        let news = "no worker is online: start trawl-worker with --coordinator and the address of the coordinator";
        match &self.view {
            View::Bar(bar) => bar.set_message(news),
            View::Lines { .. } => say(news),
        }
    }

    /// Waits before the next attempt to reach the coordinator, at least for as long as the coordinator said; gives up with `error` after about ten
    /// minutes.
    async fn wait_out(&mut self, told: Option<Duration>, error: Error) -> Result<(), Error> {
        let Some(delay) = self.delays.next() else {
            return Err(self.ended(error));
        };
        let news = format!("{error}; trying again");
        match &self.view {
            View::Bar(bar) => bar.set_message(shown(&news)),
            View::Lines { .. } => say(&news),
        }
        sleep(told.unwrap_or_default() + delay).await;
        Ok(())
    }

    /// Clears the bar, for the line that follows.
    fn close(&mut self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }

    fn ended(&mut self, error: Error) -> Error {
        self.close();
        error
    }
}

impl Shown {
    fn of(study: &StudySummary, at: Instant) -> Self {
        let refits = study
            .refits
            .iter()
            .map(|refit| refit.state.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        Self {
            at,
            state: study.state.clone(),
            trials: trials_done(study),
            epochs: study.epochs_reported,
            refits,
        }
    }

    fn is_news_after(&self, last: &Self) -> bool {
        let since = self.at - last.at;
        self.state != last.state
            || self.refits != last.refits
            || (self.trials != last.trials && since >= TRIAL_LINES_INTERVAL)
            || (self.epochs != last.epochs && since >= EPOCH_LINES_INTERVAL)
    }
}

fn reconnect_delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(120)
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_once_for_states_and_seldom_for_epochs() {
        let start = Instant::now();
        let study = |state: &str, trials, epochs| StudySummary {
            state: state.into(),
            trials_completed: trials,
            epochs_reported: epochs,
            ..Default::default()
        };
        let last = Shown::of(&study("running", 1, 10), start);
        let news =
            |study: &StudySummary, millis| Shown::of(study, start + Duration::from_millis(millis)).is_news_after(&last);
        assert!(news(&study("paused", 1, 10), 1));
        assert!(!news(&study("running", 2, 11), 999));
        assert!(news(&study("running", 2, 11), 1000));
        assert!(!news(&study("running", 1, 11), 4999));
        assert!(news(&study("running", 1, 11), 5000));
        assert!(!news(&study("running", 1, 10), 60_000));
    }

    #[test]
    fn a_watch_is_patient_for_about_ten_minutes() {
        let whole: Duration = reconnect_delays().sum();
        assert!(
            whole > Duration::from_secs(500) && whole < Duration::from_secs(1300),
            "{whole:?}"
        );
    }
}
