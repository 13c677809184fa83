//! How children are started: in a process group of their own, so that the terminal's Ctrl-C reaches `trawl up` alone, and
//! with a signal that they get if it is killed before it could stop them.

use std::path::Path;
use std::process::Stdio;

use rustix::process::geteuid;
use tokio::process::Command;
use trawl_domain::secret::Secret;

use crate::error::Error;

/// nobody, who owns the database where root runs `trawl up`: Postgres refuses root.
pub(super) const NOBODY: u32 = 65534;

/// Becoming nobody.
const AS_NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
/// The installation and the data may lie under root's home, closed to others: one capability opens it, and that secure
/// bit lets access(2), by which Postgres checks its own programs, count the capability too.
const PAST_CLOSED_FOLDERS: [&str; 3] = [
    "--securebits=+no_setuid_fixup",
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=-all,+dac_override",
];

/// Variables about tokens and TLS, which are read by `trawl up` itself.
const ACCESS_VARIABLES: [&str; 7] = [
    "TRAWL_TOKEN",
    "TRAWL_TOKEN_FILE",
    "TRAWL_TLS_CA",
    "TRAWL_TLS_CERT",
    "TRAWL_TLS_KEY",
    "TRAWL_TLS_CLIENT_CA",
    "TRAWL_TLS_SERVER_NAME",
];

/// What this machine offers for starting children.
#[derive(Clone)]
pub(super) struct Launcher {
    /// setpriv of util-linux is there.
    setpriv: bool,
    /// What setpriv is told for Postgres; nothing where an ordinary user runs it.
    postgres_owner: Vec<&'static str>,
    /// What the coordinator asks of everybody, and workers present.
    token: Option<Secret>,
}

impl Launcher {
    /// Tries what this machine offers.
    ///
    /// # Errors
    /// Root without a way to run Postgres as somebody else.
    pub(super) async fn detect(token: Option<Secret>) -> Result<Self, Error> {
        // BusyBox has a setpriv without --pdeathsig, so trying it tells more than finding it.
        let setpriv = works(&["--pdeathsig", "TERM"]).await;
        let mut postgres_owner = Vec::new();
        if geteuid().is_root() {
            postgres_owner = [AS_NOBODY, PAST_CLOSED_FOLDERS].concat();
            if !works(&postgres_owner).await {
                // Containers may withhold the capability; all folders may be open nevertheless.
                postgres_owner = AS_NOBODY.to_vec();
            }
            if !setpriv || !works(&postgres_owner).await {
                return Err(Error::Failed(
                    "Postgres refuses root, and setpriv (util-linux) cannot change to nobody here; run `trawl up` as an \
                     ordinary user or give it --database-url"
                        .into(),
                ));
            }
        }
        Ok(Self {
            setpriv,
            postgres_owner,
            token,
        })
    }

    /// A child of trawl's own, which gets SIGTERM if this process dies.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = self.start(program, &[], "TERM");
        // These mean other things to the coordinator than to workers; each gets its own as arguments.
        for variable in ACCESS_VARIABLES {
            command.env_remove(variable);
        }
        if let Some(token) = &self.token {
            // Other users see arguments.
            command.env("TRAWL_TOKEN", token.expose());
        }
        command
    }

    /// A child of Postgres, as the database's owner. SIGINT is Postgres's fast shutdown; SIGTERM would have it wait for
    /// clients.
    pub(super) fn postgres_command(&self, program: &Path) -> Command {
        self.start(program, &self.postgres_owner, "INT")
    }

    /// True if the database belongs to nobody.
    pub(super) fn gives_data_to_nobody(&self) -> bool {
        !self.postgres_owner.is_empty()
    }

    fn start(&self, program: &Path, owner: &[&str], death_signal: &str) -> Command {
        let mut command = if self.setpriv {
            let mut command = Command::new("setpriv");
            command
                .args(owner)
                .args(["--pdeathsig", death_signal, "--"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

async fn works(options: &[&str]) -> bool {
    let mut command = Command::new("setpriv");
    command.args(options).args(["--", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
