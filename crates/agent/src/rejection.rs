//! What an agent does when its server does not want it any more.

use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_transport::status::denial_reason;
use tonic::Status;

/// What a server's refusal means for the agent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Its SVID is no longer good: only attestation gives another.
    MustAttest,
    /// It is banned.
    Banned,
}

/// The rejection in an answer, if it is one: only PERMISSION_DENIED with a reason is.
pub(crate) fn of(status: &Status) -> Option<Rejection> {
    match denial_reason(status)? {
        Reason::AgentBanned => Some(Rejection::Banned),
        Reason::AgentExpired | Reason::AgentNotAttested | Reason::AgentNotActive | Reason::AgentMustReattest => {
            Some(Rejection::MustAttest)
        }
        Reason::Unknown => None,
    }
}
