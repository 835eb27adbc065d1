//! gRPC statuses as the reference builds them: one rule for texts, one for details.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use prost::Message;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_proto::spire::api::types::{self, PermissionDeniedDetails};
use tonic::{Code, Status};

use crate::dial::in_full;

/// The status of one item of a batch, if the server refused the item.
pub fn refused(status: Option<&types::Status>) -> Option<&types::Status> {
    status.filter(|status| status.code != Code::Ok as i32)
}

/// `google.rpc.Status`, the envelope of details on the wire.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

const DETAILS_TYPE: &str = "type.googleapis.com/spire.api.types.PermissionDeniedDetails";
const RETRY_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A status whose text is `message: inner`. NotFound drops the inner text, as clients of the reference see it.
pub fn with_cause(code: Code, message: &str, inner: impl Display) -> Status {
    match code {
        Code::NotFound => Status::not_found(message),
        code => Status::new(code, format!("{message}: {inner}")),
    }
}

/// PERMISSION_DENIED with a reason that agents act on.
pub fn permission_denied(message: &str, reason: Reason) -> Status {
    let details = PermissionDeniedDetails { reason: reason.into() };
    let envelope = Envelope {
        code: Code::PermissionDenied as i32,
        message: message.to_owned(),
        details: vec![prost_types::Any { type_url: DETAILS_TYPE.to_owned(), value: details.encode_to_vec() }],
    };
    Status::with_details(Code::PermissionDenied, message, envelope.encode_to_vec().into())
}

/// UNAVAILABLE, and after which time it is worth asking again.
pub fn unavailable(message: &str, retry_delay: Duration) -> Status {
    come_again(Code::Unavailable, message, retry_delay)
}

/// RESOURCE_EXHAUSTED, and after which time it is worth asking again.
pub fn exhausted(message: &str, retry_delay: Duration) -> Status {
    come_again(Code::ResourceExhausted, message, retry_delay)
}

fn come_again(code: Code, message: &str, retry_delay: Duration) -> Status {
    let info = RetryInfo { retry_delay: prost_types::Duration::try_from(retry_delay).ok() };
    let envelope = Envelope {
        code: code as i32,
        message: message.to_owned(),
        details: vec![prost_types::Any { type_url: RETRY_TYPE.to_owned(), value: info.encode_to_vec() }],
    };
    Status::with_details(code, message, envelope.encode_to_vec().into())
}

/// After which time it is worth asking again, if the status says so.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    let envelope = Envelope::decode(status.details()).ok()?;
    let info = envelope.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?.try_into().ok()
}

/// The reason in a PERMISSION_DENIED, if it carries one.
pub fn denial_reason(status: &Status) -> Option<Reason> {
    if status.code() != Code::PermissionDenied {
        return None;
    }
    let envelope = Envelope::decode(status.details()).ok()?;
    let details =
        envelope.details.iter().find(|any| any.type_url.ends_with("spire.api.types.PermissionDeniedDetails"))?;
    PermissionDeniedDetails::decode(details.value.as_slice()).ok().map(|details| details.reason())
}

/// The name of a code as Go prints it (`NotFound`), which is the value of the label `status`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        // The reference's spelling has one l.
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// A status as the reference's commands print it.
///
/// Of a connection that broke, tonic says no more than "transport error" and that the code is unknown; its causes say why.
pub fn describe(status: &Status) -> String {
    match status.source() {
        Some(cause) if status.code() == Code::Unknown => {
            format!("rpc error: code = Unavailable desc = connection error: desc = {:?}", in_full(cause))
        }
        _ => format!("rpc error: code = {} desc = {}", code_name(status.code()), status.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_wire() {
        let status = permission_denied("no", Reason::AgentBanned);
        assert_eq!(denial_reason(&status), Some(Reason::AgentBanned));
        assert_eq!(denial_reason(&Status::permission_denied("no")), None);
    }

    #[test]
    fn a_retry_delay_survives_the_wire() {
        let status = unavailable("away", Duration::from_millis(1500));
        assert_eq!((status.code(), retry_delay(&status)), (Code::Unavailable, Some(Duration::from_millis(1500))));
        assert_eq!(retry_delay(&Status::unavailable("away")), None);
        assert_eq!(retry_delay(&permission_denied("no", Reason::AgentBanned)), None);
    }

    #[test]
    fn not_found_does_not_tell_its_cause() {
        assert_eq!(with_cause(Code::NotFound, "agent not found", "row 7").message(), "agent not found");
        assert_eq!(with_cause(Code::Internal, "failed", "row 7").message(), "failed: row 7");
    }
}
