//! Children that are started again when they die, and stopped in good order.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::note;
use crate::error::Error;

const RESTART_DELAY_MIN: Duration = Duration::from_secs(1);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);
/// Who lived that long had a good start: the next delay is the shortest again.
const GOOD_START: Duration = Duration::from_secs(60);

/// When to stop, and when to stop waiting for that.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    /// Cancelled when a stop is asked for.
    pub(super) asked: CancellationToken,
    /// Cancelled when it has to be immediate.
    pub(super) now: CancellationToken,
}

impl Stop {
    /// The same haste, but a later stage, which is asked for by itself.
    pub(super) fn later(&self) -> Self {
        Self {
            asked: CancellationToken::new(),
            now: self.now.clone(),
        }
    }
}

/// A child that can be started again and again.
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// From SIGTERM to SIGKILL.
    pub(super) grace: Duration,
}

/// Exit status of a child whose settings are wrong.
const SETTINGS_STATUS: i32 = 2;

/// Keeps a child alive until it is to stop, then stops it. `first` is one that runs already.
///
/// # Errors
/// The first start refused its settings. A later start that refuses them is tried again: a GPU, for example, may come back.
pub(super) async fn supervise(spec: Spec, first: Option<Child>, stop: Stop) -> Result<(), Error> {
    let mut may_refuse = first.is_none();
    let mut running = first;
    let mut delay = RESTART_DELAY_MIN;
    loop {
        let started = Instant::now();
        let ended = match running.take().map_or_else(|| (spec.command)().spawn(), Ok) {
            Ok(mut child) => tokio::select! {
                // A child that died in the same moment as the stop was asked for is not worth a note.
                biased;
                () = stop.asked.cancelled() => {
                    terminate(&mut child, &spec.name, Signal::TERM, spec.grace, &stop.now).await;
                    return Ok(());
                }
                status = child.wait() => match status {
                    Ok(status) if may_refuse && status.code() == Some(SETTINGS_STATUS) => {
                        return Err(Error::Usage(format!("{} refused its settings", spec.name)));
                    }
                    Ok(status) => format!("ended unexpectedly ({status})"),
                    Err(error) => format!("was lost ({error})"),
                },
            },
            Err(error) => format!("cannot be started ({error})"),
        };
        may_refuse = false;
        delay = restart_delay(delay, started.elapsed());
        note(&format!(
            "{} {ended}; starting it again in {} s",
            spec.name,
            delay.as_secs()
        ));
        tokio::select! {
            () = stop.asked.cancelled() => return Ok(()),
            () = sleep(delay) => {}
        }
        delay *= 2;
    }
}

/// How long to wait before a child is started again, if `next` was foreseen and it lived for `lived`.
fn restart_delay(next: Duration, lived: Duration) -> Duration {
    if lived >= GOOD_START {
        RESTART_DELAY_MIN
    } else {
        next.min(RESTART_DELAY_MAX)
    }
}

/// Asks a child to end by `signal`, and kills it after `grace` or when `now` is cancelled.
pub(super) async fn terminate(child: &mut Child, name: &str, signal: Signal, grace: Duration, now: &CancellationToken) {
    send(child, signal);
    let patience = async {
        tokio::select! {
            ended = timeout(grace, child.wait()) => ended.is_ok(),
            () = now.cancelled() => false,
        }
    };
    if patience.await {
        return;
    }
    if !now.is_cancelled() {
        note(&format!("{name} did not stop within {} s; killing it", grace.as_secs()));
    }
    if let Err(error) = child.kill().await {
        note(&format!("{name} cannot be killed: {error}"));
    }
}

/// Signals a child that has not been reaped; its id cannot be anybody else's meanwhile.
pub(super) fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in this moment, which is what is wanted.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn stop() -> Stop {
        Stop {
            asked: CancellationToken::new(),
            now: CancellationToken::new(),
        }
    }

    #[test]
    fn delays_double_up_to_a_limit_and_start_anew_after_a_good_start() {
        let short = Duration::from_secs(2);
        let mut delay = RESTART_DELAY_MIN;
        let mut seen = Vec::new();
        for _ in 0..7 {
            delay = restart_delay(delay, short);
            seen.push(delay.as_secs());
            delay *= 2;
        }
        assert_eq!(seen, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(restart_delay(RESTART_DELAY_MAX, GOOD_START), RESTART_DELAY_MIN);
    }

    #[tokio::test]
    async fn a_child_that_dies_is_started_again_and_stopped_when_asked() {
        let starts = Arc::new(AtomicU32::new(0));
        let stop = stop();
        let (counter, asked) = (Arc::clone(&starts), stop.asked.clone());
        let command = move || match counter.fetch_add(1, Ordering::SeqCst) {
            0 => shell("exit 3"),
            // What a first start refuses, a later one may find again.
            1 => shell("exit 2"),
            _ => {
                asked.cancel();
                shell("exec sleep 60")
            }
        };
        let spec = Spec {
            name: "child".into(),
            command: Box::new(command),
            grace: Duration::from_secs(20),
        };
        let done = timeout(Duration::from_secs(15), supervise(spec, None, stop)).await;
        assert!(
            done.is_ok_and(|done| done.is_ok()),
            "SIGTERM ends it long before the grace does"
        );
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_child_with_wrong_settings_is_not_started_again() {
        let spec = Spec {
            name: "child".into(),
            command: Box::new(|| shell("exit 2")),
            grace: Duration::from_secs(20),
        };
        let refused = supervise(spec, None, stop()).await.unwrap_err();
        assert_eq!(refused.to_string(), "child refused its settings");
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed_after_its_grace_or_at_once() {
        let ready = tempfile::tempdir().unwrap();
        for hurried in [false, true] {
            let file = ready.path().join(hurried.to_string());
            let mut child = shell(&format!(
                "trap '' TERM; : > {}; while :; do sleep 0.1; done",
                file.display()
            ));
            let mut child = child.spawn().unwrap();
            while !file.exists() {
                sleep(Duration::from_millis(10)).await;
            }
            let now = CancellationToken::new();
            let grace = if hurried {
                Duration::from_secs(60)
            } else {
                Duration::from_millis(300)
            };
            if hurried {
                now.cancel();
            }
            let ended = timeout(
                Duration::from_secs(10),
                terminate(&mut child, "it", Signal::TERM, grace, &now),
            )
            .await;
            assert!(ended.is_ok());
            assert!(child.id().is_none(), "it was reaped");
        }
    }
}
