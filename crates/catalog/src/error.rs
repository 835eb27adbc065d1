//! What plugins fail with.

use std::fmt::Display;

use steeple_runtime::metrics::Coded;
use tonic::Code;

/// A plugin's error: a gRPC code and a text, since that is what an external plugin can send.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    /// Its class.
    pub code: Code,
    /// What went wrong. The host puts `type(name): ` in front.
    pub message: String,
}

impl PluginError {
    /// The caller's or the operator's mistake.
    pub fn invalid_argument(message: impl Display) -> Self {
        Self { code: Code::InvalidArgument, message: message.to_string() }
    }

    /// What was asked for is not there.
    pub fn not_found(message: impl Display) -> Self {
        Self { code: Code::NotFound, message: message.to_string() }
    }

    /// The plugin, or what it stands on, is not in a state to do it.
    pub fn failed_precondition(message: impl Display) -> Self {
        Self { code: Code::FailedPrecondition, message: message.to_string() }
    }

    /// The other side has not proven what it says.
    pub fn permission_denied(message: impl Display) -> Self {
        Self { code: Code::PermissionDenied, message: message.to_string() }
    }

    /// What the plugin needs does not answer now.
    pub fn unavailable(message: impl Display) -> Self {
        Self { code: Code::Unavailable, message: message.to_string() }
    }

    /// Something broke.
    pub fn internal(message: impl Display) -> Self {
        Self { code: Code::Internal, message: message.to_string() }
    }

    /// What the system said, and the plugin knows nothing more of.
    pub fn unknown(message: impl Display) -> Self {
        Self { code: Code::Unknown, message: message.to_string() }
    }

    /// The plugin cannot do this at all.
    pub fn unimplemented(message: impl Display) -> Self {
        Self { code: Code::Unimplemented, message: message.to_string() }
    }

    /// With `type(name): ` in front, once.
    pub(crate) fn of(self, kind: &str, name: &str) -> Self {
        let prefix = format!("{}({name}): ", kind.to_lowercase());
        if self.message.starts_with(&prefix) {
            return self;
        }
        Self { message: prefix + &self.message, ..self }
    }
}

impl Coded for PluginError {
    fn code(&self) -> &'static str {
        steeple_transport::status::code_name(self.code)
    }
}
