//! Maps errors to gRPC statuses in one table. Internal errors are logged here; callers do not see their text.

use axum::http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};
use tracing::error;
use trawl_domain::violation::Violations;
use trawl_proto::by_field;
pub(super) use trawl_proto::invalid;

use crate::app::AppError;
use crate::store::StoreError;

/// The message for an internal error.
const MISTAKE: &str = "internal error; the coordinator's log says more";

/// The status of an error.
pub(super) fn of(error: AppError) -> Status {
    match error {
        AppError::Invalid(violations) => invalid(&violations),
        AppError::NotFound(message) => Status::not_found(message),
        error @ AppError::LeaseLost(_) => Status::not_found(error.to_string()),
        AppError::AlreadyExists(message) => Status::already_exists(message),
        AppError::OtherStudy { ref differences, .. } => by_field(Code::AlreadyExists, error.to_string(), differences),
        AppError::Forbidden(message) => Status::permission_denied(message),
        AppError::FailedPrecondition(message) => Status::failed_precondition(message),
        AppError::Store(error) => of_store(&error),
        AppError::Files(error) if error.is_full() => {
            error!(error = error.reason(), "the object store is full");
            Status::resource_exhausted("the object store is full; try again once there is space")
        }
        AppError::Files(error) => {
            error!(error = error.reason(), "the object store does not answer");
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
    error!(error = %message, "a request failed by a mistake of trawl");
    Status::internal(MISTAKE)
}

/// Corrects a call's status in its headers or trailers. The libraries below report malformed protobuf, and calls that
/// are not gRPC, as INTERNAL, which here means an internal error and raises an alarm: these are errors of the client.
pub(super) fn blame(ended: &mut HeaderMap) {
    let is_theirs = |status: &Status| status.code() == Code::Internal && status.message() != MISTAKE;
    if Status::from_header_map(ended).is_some_and(|status| is_theirs(&status)) {
        ended.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(Code::InvalidArgument)));
    }
}

/// INVALID_ARGUMENT for one field.
pub(super) fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    let mut violations = Violations::new();
    violations.add(field, description);
    invalid(&violations)
}
