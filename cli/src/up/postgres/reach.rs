//! How nobody, who Postgres is where root runs `trawl up`, gets at its programs and its data although they are below folders that
//! are closed to others, such as root's home: in a mount namespace where such a folder has an empty one over it, with the
//! installation and the cluster's folder alone in it, at the paths that they have for everybody else. No right over files is needed.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::super::data_dir::failed;
use super::super::launcher::Launcher;
use crate::error::Error;

/// Makes the namespace and becomes the program.
const NAMESPACE: [&str; 5] = ["unshare", "--mount", "--propagation", "private", "--"];
/// Arguments: the installation, and the closed folder above it or nothing; the same of the cluster's folder; then the program. Each
/// folder is held open while what is above it is covered.
const SHOW: &str = r#"
    set -eu
    installation=$1 above_installation=$2 cluster=$3 above_cluster=$4
    shift 4
    umask 022
    exec 3<"$installation" 4<"$cluster"
    cover() { mount -t tmpfs -o mode=0755,size=1m,nosuid,nodev trawl "$1"; }
    show() { mkdir -p "$2"; mount --no-canonicalize --bind "/proc/self/fd/$1" "$2"; }
    [ -z "$above_installation" ] || cover "$above_installation"
    [ -z "$above_cluster" ] || [ "$above_cluster" = "$above_installation" ] || cover "$above_cluster"
    if [ -n "$above_installation" ]; then
        show 3 "$installation"
        mount -o remount,bind,ro,nosuid,nodev "$installation"
    fi
    if [ -n "$above_cluster" ]; then show 4 "$cluster"; fi
    exec 3<&- 4<&-
    umask 077
    exec "$@""#;

/// By which way Postgres is started.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The folders are open to it.
    Open,
    /// In a mount namespace of its own.
    Shown {
        installation: PathBuf,
        /// The topmost folder above it that is closed to others.
        above_installation: Option<PathBuf>,
        /// The same for the data.
        above_cluster: Option<PathBuf>,
    },
}

impl Reach {
    /// Looks at the folders, and at what this machine offers.
    ///
    /// # Errors
    /// Root, for whom Postgres cannot be shown what it needs.
    pub(super) async fn find(launcher: &Launcher, installation: &Path, data_dir: &Path) -> Result<Self, Error> {
        if !launcher.gives_data_to_nobody() {
            return Ok(Self::Open);
        }
        let closed = |path: &Path| first_closed(path).map_err(|error| failed("look at", path, &error));
        let (above_installation, above_cluster) = (closed(installation)?, closed(data_dir)?);
        if above_installation.is_none() && above_cluster.is_none() {
            return Ok(Self::Open);
        }
        if may_mount(data_dir).await {
            return Ok(Self::Shown {
                installation: installation.to_owned(),
                above_installation,
                above_cluster,
            });
        }
        if above_installation.is_none() && above_cluster.as_deref() == Some(data_dir) {
            // Others may then go through it, and neither look into it nor read what is for its user alone.
            let mode = |mode| fs::set_permissions(data_dir, Permissions::from_mode(mode));
            mode(0o711).map_err(|error| failed("open", data_dir, &error))?;
            return Ok(Self::Open);
        }
        let (folder, instead) = match (above_installation, above_cluster) {
            (Some(folder), _) => (
                folder,
                "install it where others may read it and name that with --postgres-dir",
            ),
            (None, folder) => (
                folder.unwrap_or_default(),
                "name a data folder that others may enter with --data-dir, such as /var/lib/trawl",
            ),
        };
        Err(Error::Failed(format!(
            "Postgres refuses root and runs as nobody, who may not enter {}, and no mount namespace can be made here in which it \
             could; {instead}, run `trawl up` as an ordinary user, or give it --database-url",
            folder.display()
        )))
    }

    /// The words before the program, for one that works on this cluster.
    pub(super) fn way<'a>(&'a self, cluster: &'a Path) -> Vec<&'a OsStr> {
        let Self::Shown {
            installation,
            above_installation,
            above_cluster,
        } = self
        else {
            return Vec::new();
        };
        let or_nothing = |path: &'a Option<PathBuf>| path.as_deref().unwrap_or(Path::new("")).as_os_str();
        let mut way: Vec<&OsStr> = NAMESPACE.iter().map(OsStr::new).collect();
        way.extend(["sh", "-c", SHOW, "sh"].map(OsStr::new));
        way.extend([installation.as_os_str(), or_nothing(above_installation)]);
        way.extend([cluster.as_os_str(), or_nothing(above_cluster)]);
        way
    }
}

/// The topmost folder on the way to a path, itself among them, that others may not enter.
fn first_closed(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut folders: Vec<&Path> = path.ancestors().collect();
    folders.reverse();
    for folder in folders {
        if fs::metadata(folder)?.permissions().mode() & 0o001 == 0 {
            return Ok(Some(folder.to_owned()));
        }
    }
    Ok(None)
}

async fn may_mount(folder: &Path) -> bool {
    let mut command = Command::new(NAMESPACE[0]);
    command
        .args(&NAMESPACE[1..])
        .args(["mount", "-t", "tmpfs", "trawl"])
        .arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
