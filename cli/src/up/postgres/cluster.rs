//! Postgres's data folder: made whole or not at all, with one database, its owner, and a role that reads it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use trawl_domain::secret::Secret;

use super::super::data_dir::failed;
use super::super::launcher::NOBODY;
use super::super::note;
use super::{OWNER, Place, READER, TRAWL};
use crate::error::Error;
use crate::folders::{entropy, write_secret};

/// The user that `initdb` makes is a superuser. It has no password, and no line lets it connect.
const SUPERUSER: &str = "postgres";

/// The first release with the locale provider `builtin`, whose C.UTF-8 sorts the same on every machine and library.
const BUILTIN_LOCALE_MAJOR: u32 = 17;

/// What a superuser has to do in the database, once.
const ROLES: &str = include_str!("../../../../deploy/postgres/roles.sql");

/// The owner of the database connects by the socket in Postgres's folder, where nobody else can listen if Postgres dies.
const OWNER_CONNECTS: &str = "local trawl trawl scram-sha-256";
/// The reader connects by TCP.
const READER_CONNECTS: &str = "host trawl reader 127.0.0.1/32 scram-sha-256";

/// What the two roles log in with. The superuser has none, and cannot log in.
pub(super) struct Passwords {
    /// Of the owner of the database, as whom the coordinator connects.
    pub(super) owner: Secret,
    /// Of the one that reads results, for people.
    pub(super) reader: Secret,
}

impl Passwords {
    fn files(place: &Place<'_>) -> [PathBuf; 2] {
        ["postgres-password", "postgres-reader-password"].map(|name| place.secrets.join(name))
    }

    fn read(place: &Place<'_>) -> Result<Self, Error> {
        let [owner, reader] = Self::files(place).map(|file| {
            fs::read_to_string(&file)
                .map(|text| Secret::new(text.trim()))
                .map_err(|error| {
                    Error::Failed(format!(
                        "cannot read {}, a password of the database in {}: {error}",
                        file.display(),
                        place.data.display()
                    ))
                })
        });
        Ok(Self {
            owner: owner?,
            reader: reader?,
        })
    }

    fn make(place: &Place<'_>) -> Result<Self, Error> {
        let [owner, reader] = Self::files(place).map(|file| -> Result<Secret, Error> {
            let digits = entropy()?.map(|byte| format!("{byte:02x}"));
            let password = Secret::new(digits.concat());
            write_secret(&file, &password).map_err(|error| failed("write", &file, &error))?;
            Ok(password)
        });
        Ok(Self {
            owner: owner?,
            reader: reader?,
        })
    }
}

/// Makes the data folder unless it is there.
pub(super) async fn prepare(place: &Place<'_>) -> Result<Passwords, Error> {
    if place.data.join("PG_VERSION").exists() {
        let rules = place.data.join("pg_hba.conf");
        let text = fs::read_to_string(&rules).map_err(|error| failed("read", &rules, &error))?;
        if !text.contains(OWNER_CONNECTS) {
            return Err(Error::Failed(format!(
                "the database in {} is of an earlier trawl, whose coordinator had all rights in Postgres: name a new folder with \
                 --data-dir, and keep this one if its results are still needed",
                place.data.display()
            )));
        }
        return Passwords::read(place);
    }
    note(&format!("making a database in {}", place.data.display()));
    let passwords = Passwords::make(place)?;
    // An interrupted start leaves only this folder behind, which the next one removes.
    let draft = place.data.with_extension("partial");
    make_empty(&draft, place.launcher.gives_data_to_nobody()).map_err(|error| failed("make", &draft, &error))?;
    initdb(place, &draft).await?;
    execute(place, &draft, "postgres", &roles_and_database(&passwords)).await?;
    execute(place, &draft, TRAWL, ROLES).await?;
    let parent = draft.parent().unwrap_or(Path::new("/"));
    // Postgres does not wait for the disk when it writes such a file.
    File::open(draft.join("pg_hba.conf"))
        .and_then(|written| written.sync_all())
        .and_then(|()| fs::rename(&draft, &place.data))
        .and_then(|()| File::open(parent)?.sync_all())
        .map_err(|error| failed("make", &place.data, &error))?;
    Ok(passwords)
}

/// Each statement ends with a semicolon and an empty line. The last one writes who may connect. As Postgres itself, since root should
/// not write where nobody may put links.
fn roles_and_database(passwords: &Passwords) -> String {
    let (owner, reader) = (passwords.owner.expose(), passwords.reader.expose());
    let literal = |rule: &str| format!("'{rule}'");
    format!(
        "CREATE ROLE {OWNER} LOGIN PASSWORD '{owner}';\n\n\
         CREATE ROLE {READER} LOGIN PASSWORD '{reader}';\n\n\
         CREATE DATABASE {TRAWL} OWNER {OWNER};\n\n\
         DO $$ BEGIN EXECUTE format('COPY (VALUES (%L), (%L)) TO %L', {}, {}, current_setting('hba_file')); END $$;\n\n",
        literal(OWNER_CONNECTS),
        literal(READER_CONNECTS)
    )
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
    let mut command = place.command("initdb", draft)?;
    command.arg("--pgdata").arg(draft);
    // Until it is said who may connect, nobody may.
    command.args([
        "--username",
        SUPERUSER,
        "--auth",
        "reject",
        "--encoding",
        "UTF8",
        "--locale",
        "C",
    ]);
    if major_version(place, draft).await? >= BUILTIN_LOCALE_MAJOR {
        command.args(["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]);
    }
    let status = command.status().await;
    check(place, "initdb", status)
}

/// In single-user mode: nobody can connect before the database is whole, and no client program is needed. There, `-j` has a
/// statement end with a semicolon and an empty line.
async fn execute(place: &Place<'_>, draft: &Path, database: &str, statements: &str) -> Result<(), Error> {
    let mut command = place.command("postgres", draft)?;
    command
        .args(["--single", "-j", "-D"])
        .arg(draft)
        .args(["-c", "exit_on_error=on", database])
        .stdin(Stdio::piped());
    let run = async |mut command: Command| -> io::Result<ExitStatus> {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(statements.as_bytes()).await?;
        }
        child.wait().await
    };
    check(place, "postgres --single", run(command).await)
}

async fn major_version(place: &Place<'_>, draft: &Path) -> Result<u32, Error> {
    let mut command = place.command("postgres", draft)?;
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
