//! Identifiers. Each kind is a separate type, so that a job's id cannot be taken for a worker's.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// Identifies a study for ever; after a deletion, its name is free again.
    StudyId
);
uuid_id!(
    /// Names a job.
    JobId
);
uuid_id!(
    /// Names a worker process; a restarted worker has another.
    WorkerId
);
uuid_id!(
    /// The fencing token of a lease: every write under the lease repeats it.
    LeaseToken
);
uuid_id!(
    /// Identifies a token for ever, without revealing its text.
    TokenId
);
