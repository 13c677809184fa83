//! How children are started: in a process group of their own, so that the terminal's Ctrl-C reaches `trawl up` alone; with a signal
//! that they get if it is killed before it could stop them; without capabilities that would be passed on; and with an environment
//! made for them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use rustix::process::geteuid;
use tokio::process::Command;

use super::environment::Kind;
use crate::error::Error;

/// nobody, who owns the database where root runs `trawl up`: Postgres refuses root.
pub(super) const NOBODY: u32 = 65534;

/// Becoming nobody.
const AS_NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
/// Capabilities that a program would pass on to those that it starts, as any user.
const NONE_PASSED_ON: [&str; 2] = ["--inh-caps=-all", "--ambient-caps=-all"];
/// Nothing that Postgres starts, by order of a session too, gains rights by being started.
const NOTHING_GAINED: [&str; 1] = ["--no-new-privs"];
/// Nor could it. To give that up takes a right, too.
const NOTHING_TO_GAIN: [&str; 1] = ["--bounding-set=-all"];

/// What this machine offers for starting children.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    /// setpriv of util-linux is there.
    setpriv: bool,
    /// What setpriv is told for trawl's own programs.
    own: Vec<&'static str>,
    /// What it is told for Postgres.
    postgres: Vec<&'static str>,
    /// Postgres is nobody.
    as_nobody: bool,
}

impl Launcher {
    /// Tries what this machine offers.
    ///
    /// # Errors
    /// Root without a way to run Postgres as somebody else.
    pub(super) async fn detect() -> Result<Self, Error> {
        // BusyBox has a setpriv without --pdeathsig, so trying it tells more than finding it.
        let setpriv = works(&["--pdeathsig", "TERM"]).await;
        let as_nobody = geteuid().is_root();
        let (mut own, mut postgres) = (Vec::new(), Vec::new());
        let mut wanted = [&NONE_PASSED_ON[..], &NOTHING_GAINED].concat();
        if as_nobody {
            postgres = [&AS_NOBODY[..], &wanted].concat();
            if !setpriv || !works(&postgres).await {
                return Err(Error::Failed(
                    "Postgres refuses root, and setpriv (util-linux) cannot change to nobody here; run `trawl up` as an \
                     ordinary user or give it --database-url"
                        .into(),
                ));
            }
            // Containers may withhold the right to this; nobody has nothing to begin with.
            wanted = NOTHING_TO_GAIN.to_vec();
        }
        for (options, more) in [(&mut postgres, &wanted[..]), (&mut own, &NONE_PASSED_ON)] {
            let all = [&options[..], more].concat();
            if setpriv && works(&all).await {
                *options = all;
            }
        }
        Ok(Self {
            setpriv,
            own,
            postgres,
            as_nobody,
        })
    }

    /// A child of trawl's own, which gets SIGTERM if this process dies.
    pub(super) fn command(&self, kind: Kind, program: &Path) -> Command {
        self.start(&[], &self.own, "TERM", kind, program)
    }

    /// A child of Postgres, as the database's owner, started by way of another program where words of it are given. SIGINT is
    /// Postgres's fast shutdown; SIGTERM would have it wait for clients.
    pub(super) fn postgres_command(&self, way: &[&OsStr], program: &Path) -> Command {
        self.start(way, &self.postgres, "INT", Kind::Postgres, program)
    }

    /// True if the database belongs to nobody.
    pub(super) fn gives_data_to_nobody(&self) -> bool {
        self.as_nobody
    }

    fn start(&self, way: &[&OsStr], options: &[&str], death_signal: &str, kind: Kind, program: &Path) -> Command {
        let mut words = way.to_vec();
        if self.setpriv {
            words.push("setpriv".as_ref());
            words.extend(options.iter().map(OsStr::new));
            // It is the last one on the way to the program: becoming somebody else would clear the signal.
            words.extend(["--pdeathsig", death_signal, "--"].map(OsStr::new));
        }
        words.push(program.as_os_str());
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .envs(kind.environment())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// True if setpriv takes these options.
async fn works(options: &[&str]) -> bool {
    let mut command = Command::new("setpriv");
    command.args(options).args(["--", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
