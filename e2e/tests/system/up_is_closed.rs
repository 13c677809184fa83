//! `trawl up` on a machine with other users: what it starts has no right that others could take, nobody without a token is more than
//! a user, and what it writes is nobody else's.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tonic::Code;
use trawl_e2e::{
    Client, OrdinaryUser, Ports, ProcessTree, Ran, Seen, System, Up, binary, call, code_of, fresh_database, look_for,
    ran, studies, text, worker, written,
};

/// What somebody may have in their environment, for other programs.
const SECRETS: [(&str, &str); 5] = [
    ("TRAWL_TOKEN", "hunter2-operator"),
    ("AWS_SECRET_ACCESS_KEY", "hunter2-aws"),
    ("PGPASSWORD", "hunter2-pg"),
    ("GITHUB_TOKEN", "hunter2-github"),
    ("TRAWL_READER_URL_FILE", "/hunter2-file"),
];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Capabilities that a process does not have.
fn has_no(process: &Seen, sets: &[&str]) {
    for set in sets {
        let bits = process.status.get(*set).map(String::as_str);
        assert_eq!(bits, Some("0000000000000000"), "{} {set}", process.name);
    }
}

/// What `trawl up` started, once all of it is there.
async fn started_by(up: &Up) -> anyhow::Result<Vec<Seen>> {
    look_for("all processes", async || {
        let mut processes = up.processes()?;
        // The first is `trawl up` itself, with the rights and environment of its user.
        processes.remove(0);
        let seen: Vec<Seen> = processes.into_iter().filter_map(Seen::of).collect();
        // The system keeps 15 characters of a name. Each begins as the program that gives up its rights.
        let there = |name: &str| seen.iter().any(|one| one.name == name);
        let all = ["trawl-coordinat", "trawl-worker", "postgres"].into_iter().all(there) && !there("setpriv");
        Ok(all.then_some(seen))
    })
    .await
}

async fn passes_no_rights_on(up: &Up) -> anyhow::Result<()> {
    for process in started_by(up).await? {
        has_no(&process, &["CapAmb", "CapInh"]);
        if process.name != "postgres" {
            continue;
        }
        has_no(&process, &["CapEff", "CapPrm"]);
        assert_eq!(process.status["NoNewPrivs"], "1");
        let users: Vec<&str> = process.status["Uid"].split_whitespace().collect();
        assert!(!users.contains(&"0"), "{users:?}");
        if is_root() && users[0] == "65534" {
            has_no(&process, &["CapBnd"]);
        }
    }
    Ok(())
}

async fn hides_secrets(up: &Up, secrets: &[&str]) -> anyhow::Result<()> {
    for process in started_by(up).await? {
        for secret in secrets {
            // The coordinator asks for the operator's token, and nobody else does.
            if *secret == "hunter2-operator" && process.name == "trawl-coordinat" {
                continue;
            }
            let line = process.environment.lines().find(|line| line.contains(secret));
            assert_eq!(line.and_then(|line| line.split('=').next()), None, "{}", process.name);
        }
    }
    Ok(())
}

/// The roles of the embedded Postgres: neither reads files, runs programs or becomes more than it is.
async fn roles_are_no_superusers(up: &Up, data_dir: &Path) -> anyhow::Result<()> {
    let reader = up.database_url();
    let (_, address) = reader.split_once('@').context("a URL without a password")?;
    let port: u16 = address
        .split([':', '/'])
        .nth(1)
        .context("a URL without a port")?
        .parse()?;
    let (folder, password) = (
        data_dir.join("postgres"),
        fs::read_to_string(data_dir.join("postgres-password"))?,
    );
    let (folder, password) = (folder.display(), password.trim());
    // Once Postgres is dead, somebody else could take a port of the owner's, and receive its password.
    let by_port = PgConnection::connect(&format!("postgres://trawl:{password}@{address}")).await;
    assert!(by_port.is_err(), "the database's owner connects by TCP");
    let owner = format!("postgres:///trawl?host={folder}&port={port}&user=trawl&password={password}");
    for (url, name) in [(reader, "reader"), (owner.as_str(), "trawl")] {
        let mut conn = PgConnection::connect(url).await?;
        let query =
            "SELECT current_user::text, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
                     FROM pg_roles WHERE rolname = current_user";
        let (role, may_more): (String, bool) = sqlx::query_as(query).fetch_one(&mut conn).await?;
        assert_eq!((role.as_str(), may_more), (name, false));
        let mut attacks = vec![
            "COPY (SELECT 1) TO PROGRAM 'id'",
            "COPY (SELECT 1) TO '/tmp/trawl-was-here'",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_ls_dir('/')",
            "CREATE EXTENSION file_fdw",
            "ALTER ROLE trawl SUPERUSER",
            "SET SESSION AUTHORIZATION postgres",
        ];
        if name == "reader" {
            attacks.extend([
                "CREATE TABLE made (x int)",
                "CREATE SCHEMA made",
                "CREATE TEMP TABLE made (x int)",
                "SELECT lo_from_bytea(0, 'x')",
                "SELECT pg_advisory_lock(1)",
                "SELECT FROM trawl_store.tokens",
                "SET ROLE trawl",
            ]);
        }
        for attack in attacks {
            let refused = sqlx::raw_sql(AssertSqlSafe(attack)).execute(&mut conn).await;
            assert!(refused.is_err(), "{name} may: {attack}");
        }
    }
    Ok(())
}

async fn a_stranger_is_a_user_at_most(up: &Client) -> anyhow::Result<()> {
    let channel = up.channel().await?;
    for (rpc, expected) in [
        ("StudyService/ListStudies", Code::Ok),
        ("WorkerService/RegisterWorker", Code::PermissionDenied),
        ("WorkerService/LeaseJobs", Code::PermissionDenied),
        ("WorkerService/GetDataset", Code::PermissionDenied),
        ("WorkerService/ReportEpochs", Code::PermissionDenied),
        ("AccessService/ListTokens", Code::PermissionDenied),
        ("AccessService/CreateToken", Code::PermissionDenied),
    ] {
        assert_eq!(code_of(call(&channel, rpc, None, &()).await), expected, "{rpc}");
    }
    Ok(())
}

/// Nobody else can take the port of a dead coordinator, where workers and users still call with their tokens.
async fn its_port_outlives_the_coordinator(up: &Up) -> anyhow::Result<()> {
    let address = up.url().trim_start_matches("http://");
    let coordinators = started_by(up).await?;
    let coordinator = coordinators.iter().find(|seen| seen.name == "trawl-coordinat");
    let pid: u32 = coordinator.context("there is no coordinator")?.status["Pid"].parse()?;
    ProcessTree::of(pid)?.kill()?;
    look_for("the next coordinator", async || {
        let taken = TcpListener::bind(address);
        assert!(taken.is_err(), "the port of a dead coordinator is free");
        let answers = up.channel().await;
        Ok(answers.ok().filter(|_| Seen::of(pid).is_none()).map(drop))
    })
    .await
}

/// A file of a study that trains in a second.
fn study_file(folder: &Path, name: &str) -> anyhow::Result<String> {
    let study = studies::with_whole_paths(studies::small(name, 2, 1)?);
    written(folder, &format!("{name}.json"), study)
}

/// Runs `trawl` as the user of the tests, with these variables beside no token.
fn trawl(args: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Ran> {
    let mut command = Command::new(binary("trawl")?);
    command
        .args(args)
        .env_remove("TRAWL_TOKEN")
        .env_remove("TRAWL_TOKEN_FILE");
    ran(command.envs(variables.iter().copied()))
}

/// Submits a study, and sees it to its end.
fn submit(server: &str, file: &str, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let printed = trawl(&["--server", server, "submit", file, "--watch"], variables)?;
    assert!(
        printed.code == Some(0) && printed.stdout.contains("completed"),
        "{printed:?}"
    );
    Ok(())
}

/// Everything below a folder that anybody but its owner may read or enter.
fn open_to_others(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if !metadata.is_symlink() && metadata.mode() & 0o077 != 0 {
                found.push(path.clone());
            }
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

/// Starts `trawl up` as somebody, twice on the same data folder, and tries to be more than a user of it.
async fn is_closed(command: impl Fn() -> anyhow::Result<Command>, home: &Path) -> anyhow::Result<()> {
    let (data_dir, cache) = (home.join("closed/data"), home.join("cache"));
    let start = async || {
        Up::start_by(command()?, &data_dir, &Ports::free(), |command| {
            for (name, value) in SECRETS.iter().filter(|(name, _)| *name != "TRAWL_TOKEN") {
                command.env(name, value);
            }
            command.env("XDG_CACHE_HOME", &cache);
        })
        .await
    };
    let up = start().await?;
    passes_no_rights_on(&up).await?;
    hides_secrets(&up, &SECRETS.map(|(_, value)| value)).await?;
    roles_are_no_superusers(&up, &data_dir).await?;
    a_stranger_is_a_user_at_most(&up).await?;
    // Workers train all the same, by a token of their own.
    let folder = TempDir::new()?;
    submit(up.url(), &study_file(folder.path(), "of-a-stranger")?, &[])?;
    assert_eq!(open_to_others(&data_dir)?, Vec::<PathBuf>::new());
    assert!(fs::read_dir(data_dir.join("artifacts"))?.next().is_some());
    assert_eq!(open_to_others(&cache)?, Vec::<PathBuf>::new());
    its_port_outlives_the_coordinator(&up).await?;
    assert!(up.stop().await?.success());
    assert!(!data_dir.join("worker-token").exists());

    let up = start().await?;
    passes_no_rights_on(&up).await?;
    up.completed("of-a-stranger").await?;
    assert!(up.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_users_up_gives_nobody_what_is_theirs() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let Some(user) = OrdinaryUser::new(folder.path())? else {
        return Ok(());
    };
    is_closed(|| user.command("trawl"), user.home()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_up_gives_nobody_what_is_roots() -> anyhow::Result<()> {
    if !is_root() {
        eprintln!("skipped: the tests do not run as root");
        return Ok(());
    }
    let home = TempDir::new()?;
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700))?;
    is_closed(|| Ok(Command::new(binary("trawl")?)), home.path()).await
}

/// Where no namespace can show Postgres its files below closed folders, it gets no right to go there either: it goes where others may, or
/// nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn without_namespaces_root_is_told_where_postgres_may_go() -> anyhow::Result<()> {
    if !is_root() {
        eprintln!("skipped: the tests do not run as root");
        return Ok(());
    }
    let without = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"];
    let folder = TempDir::new()?;
    let (data_dir, closed) = (folder.path().join("data"), folder.path().join("closed"));
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    let mut command = Command::new(without[0]);
    command
        .args(&without[1..])
        .arg(binary("trawl")?)
        .args(["up", "--workers", "0", "--listen", "127.0.0.1:0", "--http-listen"])
        .args(["127.0.0.1:0", "--data-dir"])
        .arg(closed.join("data"))
        .env_remove("DATABASE_URL");
    let refused = ran(&mut command)?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["runs as nobody, who may not enter ", "--database-url"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }

    // An installation that others may read is no secret: only the data folder and its contents are closed.
    let installation =
        std::env::var_os("TRAWL_POSTGRES_DIR").context("TRAWL_POSTGRES_DIR is not set: run make setup first")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c"]);
    command
        .args(["mount --bind \"$1\" /mnt && shift && exec \"$@\"", "sh"])
        .arg(&installation);
    command.args(without).arg(binary("trawl")?);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let up = Up::start_by(command, &data_dir, &Ports::free(), |command| {
        command.args(["--postgres-dir", "/mnt"]);
    })
    .await?;
    passes_no_rights_on(&up).await?;
    assert_eq!(fs::metadata(&data_dir)?.mode() & 0o777, 0o711);
    assert_eq!(open_to_others(&data_dir)?, Vec::<PathBuf>::new());
    assert!(up.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_up_starts_gets_a_secret_of_another_kind() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let up = Up::start_with(&folder.path().join("data"), &Ports::free(), |command| {
        command.envs(SECRETS);
    })
    .await?;
    hides_secrets(&up, &SECRETS.map(|(_, value)| value)).await?;
    assert!(up.stop().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_know_nothing_of_a_database_that_up_is_given() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (data_dir, database_url) = (folder.path().join("data"), fresh_database().await?);
    let up = Command::new(binary("trawl")?)
        .args(["up", "--workers", "1", "--device", "cpu"])
        .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(&data_dir)
        .envs(SECRETS)
        .env("DATABASE_URL", &database_url)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()?;
    let endpoints: serde_json::Value =
        look_for("trawl up", async || Ok(fs::read(data_dir.join("endpoints.json")).ok()))
            .await
            .map(|content| serde_json::from_slice(&content))??;
    // Its user knows that URL, and it may be the owner's.
    assert_eq!(endpoints["database_url"], serde_json::Value::Null);
    let environment = look_for("a worker", async || {
        let processes = trawl_e2e::processes_below(up.id())?;
        let seen = processes.into_iter().filter_map(Seen::of);
        Ok(seen
            .filter(|one| one.name == "trawl-worker")
            .map(|one| one.environment)
            .next())
    })
    .await?;
    for secret in SECRETS.iter().map(|(_, value)| *value).chain([database_url.as_str()]) {
        assert!(!environment.contains(secret));
    }
    let pid = rustix::process::Pid::from_child(&up);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let output = up.wait_with_output()?;
    let printed = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && !printed.contains(&database_url), "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_private_up_is_found_by_its_own_user_alone() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (data_dir, share) = (folder.path().join("data"), folder.path().join("share"));
    let own = [("XDG_DATA_HOME", text(&share)?)];
    let up = Up::start_by(Command::new(binary("trawl")?), &data_dir, &Ports::free(), |command| {
        command.arg("--private").env("XDG_DATA_HOME", &share);
    })
    .await?;
    let grpc = up.url();
    let by_name = grpc.replace("127.0.0.1", "localhost");
    for server in [grpc, &by_name, grpc.trim_start_matches("http://")] {
        let listed = trawl(&["--server", server, "ls"], &own)?;
        assert_eq!(listed.code, Some(0), "{server}: {listed:?}");
    }
    // Workers have theirs.
    submit(grpc, &study_file(folder.path(), "private")?, &own)?;

    let other = folder.path().join("other");
    let refused = trawl(&["--server", grpc, "ls"], &[("XDG_DATA_HOME", text(&other)?)])?;
    assert_eq!(refused.code, Some(1), "somebody else");
    for part in ["a token is needed", "--private"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let private = share.join("trawl/private");
    assert_eq!(open_to_others(&share)?, Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(&private)?.count(), 1);
    assert!(up.stop().await?.success());
    assert_eq!(fs::read_dir(&private)?.count(), 0);

    for (args, wrong) in [
        (&["--token", "another"][..], "--private makes a token"),
        (
            &["--listen", "0.0.0.0:0", "--insecure"],
            "--private is for this machine",
        ),
    ] {
        let args = [&["up", "--private", "--data-dir", text(&data_dir)?], args].concat();
        let refused = trawl(&args, &own)?;
        assert!(refused.code == Some(2) && refused.stderr.contains(wrong), "{refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_coordinator_and_of_a_worker_are_their_users_alone() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (cache, file) = (folder.path().join("cache"), study_file(folder.path(), "kept")?);
    let system = System::start(&[]).await?;
    let _worker = worker(&system.coordinator.url, |command| {
        command.arg("--cache-dir").arg(&cache);
    })?;
    system.trawl_stdout(&["submit", &file, "--watch"])?;
    for folder in [system.artifacts.path(), &cache] {
        assert_eq!(open_to_others(folder)?, Vec::<PathBuf>::new());
        assert!(fs::read_dir(folder)?.next().is_some());
    }
    assert_eq!(fs::metadata(&cache)?.mode() & 0o777, 0o700);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_leaves_the_machine_in_the_clear_by_its_users_word_alone() -> anyhow::Result<()> {
    // No coordinator is there, and none is asked.
    let far = "http://192.0.2.1:50051";
    let ls = ["--server", far, "--token", "hunter2", "ls"];
    let worker = ["--coordinator", far, "--token", "hunter2", "--device", "cpu"];
    for (program, args) in [("trawl", &ls[..]), ("trawl-worker", &worker)] {
        let mut command = Command::new(binary(program)?);
        let refused = ran(command.args(args).env_remove("TRAWL_INSECURE"))?;
        let said = &refused.stderr;
        assert!(
            refused.code == Some(2) && said.contains("https://") && said.contains("--insecure"),
            "{refused:?}"
        );
        assert!(!said.contains("hunter2"), "{refused:?}");
    }
    Ok(())
}
