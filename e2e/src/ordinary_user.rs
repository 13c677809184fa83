//! Programs of this build run by an ordinary user, where tests run as root.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::process::binary;

/// A user without rights who has a name on every system, which Postgres asks for.
const ID: u32 = 1;
/// The build's files may be below a folder that is closed to others, such as root's home: the script shows them in a namespace, and
/// becomes the program. Arguments: the closed folder, the three needed folders, the user.
const AS_USER: &str = r#"
    set -eu
    umask 022
    closed=$1 user=$5
    exec 3<"$2" 4<"$3" 5<"$4"
    [ -z "$closed" ] || mount -t tmpfs -o mode=0755 none "$closed"
    fd=3
    for folder in "$2" "$3" "$4"; do
        mkdir -p "$folder"
        mount --no-canonicalize --bind "/proc/self/fd/$fd" "$folder"
        fd=$((fd + 1))
    done
    exec 3<&- 4<&- 5<&-
    shift 5
    exec setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all --ambient-caps=-all -- "$@""#;

/// An ordinary user with a home.
#[derive(Debug)]
pub struct OrdinaryUser {
    home: PathBuf,
    /// The words that start a program as them.
    way: Vec<String>,
}

impl OrdinaryUser {
    /// A user with a home in this folder, which others may enter from now on; the user of the tests, unless that is root. `None`, with a
    /// message, where root can become nobody else.
    ///
    /// # Errors
    /// There is no home to be had.
    pub fn new(folder: &Path) -> anyhow::Result<Option<Self>> {
        let home = folder.join("home");
        std::fs::create_dir(&home)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(Some(Self { home, way: Vec::new() }));
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        chown(&home, Some(ID), Some(ID))?;
        let folder_of = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let build = binary("trawl")?.parent().context("a binary in no folder")?.to_owned();
        let (Some(libtorch), Some(postgres)) = (folder_of("LIBTORCH"), folder_of("TRAWL_POSTGRES_DIR")) else {
            anyhow::bail!("LIBTORCH and TRAWL_POSTGRES_DIR are not set: run make setup first");
        };
        let needed = [build, libtorch, postgres];
        let closed = needed
            .iter()
            .find_map(|folder| first_closed(folder))
            .unwrap_or_default();
        let mut way = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--",
            "sh",
            "-c",
            AS_USER,
            "sh",
        ]
        .map(str::to_owned)
        .to_vec();
        for path in [&closed].into_iter().chain(&needed) {
            way.push(path.to_str().context("a path that is no text")?.to_owned());
        }
        way.push(ID.to_string());
        let user = Self { home, way };
        let mut probe = user.command("test")?;
        let probe = probe.arg("-x").arg(&needed[0]).output()?;
        if probe.status.success() {
            return Ok(Some(user));
        }
        // Past the test harness, which keeps the output of tests that pass to itself.
        let why = String::from_utf8_lossy(&probe.stderr).trim().to_owned();
        writeln!(std::io::stderr(), "skipped: root can be no ordinary user here: {why}")?;
        Ok(None)
    }

    /// Their home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A command run as this user: a program of this build, or one of the system.
    ///
    /// # Errors
    /// The build cannot be found.
    pub fn command(&self, program: &str) -> anyhow::Result<Command> {
        let program = binary(program).unwrap_or_else(|_| program.into());
        let mut command = crate::process::wrapped(&self.way, &program);
        command
            .env("HOME", &self.home)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME");
        Ok(command)
    }
}

fn first_closed(path: &Path) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = path.ancestors().collect();
    folders.reverse();
    let is_closed = |folder: &&&Path| {
        folder
            .metadata()
            .is_ok_and(|metadata| metadata.permissions().mode() & 0o001 == 0)
    };
    folders.iter().find(is_closed).map(|folder| folder.to_path_buf())
}
