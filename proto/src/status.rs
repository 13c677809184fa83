//! Broken rules as gRPC tells them.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use trawl_domain::violation::Violations;

/// INVALID_ARGUMENT with one google.rpc.BadRequest field violation a broken rule.
pub fn invalid(violations: &Violations) -> Status {
    by_field(Code::InvalidArgument, violations.to_string(), violations)
}

/// A status with one google.rpc.BadRequest field violation for each field that has something to it.
pub fn by_field(code: Code, message: impl Into<String>, violations: &Violations) -> Status {
    let fields: Vec<FieldViolation> = violations
        .iter()
        .map(|violation| FieldViolation::new(&violation.field, &violation.description))
        .collect();
    Status::with_error_details(code, message, ErrorDetails::with_bad_request(fields))
}
