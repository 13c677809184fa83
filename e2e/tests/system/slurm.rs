//! The batch script for Slurm, with a real worker and a real coordinator; the test plays Slurm: it sends the signals that Slurm
//! sends, and has an `srun`, a `scancel` and an `scontrol` of its own on the PATH.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use sqlx::PgPool;
use tempfile::TempDir;
use trawl_e2e::{Ask, Process, System, binary, look_for, repository, studies, undisturbed, written};
use trawl_proto::v1;

const STUDY: &str = "batch";
/// A job has checkpoints when it is handed back, and no others.
const NO_INTERVAL: [&str; 2] = ["--checkpoint-interval-ms", "86400000"];

/// One job of 6 members that trains for seconds.
fn one_job() -> anyhow::Result<v1::Study> {
    studies::long_job(STUDY, 2_000)
}

/// What a job sees of Slurm: programs on the PATH, whose calls are noted.
struct Slurm {
    folder: TempDir,
}

impl Slurm {
    fn new() -> anyhow::Result<Self> {
        let slurm = Self {
            folder: TempDir::new()?,
        };
        slurm.program("scontrol", r#"echo "scontrol $*" >> "$NOTED""#)?;
        slurm.program("srun", SRUN)?;
        slurm.program(
            "scancel",
            r#"echo "scancel $*" >> "$NOTED"; kill -TERM "$(cat "$NOTED.step")""#,
        )?;
        Ok(slurm)
    }

    fn program(&self, name: &str, script: &str) -> anyhow::Result<()> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn calls_file(&self) -> PathBuf {
        self.folder.path().join("calls")
    }

    fn calls(&self) -> anyhow::Result<Vec<String>> {
        match std::fs::read_to_string(self.calls_file()) {
            Ok(calls) => Ok(calls.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs the script as a job that was started `restarts` times before, in a process group of its own.
    fn start(&self, coordinator: &str, restarts: u32, more: &[(&str, &str)]) -> anyhow::Result<Process> {
        let worker = binary("trawl-worker")?;
        let programs = worker.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").unwrap_or_default();
        Process::start(
            Command::new("bash")
                .arg(repository().join("deploy/slurm/worker.sbatch"))
                .env(
                    "PATH",
                    format!("{}:{}:{path}", self.folder.path().display(), programs.display()),
                )
                .env("NOTED", self.calls_file())
                .env("TRAWL_COORDINATOR", coordinator)
                .env("TRAWL_DEVICE", "cpu")
                .env("TRAWL_CACHE_DIR", self.folder.path().join("cache"))
                .env("SLURM_JOB_ID", "4711")
                .env("SLURM_RESTART_COUNT", restarts.to_string())
                .env("RUST_LOG", "warn")
                .envs(more.iter().copied())
                .process_group(0),
        )
    }
}

/// A step that a SIGTERM to srun kills, as by the real one; the step's own process number is written to a file, so that it can get signals itself.
const SRUN: &str = r#"
echo "srun $*" >> "$NOTED"
shift
"$@" &
echo $! > "$NOTED.step"
trap 'kill -KILL $!' TERM
wait $!
status=$?
# A signal ends a wait, and not the worker.
if kill -0 $! 2>/dev/null; then
    wait $!
    status=$?
fi
exit $status"#;

/// Signals all processes of a job, as Slurm does when it preempts or cancels one.
fn tell_all(job: &Process, signal: Signal) -> anyhow::Result<()> {
    let group = Pid::from_raw(i32::try_from(job.id())?);
    Ok(kill_process_group(
        group.ok_or_else(|| anyhow::anyhow!("no group"))?,
        signal,
    )?)
}

/// Waits until the job is back in the queue with a checkpoint; how its leases ended, and the epochs of the checkpoint.
async fn handed_back(owner: &PgPool) -> anyhow::Result<(Vec<String>, i32)> {
    look_for("the job to be handed back", async || {
        let outcomes: Vec<String> = owner
            .values(
                "SELECT a.outcome FROM trawl_store.job_attempts a JOIN trawl_store.jobs j USING (job_id)
                 WHERE j.state = 'queued' AND j.attempts = 0 ORDER BY a.ended_at",
            )
            .await?;
        let epochs: Option<i32> = owner.value("SELECT max(epochs) FROM trawl_store.checkpoints").await?;
        Ok(epochs.filter(|_| !outcomes.is_empty()).map(|epochs| (outcomes, epochs)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_job_hands_its_leases_back_and_goes_on_when_it_is_put_back() -> anyhow::Result<()> {
    let expected = undisturbed(one_job()?).await?;
    let system = System::start(&NO_INTERVAL).await?;
    let owner = system.owner().await?;
    system.submit(one_job()?).await?;
    let slurm = Slurm::new()?;
    let reported = |epochs: u64| move |study: &v1::StudySummary| study.epochs_reported > epochs;

    // The time is up: the script alone gets the signal, and asks to be put back.
    let mut job = slurm.start(&system.coordinator.url, 0, &[])?;
    system.watch_until(STUDY, "some epochs", reported(600)).await?;
    job.signal(Signal::USR1)?;
    assert_eq!(job.ended().await?.code(), Some(0));
    let (outcomes, first) = handed_back(&owner).await?;
    assert_eq!(outcomes, ["drained"]);
    assert!(first > 0, "a checkpoint of no epochs");
    assert_eq!(slurm.calls()?, ["scontrol requeue 4711"]);

    // Preempted: script and worker both get the signal. Slurm puts the job back, the script does not.
    let mut job = slurm.start(&system.coordinator.url, 1, &[])?;
    let so_far = 6 * u64::from(first.unsigned_abs());
    system.watch_until(STUDY, "more epochs", reported(so_far + 600)).await?;
    tell_all(&job, Signal::TERM)?;
    assert_eq!(job.ended().await?.code(), Some(0));
    let (outcomes, second) = handed_back(&owner).await?;
    assert_eq!(outcomes, ["drained", "drained"]);
    assert!(
        second > first,
        "the second attempt began anew: {first} and {second} epochs"
    );
    assert_eq!(slurm.calls()?, ["scontrol requeue 4711"]);

    // The time is up for a worker behind srun, in one job of an array: that job alone is signalled and put back.
    let launched = [
        ("TRAWL_LAUNCH", "srun --ntasks=1"),
        ("SLURM_ARRAY_JOB_ID", "4711"),
        ("SLURM_ARRAY_TASK_ID", "3"),
    ];
    let mut job = slurm.start(&system.coordinator.url, 2, &launched)?;
    let so_far = 6 * u64::from(second.unsigned_abs());
    system
        .watch_until(STUDY, "epochs by srun", reported(so_far + 600))
        .await?;
    job.signal(Signal::USR1)?;
    assert_eq!(job.ended().await?.code(), Some(0));
    let (outcomes, third) = handed_back(&owner).await?;
    assert_eq!(outcomes, ["drained", "drained", "drained"]);
    assert!(
        third > second,
        "the third attempt began anew: {second} and {third} epochs"
    );
    let by_srun = [
        "srun --ntasks=1 trawl-worker",
        "scancel --signal=TERM 4711_3",
        "scontrol requeue 4711_3",
    ];
    assert_eq!(slurm.calls()?[1..], by_srun);

    let mut job = slurm.start(&system.coordinator.url, 3, &[])?;
    system.completes_as(STUDY, &expected, "in four batch jobs").await?;
    tell_all(&job, Signal::TERM)?;
    assert_eq!(job.ended().await?.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_job_that_cannot_work_is_not_put_back() -> anyhow::Result<()> {
    let system = System::start(&["--token", "operator"]).await?;
    let slurm = Slurm::new()?;
    let url = &system.coordinator.url;
    // Coordinator, settings, and the exit status that Slurm sees.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], i32);
    let wrong: [Case<'_>; 5] = [
        ("", &[], 2),
        (url, &[("TRAWL_TOKEN", "operator")], 2),
        (url, &[("TRAWL_TOKEN_FILE", "/nonexistent/token")], 2),
        (url, &[("TRAWL_SLOTS", "0")], 2),
        // Without a token, no coordinator takes the worker; Slurm's time would run for nothing.
        (url, &[("TRAWL_REGISTER_WITHIN_S", "1")], 1),
    ];
    for (coordinator, settings, status) in wrong {
        let mut job = slurm.start(coordinator, 0, settings)?;
        assert_eq!(job.ended().await?.code(), Some(status), "{coordinator} {settings:?}");
    }
    assert_eq!(slurm.calls()?, Vec::<String>::new());

    // One that was put back as often as it may be is not put back again.
    let token = written(slurm.folder.path(), "token", "operator\n")?;
    let settings = [("TRAWL_TOKEN_FILE", token.as_str()), ("TRAWL_REQUEUES_MAX", "3")];
    let mut job = slurm.start(url, 3, &settings)?;
    look_for("the worker", async || {
        let online: i64 = system
            .value("SELECT count(*) FROM trawl.workers WHERE state = 'online'")
            .await?;
        Ok((online == 1).then_some(()))
    })
    .await?;
    job.signal(Signal::USR1)?;
    assert_eq!(job.ended().await?.code(), Some(0));
    assert_eq!(slurm.calls()?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_batch_job_with_a_gpu_does_not_train_on_its_cpu() -> anyhow::Result<()> {
    let slurm = Slurm::new()?;
    // A stand-in for the real program, which would need a GPU.
    slurm.program("trawl-worker", r#"echo "$TRAWL_DEVICE" >> "$NOTED""#)?;
    let none = ("TRAWL_DEVICE", "");
    for settings in [
        &[none][..],
        &[none, ("SLURM_JOB_GPUS", "3")],
        &[("TRAWL_DEVICE", "cpu"), ("SLURM_JOB_GPUS", "3")],
    ] {
        let mut job = slurm.start("http://127.0.0.1:1", 0, settings)?;
        assert_eq!(job.ended().await?.code(), Some(0), "{settings:?}");
    }
    assert_eq!(slurm.calls()?, ["auto", "cuda:0", "cpu"]);
    Ok(())
}

/// In a folder that everybody of the node may write to.
#[tokio::test]
async fn a_batch_job_keeps_files_in_no_folder_that_others_could_make() -> anyhow::Result<()> {
    let slurm = Slurm::new()?;
    slurm.program(
        "trawl-worker",
        r#"echo "$TRAWL_CACHE_DIR" >> "$NOTED"; stat -c '%a %u' "$TRAWL_CACHE_DIR" >> "$NOTED"; touch "$TRAWL_CACHE_DIR/a-file""#,
    )?;
    let (everybodys, of_job, of_other) = (TempDir::new()?, TempDir::new()?, TempDir::new()?);
    let user = rustix::process::getuid().as_raw();
    // A path that another user could foresee leads to where that user likes.
    for folder in [&everybodys, &of_job] {
        std::os::unix::fs::symlink(of_other.path(), folder.path().join(format!("trawl-{user}")))?;
    }
    let none = ("TRAWL_CACHE_DIR", "");
    let text = |folder: &TempDir| folder.path().to_string_lossy().into_owned();
    let (everybodys_text, of_job_text) = (text(&everybodys), text(&of_job));
    let by_tmp = ("TMPDIR", everybodys_text.as_str());
    for (settings, below) in [
        (&[none, by_tmp][..], &everybodys_text),
        (&[none, by_tmp, ("SLURM_TMPDIR", of_job_text.as_str())], &of_job_text),
        (&[none, by_tmp], &everybodys_text),
    ] {
        let mut job = slurm.start("http://127.0.0.1:1", 0, settings)?;
        assert_eq!(job.ended().await?.code(), Some(0), "{settings:?}");
        let calls = slurm.calls()?;
        let [.., folder, mode] = &calls[..] else {
            anyhow::bail!("{calls:?}");
        };
        assert!(folder.starts_with(&format!("{below}/trawl-worker.")), "{folder}");
        assert_eq!(mode, &format!("700 {user}"), "{folder}");
        assert!(!Path::new(folder).exists(), "{folder} outlives its job");
    }
    let calls = slurm.calls()?;
    assert_ne!(calls[0], calls[4], "the same folder twice");
    assert_eq!(std::fs::read_dir(of_other.path())?.count(), 0, "a link was followed");
    Ok(())
}

/// The wishes of the script's head that Slurm reads; a job that has none of them loses its work.
#[test]
fn the_script_asks_slurm_to_be_told_and_to_be_put_back() -> anyhow::Result<()> {
    let script = std::fs::read_to_string(repository().join("deploy/slurm/worker.sbatch"))?;
    // Slurm reads no further than the first command.
    let head = script
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with('#'));
    let wishes: Vec<&str> = head.filter_map(|line| line.strip_prefix("#SBATCH ")).collect();
    assert!(wishes.contains(&"--requeue"), "{wishes:?}");
    assert!(wishes.contains(&"--gres=gpu:1"), "{wishes:?}");
    let notice_s: u32 = wishes
        .iter()
        .find_map(|wish| wish.strip_prefix("--signal=B:USR1@"))
        .ok_or_else(|| anyhow::anyhow!("no signal: {wishes:?}"))?
        .parse()?;
    assert!(notice_s >= 24, "a worker needs 12 s to hand its leases back");
    Ok(())
}
