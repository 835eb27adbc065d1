//! Calls that failed, in the reference's words.

use std::error::Error;

use steeple_transport::dial::DialError;
use steeple_transport::status;
use tonic::{ConnectError, Status};

/// A failed call; `socket` as it stands in the reference's own text.
pub fn describe(status: &Status, socket: &str) -> String {
    let Some(dialling) = dialling(status) else { return status::describe(status) };
    let reason = dialling.0.downcast_ref().map_or_else(|| dialling.to_string(), DialError::reason);
    let text = format!("transport: Error while dialing: dial unix {socket}: connect: {reason}");
    format!("rpc error: code = Unavailable desc = connection error: desc = {text:?}")
}

/// Whether it was the peer that made a call fail, and not that there is none.
pub fn answered(status: &Status) -> bool {
    dialling(status).is_none()
}

/// Why nobody could be reached; `None` if somebody answered.
fn dialling(status: &Status) -> Option<&ConnectError> {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(dialling) = error.downcast_ref() {
            return Some(dialling);
        }
        cause = error.source();
    }
    None
}
