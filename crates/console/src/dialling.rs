//! Calls that failed, in the reference's words.

use std::error::Error;

use steeple_transport::status;
use tonic::{ConnectError, Status};

use crate::print;

/// A failed call; `socket` as it stands in the reference's own text.
pub fn describe(status: &Status, socket: &str) -> String {
    let Some(dialling) = dialling(status) else { return status::describe(status) };
    let reason = dialling.0.downcast_ref().map_or_else(|| dialling.to_string(), print::reason);
    let text = format!("transport: Error while dialing: dial unix {socket}: connect: {reason}");
    format!("rpc error: code = Unavailable desc = connection error: desc = {text:?}")
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
