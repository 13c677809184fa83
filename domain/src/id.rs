//! Identifiers. Each kind is a type of its own, so that a job's id is never taken for a worker's.

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
    /// Names a study for ever; its name can be given to another once it is deleted.
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
    /// The secret half of a lease: every write under the lease repeats it.
    LeaseToken
);
uuid_id!(
    /// Names a token for ever, and tells nothing of its text.
    TokenId
);
