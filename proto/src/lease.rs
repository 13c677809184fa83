//! Leases on the wire.

use trawl_domain::lease::LeaseClaim;
use trawl_domain::violation::Violation;

use crate::v1;

impl From<LeaseClaim> for v1::Lease {
    fn from(claim: LeaseClaim) -> Self {
        Self {
            job_id: claim.job_id.to_string(),
            token: claim.token.to_string(),
        }
    }
}

/// The lease of a message.
///
/// # Errors
/// It is missing, or its ids are no UUIDs.
pub fn lease_claim(lease: Option<&v1::Lease>) -> Result<LeaseClaim, Violation> {
    let violation = |field: &str, description: &str| Violation {
        field: field.to_owned(),
        description: description.to_owned(),
    };
    let lease = lease.ok_or_else(|| violation("lease", "is missing"))?;
    let no_uuid = |field| move |_| violation(field, "must be a UUID");
    Ok(LeaseClaim {
        job_id: lease.job_id.parse().map_err(no_uuid("lease.job_id"))?,
        token: lease.token.parse().map_err(no_uuid("lease.token"))?,
    })
}
