//! Broken rules and retry times as gRPC statuses.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use trawl_domain::violation::Violations;

/// INVALID_ARGUMENT with a google.rpc.BadRequest field violation for each broken rule.
pub fn invalid(violations: &Violations) -> Status {
    by_field(Code::InvalidArgument, violations.to_string(), violations)
}

/// A status with a google.rpc.BadRequest field violation for each field concerned.
pub fn by_field(code: Code, message: impl Into<String>, violations: &Violations) -> Status {
    let fields: Vec<FieldViolation> = violations
        .iter()
        .map(|violation| FieldViolation::new(&violation.field, &violation.description))
        .collect();
    Status::with_error_details(code, message, ErrorDetails::with_bad_request(fields))
}

/// RESOURCE_EXHAUSTED with a google.rpc.RetryInfo: nothing was done, and the same call may succeed after this time.
pub fn retry_later(message: impl Into<String>, after: Duration) -> Status {
    Status::with_error_details(
        Code::ResourceExhausted,
        message,
        ErrorDetails::with_retry_info(Some(after)),
    )
}

/// The time until the same call may be retried, if the status has one. RESOURCE_EXHAUSTED without it means a used-up
/// quota or a full disk.
pub fn retry_after(status: &Status) -> Option<Duration> {
    if status.code() != Code::ResourceExhausted {
        return None;
    }
    status.get_details_retry_info()?.retry_delay
}
