//! One place where the server's errors become gRPC statuses.

use std::any::Any;
use std::fmt::Display;

use steeple_proto::spire::api::types;
use steeple_runtime::metrics::Coded;
use steeple_transport::status::{denial_reason, with_cause};
use tonic::{Code, Status};
use tracing::error;

use crate::ca::CaError;
use crate::freshness::come_again;

/// A refusal of what the caller sent: `message: inner`.
pub(super) fn invalid(message: &str, inner: impl Display) -> Status {
    with_inner(Code::InvalidArgument, message, inner)
}

/// A refusal of what the caller sent, without a cause.
pub(super) fn invalid_argument(message: &str) -> Status {
    log(Status::invalid_argument(message))
}

/// What was named is not there.
pub(super) fn not_found(message: &str) -> Status {
    log(Status::not_found(message))
}

/// Something broke here: `message: inner`. A datastore that is away is no such thing, unlike in the reference: the caller
/// is told when to come again.
pub(super) fn internal(message: &str, inner: impl Display + Any) -> Status {
    let any = &inner as &dyn Any;
    let is_away = any.downcast_ref().is_some_and(steeple_datastore::Error::is_away)
        || any.downcast_ref().is_some_and(CaError::is_away);
    with_inner(if is_away { Code::Unavailable } else { Code::Internal }, message, inner)
}

fn with_inner(code: Code, message: &str, inner: impl Display) -> Status {
    error!(target: "api", error = %inner, "{}", line(code, message));
    match code {
        Code::Unavailable => come_again(&format!("{message}: {inner}")),
        code => with_cause(code, message, inner),
    }
}

/// With the code of the datastore's error; what it has no code for is INTERNAL. That something is not there needs no
/// cause.
pub(super) fn datastore(message: &str, error: &steeple_datastore::Error) -> Status {
    let code = match error.code() {
        "NotFound" => return not_found(message),
        "AlreadyExists" => Code::AlreadyExists,
        "InvalidArgument" => Code::InvalidArgument,
        "FailedPrecondition" => Code::FailedPrecondition,
        "Unavailable" => Code::Unavailable,
        _ => Code::Internal,
    };
    // In the reference these errors are statuses of their own.
    error!(target: "api", error = format!("rpc error: code = {} desc = {error}", error.code()), "{}", line(code, message));
    match code {
        Code::Unavailable => come_again(&format!("{message}: {error}")),
        code => with_cause(code, message, error),
    }
}

/// A status that is logged as it is.
pub(super) fn log(status: Status) -> Status {
    let reason = denial_reason(&status).map(|reason| reason.as_str_name());
    error!(target: "api", reason, "{}", line(status.code(), status.message()));
    status
}

/// A message as the log has it: a mistake of the caller's is marked as one, others begin with a capital letter.
fn line(code: Code, message: &str) -> String {
    if code == Code::InvalidArgument {
        return format!("Invalid argument: {message}");
    }
    capitalized(message)
}

/// A message that begins with a capital letter.
pub(crate) fn capitalized(message: &str) -> String {
    let mut rest = message.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// The status of one item of a batch.
pub(super) fn item(result: &Result<(), Status>) -> types::Status {
    match result {
        Ok(()) => types::Status { code: 0, message: "OK".to_owned() },
        Err(status) => types::Status { code: status.code() as i32, message: status.message().to_owned() },
    }
}

/// The status of one item of a batch, and what came of it.
pub(super) fn item_of<T>(result: Result<T, Status>) -> (types::Status, Option<T>) {
    match result {
        Ok(value) => (item(&Ok(())), Some(value)),
        Err(status) => (item(&Err(status)), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_marks_mistakes_of_the_caller_and_begins_others_with_a_capital() {
        assert_eq!(line(Code::InvalidArgument, "missing ID"), "Invalid argument: missing ID");
        assert_eq!(line(Code::NotFound, "entry not found"), "Entry not found");
        assert_eq!(line(Code::Internal, ""), "");
    }
}
