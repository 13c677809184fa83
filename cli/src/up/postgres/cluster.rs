//! Postgres's data folder: made whole or not at all, with one role and one database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::super::data_dir::failed;
use super::super::launcher::NOBODY;
use super::super::note;
use super::{Place, TRAWL};
use crate::error::Error;

/// The first release with the locale provider `builtin`, whose C.UTF-8 sorts the same on every machine and library.
const BUILTIN_LOCALE_MAJOR: u32 = 17;

/// The role is called like the schema of the views, which Postgres's default `"$user", public` would put first: tables
/// made without a schema's name, such as the migrations' own, would land there or elsewhere, depending on the moment.
const STATEMENTS: &str = "CREATE DATABASE trawl;\nALTER ROLE trawl SET search_path TO public;\n";

/// Makes the data folder unless it is there; returns the password of the role `trawl`.
pub(super) async fn prepare(place: &Place<'_>) -> Result<String, Error> {
    if place.data.join("PG_VERSION").exists() {
        return fs::read_to_string(&place.password_file)
            .map(|text| text.trim().to_owned())
            .map_err(|error| {
                Error::Failed(format!(
                    "cannot read {}, the password of the database in {}: {error}",
                    place.password_file.display(),
                    place.data.display()
                ))
            });
    }
    note(&format!("making a database in {}", place.data.display()));
    let password = write_password(&place.password_file)?;
    // An interrupted start leaves only this folder behind, which the next one removes.
    let draft = place.data.with_extension("partial");
    make_empty(&draft, place.launcher.gives_data_to_nobody()).map_err(|error| failed("make", &draft, &error))?;
    initdb(place, &draft).await?;
    create_database(place, &draft).await?;
    let parent = draft.parent().unwrap_or(Path::new("/"));
    fs::rename(&draft, &place.data)
        .and_then(|()| File::open(parent)?.sync_all())
        .map_err(|error| failed("make", &place.data, &error))?;
    Ok(password)
}

fn write_password(path: &Path) -> Result<String, Error> {
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random).map_err(|error| Error::Failed(format!("no randomness for a password: {error}")))?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let write = || -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        writeln!(file, "{password}")?;
        file.sync_all()
    };
    write().map_err(|error| failed("write", path, &error))?;
    Ok(password)
}

fn make_empty(folder: &Path, for_nobody: bool) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    if for_nobody {
        chown(folder, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

async fn initdb(place: &Place<'_>, draft: &Path) -> Result<(), Error> {
    let mut command = place.command("initdb")?;
    command
        .arg("--pgdata")
        .arg(draft)
        .arg("--pwfile")
        .arg(&place.password_file);
    command.args([
        "--username",
        TRAWL,
        "--auth",
        "scram-sha-256",
        "--encoding",
        "UTF8",
        "--locale",
        "C",
    ]);
    if major_version(place).await? >= BUILTIN_LOCALE_MAJOR {
        command.args(["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]);
    }
    let status = command.status().await;
    check(place, "initdb", status)
}

/// In single-user mode: nobody can connect before the database is whole, and no client program is needed.
async fn create_database(place: &Place<'_>, draft: &Path) -> Result<(), Error> {
    let mut command = place.command("postgres")?;
    command
        .arg("--single")
        .arg("-D")
        .arg(draft)
        .args(["-c", "exit_on_error=on", "postgres"])
        .stdin(Stdio::piped());
    let run = async |mut command: Command| -> io::Result<ExitStatus> {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(STATEMENTS.as_bytes()).await?;
        }
        child.wait().await
    };
    check(place, "postgres --single", run(command).await)
}

async fn major_version(place: &Place<'_>) -> Result<u32, Error> {
    let mut command = place.command("postgres")?;
    let said = command.arg("--version").stdout(Stdio::piped()).output().await;
    let said = said.map_err(|error| failed("run", &place.bin.join("postgres"), &error))?;
    let text = String::from_utf8_lossy(&said.stdout);
    // "postgres (PostgreSQL) 18.6", "postgres (PostgreSQL) 15.10 (Debian 15.10-0+deb12u1)", "… 19beta1"
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| {
        let tail = place.log.tail();
        Error::Failed(format!(
            "{} does not run here:\n{tail}",
            place.bin.join("postgres").display()
        ))
    })
}

fn check(place: &Place<'_>, what: &str, status: io::Result<ExitStatus>) -> Result<(), Error> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Failed(format!(
            "{what} failed ({status}):\n{}",
            place.log.tail()
        ))),
        Err(error) => Err(failed("run", &place.bin.join(what), &error)),
    }
}
