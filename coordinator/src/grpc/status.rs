//! Errors as gRPC statuses: one table. What is trawl's own mistake is logged here and not told.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tracing::error;
use trawl_domain::violation::Violations;

use crate::app::AppError;
use crate::store::StoreError;

/// The status of an error.
pub(super) fn of(error: AppError) -> Status {
    match error {
        AppError::Invalid(violations) => invalid(&violations),
        AppError::NotFound(message) => Status::not_found(message),
        AppError::AlreadyExists(message) => Status::already_exists(message),
        AppError::Forbidden(message) => Status::permission_denied(message),
        AppError::FailedPrecondition(message) => Status::failed_precondition(message),
        AppError::Store(error) => of_store(&error),
        AppError::Files(error) if error.is_full() => {
            error!(error = %error, "the object store is full");
            Status::resource_exhausted("the object store is full; try again once there is space")
        }
        AppError::Files(error) => {
            error!(error = %error, "the object store does not answer");
            Status::unavailable("the object store is unavailable; try again later")
        }
        AppError::Exhausted(message) => Status::resource_exhausted(message),
        AppError::Unavailable(message) => Status::unavailable(message),
        AppError::Internal(message) => internal(&message),
    }
}

fn of_store(error: &StoreError) -> Status {
    if error.is_disk_full() {
        error!(error = %error, "the disk of Postgres is full");
        return Status::resource_exhausted("the disk of the database is full; try again once there is space");
    }
    if error.is_unavailable() {
        error!(error = %error, "Postgres is unavailable");
        return Status::unavailable("the database is unavailable; try again later");
    }
    internal(&error.to_string())
}

fn internal(message: &str) -> Status {
    error!(error = message, "a request failed by a mistake of trawl");
    Status::internal("internal error; the coordinator's log says more")
}

/// INVALID_ARGUMENT with one google.rpc.BadRequest field violation a broken rule.
pub(super) fn invalid(violations: &Violations) -> Status {
    let fields: Vec<FieldViolation> = violations
        .iter()
        .map(|violation| FieldViolation::new(&violation.field, &violation.description))
        .collect();
    Status::with_error_details(
        Code::InvalidArgument,
        violations.to_string(),
        ErrorDetails::with_bad_request(fields),
    )
}

/// INVALID_ARGUMENT for one field.
pub(super) fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    let mut violations = Violations::new();
    violations.add(field, description);
    invalid(&violations)
}
