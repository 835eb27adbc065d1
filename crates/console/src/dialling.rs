//! Calls that failed, in the reference's words.

use steeple_transport::dial::DialError;
use steeple_transport::status;
use tonic::Status;

/// A failed call; `socket` as it stands in the reference's own text.
pub fn describe(status: &Status, socket: &str) -> String {
    let Some(reason) = DialError::of(status).map(DialError::reason) else { return status::describe(status) };
    let text = format!("transport: Error while dialing: dial unix {socket}: connect: {reason}");
    format!("rpc error: code = Unavailable desc = connection error: desc = {text:?}")
}

/// Whether it was the peer that made a call fail, and not that there is none.
pub fn answered(status: &Status) -> bool {
    DialError::of(status).is_none()
}
