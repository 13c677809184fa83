//! The environments of children. Each gets what its kind needs and nothing else: a variable with a secret is often set for another
//! program than the one that inherits it.

use std::ffi::OsString;

/// Whose environment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Postgres, `initdb` among it, and what starts them.
    Postgres,
    /// The coordinator, on the embedded Postgres.
    Coordinator,
    /// The coordinator on a database of the user's, for which libpq's variables may be meant.
    CoordinatorOfDatabase,
    /// A worker.
    Worker,
}

/// For all: where programs and libraries are, language and time.
const EVERYBODY: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ"];
/// For trawl's own programs. A name that ends in '*' stands for all that begin so.
const OWN: [&str; 8] = [
    "HOME",
    "TMPDIR",
    "XDG_*",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "TRAWL_*",
    "OTEL_*",
    "SSL_CERT_*",
];
/// How much trawl's own programs log.
const LOG: &str = "RUST_LOG";
/// For libtorch and the libraries below it.
const TRAINING: [&str; 12] = [
    "LIBTORCH",
    "CUDA_*",
    "CUBLAS_*",
    "CUDNN_*",
    "NVIDIA_*",
    "PYTORCH_*",
    "TORCH_*",
    "ATEN_*",
    "OMP_*",
    "GOMP_*",
    "KMP_*",
    "MKL_*",
];
/// Parts of the names of settings of trawl's that are for `trawl` itself: tokens and where they are, TLS, whom to ask. Children get
/// theirs as arguments.
const NOT_OF_CHILDREN: [&str; 5] = ["TOKEN", "TLS", "URL", "SERVER", "PRIVATE"];

impl Kind {
    /// What a child inherits. Unless the user asks for more, trawl's own programs log warnings and errors alone.
    pub(super) fn environment(self) -> impl Iterator<Item = (OsString, OsString)> {
        let inherited = std::env::vars_os().filter(move |(name, _)| name.to_str().is_some_and(|name| self.takes(name)));
        let quiet = self.takes(LOG).then(|| (LOG.into(), "warn".into()));
        quiet.into_iter().chain(inherited)
    }

    fn takes(self, name: &str) -> bool {
        let listed = |names: &[&str]| {
            names.iter().any(|listed| match listed.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == *listed,
            })
        };
        let own = || {
            let of_trawl = name.strip_prefix("TRAWL_");
            listed(&OWN) && !of_trawl.is_some_and(|rest| NOT_OF_CHILDREN.iter().any(|part| rest.contains(part)))
        };
        listed(&EVERYBODY)
            || match self {
                Self::Postgres => false,
                Self::Coordinator => own(),
                Self::CoordinatorOfDatabase => own() || listed(&["PG*"]),
                Self::Worker => own() || listed(&TRAINING),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_child_gets_the_secrets_of_another() {
        use Kind::{Coordinator, CoordinatorOfDatabase, Postgres, Worker};
        let takers = |name: &str| -> Vec<Kind> {
            let all = [Postgres, Coordinator, CoordinatorOfDatabase, Worker];
            all.into_iter().filter(|kind| kind.takes(name)).collect()
        };
        for secret in [
            "TRAWL_TOKEN",
            "TRAWL_TOKEN_FILE",
            "TRAWL_WORKER_TOKEN_FILE",
            "TRAWL_READER_URL_FILE",
            "TRAWL_TLS_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "DATABASE_URL",
            "GITHUB_TOKEN",
            "SSH_AUTH_SOCK",
            "PATHS",
        ] {
            assert_eq!(takers(secret), [], "{secret}");
        }
        assert_eq!(takers("PGPASSWORD"), [CoordinatorOfDatabase]);
        assert_eq!(takers("PATH"), [Postgres, Coordinator, CoordinatorOfDatabase, Worker]);
        assert_eq!(takers("CUDA_VISIBLE_DEVICES"), [Worker]);
        for setting in [
            "TRAWL_LEASE_TTL_MS",
            "TRAWL_LIBTORCH_CUDA_DIR",
            "OTEL_SERVICE_NAME",
            "HOME",
        ] {
            assert_eq!(
                takers(setting),
                [Coordinator, CoordinatorOfDatabase, Worker],
                "{setting}"
            );
        }
    }
}
