//! Postgres for real: made, used, killed, recovered, stopped.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use super::*;

struct Fixture {
    installation: Installation,
    folder: TempDir,
    launcher: Launcher,
    stop: Stop,
}

impl Fixture {
    /// `None`, and a word about it, where there is no Postgres.
    async fn new() -> Option<Self> {
        let Some(named) = std::env::var_os("TRAWL_POSTGRES_DIR") else {
            eprintln!("skipped: TRAWL_POSTGRES_DIR is not set; make setup sets it");
            return None;
        };
        Some(Self {
            installation: installation(Some(Path::new(&named))).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            launcher: Launcher::detect().await.unwrap(),
            stop: Stop {
                asked: CancellationToken::new(),
                now: CancellationToken::new(),
            },
        })
    }

    fn data_dir(&self) -> DataDir {
        DataDir::lock(Some(&self.folder.path().join("data"))).unwrap()
    }

    async fn start(&self, data_dir: &DataDir) -> Postgres {
        Postgres::start(&self.installation, data_dir, &self.launcher, None, &self.stop)
            .await
            .unwrap()
            .expect("nobody asks for a stop")
    }

    /// Runs SQL; true if it succeeded. pgbench is the one client of the installation.
    async fn sql(&self, url: &Secret, statement: &str) -> bool {
        let script = self.folder.path().join("script.sql");
        fs::write(&script, statement).unwrap();
        let mut command = Command::new(self.installation.bin.join("pgbench"));
        command
            .args(["-n", "-t", "1", "-f"])
            .arg(&script)
            .arg(url.expose())
            .stdin(Stdio::null());
        let said = command.output().await.unwrap();
        if !said.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&said.stderr));
        }
        said.status.success()
    }
}

fn exists(process: u32) -> bool {
    // A zombie is gone as far as files and ports are concerned.
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes
        .filter(|process: &u32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            after_name.split(' ').nth(1) == Some(&parent.to_string())
        })
        .collect()
}

fn kill(process: u32) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    let _ = kill_process(pid, Signal::KILL);
}

async fn until(mut happened: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_secs(30), async {
        while !happened() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it happens within 30 s");
}

#[tokio::test]
async fn what_was_committed_outlives_a_killed_process_tree() {
    let Some(fixture) = Fixture::new().await else { return };
    let data_dir = fixture.data_dir();
    let mut postgres = fixture.start(&data_dir).await;
    assert!(
        fixture
            .sql(postgres.owner_url(), "CREATE TABLE kept AS SELECT 1 AS x;")
            .await
    );
    assert!(
        fixture
            .sql(
                postgres.owner_url(),
                "SELECT 1 / (current_setting('fsync') = 'on')::int;"
            )
            .await
    );

    let postmaster = postgres.child.id().unwrap();
    let tree = children_of(postmaster);
    assert!(!tree.is_empty());
    kill(postmaster);
    tree.iter().copied().for_each(kill);
    let error = postgres.died().await.to_string();
    assert!(error.starts_with("Postgres ended unexpectedly (signal: 9"), "{error}");
    until(|| !tree.iter().any(|process| exists(*process))).await;

    let mut again = fixture.start(&data_dir).await;
    assert!(
        fixture.sql(again.owner_url(), "SELECT 1 / count(*) FROM kept;").await,
        "the table is there"
    );
    again.stop(&CancellationToken::new()).await;
    let log = fs::read_to_string(data_dir.path().join("postgres.log")).unwrap();
    assert!(
        log.contains("automatic recovery in progress") && log.contains("database system is shut down"),
        "{log}"
    );
}

#[tokio::test]
async fn a_leftover_is_stopped_and_a_strangers_id_in_its_file_is_no_obstacle() {
    let Some(fixture) = Fixture::new().await else { return };
    let data_dir = fixture.data_dir();
    let mut first = fixture.start(&data_dir).await;
    let left = first.child.id().unwrap();
    // The first one is still running, as after a `kill -9` of an up whose children get no death signal.
    let (second, _) = tokio::join!(fixture.start(&data_dir), first.child.wait());
    assert!(!exists(left));
    let mut second = second;
    second.stop(&CancellationToken::new()).await;

    let pid_file = data_dir.path().join("postgres/postmaster.pid");
    assert!(!pid_file.exists(), "it was stopped in good order");
    fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
    let mut third = fixture.start(&data_dir).await;
    // In a hurry: nothing committed is lost, and nothing stays behind.
    let tree = children_of(third.child.id().unwrap());
    let now = CancellationToken::new();
    now.cancel();
    third.stop(&now).await;
    until(|| !tree.iter().any(|process| exists(*process))).await;
}

#[tokio::test]
async fn an_interrupted_initdb_leaves_nothing_that_counts() {
    let Some(fixture) = Fixture::new().await else { return };
    let data_dir = fixture.data_dir();
    let draft = data_dir.path().join("postgres.partial");
    let hurried = Stop {
        asked: CancellationToken::new(),
        now: CancellationToken::new(),
    };
    let asked = hurried.asked.clone();
    let interrupt = async {
        until(|| draft.join("PG_VERSION").exists()).await;
        asked.cancel();
    };
    let (started, ()) = tokio::join!(
        Postgres::start(&fixture.installation, &data_dir, &fixture.launcher, None, &hurried),
        interrupt
    );
    assert!(started.unwrap().is_none());
    assert!(!data_dir.path().join("postgres").exists());

    let mut postgres = fixture.start(&data_dir).await;
    assert!(!draft.exists());
    for file in ["postgres-password", "postgres-reader-password"] {
        let password = fs::metadata(data_dir.path().join(file)).unwrap();
        assert_eq!(password.mode() & 0o777, 0o600, "{file}");
    }
    postgres.stop(&CancellationToken::new()).await;
}

#[tokio::test]
async fn a_wrong_password_opens_nothing() {
    let Some(fixture) = Fixture::new().await else { return };
    let data_dir = fixture.data_dir();
    let mut postgres = fixture.start(&data_dir).await;
    let passwords = ["postgres-password", "postgres-reader-password"].map(|file| {
        fs::read_to_string(data_dir.path().join(file))
            .unwrap()
            .trim()
            .to_owned()
    });
    for (url, password) in [postgres.owner_url(), postgres.reader_url()]
        .into_iter()
        .zip(&passwords)
    {
        assert_eq!(password.len(), 64);
        let wrong = Secret::new(url.expose().replace(password, "wrong"));
        assert!(!fixture.sql(&wrong, "SELECT 1;").await);
        assert!(fixture.sql(url, "SELECT 1;").await);
    }
    // Nor is there another way in: the owner's by TCP among them.
    let address = postgres.reader_url().expose().split_once('@').unwrap().1;
    let address = address.rsplit_once('/').unwrap().0;
    let socket = postgres.owner_url().expose().split_once('?').unwrap().1;
    let [owner, reader] = &passwords;
    for other in [
        format!("postgres://trawl:{owner}@{address}/trawl"),
        format!("postgres://postgres:{owner}@{address}/trawl"),
        format!("postgres://reader:{reader}@{address}/postgres"),
        format!("postgres:///template1?{socket}"),
        format!("postgres:///trawl?{}", socket.replace("user=trawl", "user=postgres")),
    ] {
        assert!(!fixture.sql(&Secret::new(other.clone()), "SELECT 1;").await, "{other}");
    }
    postgres.stop(&CancellationToken::new()).await;
}

#[test]
fn a_missing_installation_says_what_to_do() {
    let error = installation(Some(Path::new("/nowhere")))
        .expect_err("it is missing")
        .to_string();
    assert!(
        error.starts_with("no Postgres in /nowhere; run `make setup`"),
        "{error}"
    );
}

#[tokio::test]
async fn neither_the_coordinators_role_nor_the_readers_is_a_superuser() {
    let Some(fixture) = Fixture::new().await else { return };
    let data_dir = fixture.data_dir();
    let mut postgres = fixture.start(&data_dir).await;
    let (owner, reader) = (postgres.owner_url().clone(), postgres.reader_url().clone());
    assert!(fixture.sql(&owner, "CREATE TABLE made (x int); DROP TABLE made;").await);
    let no_superuser = "SELECT 1 / (NOT rolsuper)::int FROM pg_roles WHERE rolname = current_user;";
    for url in [&owner, &reader] {
        assert!(fixture.sql(url, no_superuser).await);
        for attack in [
            "COPY (SELECT 1) TO PROGRAM 'id';",
            "SELECT pg_read_file('/etc/passwd');",
            "CREATE ROLE other SUPERUSER;",
            "SET ROLE postgres;",
        ] {
            assert!(!fixture.sql(url, attack).await, "{attack}");
        }
    }
    assert!(!fixture.sql(&reader, "CREATE TABLE made (x int);").await);
    assert!(!fixture.sql(&reader, "CREATE TEMP TABLE made (x int);").await);
    assert!(!fixture.sql(&reader, "SELECT pg_advisory_lock(1);").await);
    postgres.stop(&CancellationToken::new()).await;
}
