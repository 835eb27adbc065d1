//! What went wrong, and what to do about it.

use std::io;
use std::path::Path;

use anyhow::{Error as AnyError, anyhow};
use steeple_runtime::os;
use steeple_transport::dial::DialError;
use steeple_transport::status;
use tonic::{Code, Status};

/// Whose socket a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daemon {
    Server,
    Agent,
}

impl Daemon {
    /// What its socket is called.
    fn socket(self) -> &'static str {
        match self {
            Self::Server => "the server's administrative socket",
            Self::Agent => "the agent's socket, the Workload API",
        }
    }

    /// The flag that says where it is.
    fn flag(self) -> &'static str {
        match self {
            Self::Server => "-serverSocketPath",
            Self::Agent => "-agentSocketPath",
        }
    }
}

/// Why nobody was reached at a socket.
pub(super) fn cannot_connect(error: &io::Error, path: &Path, daemon: Daemon) -> AnyError {
    let (socket, flag, path) = (daemon.socket(), daemon.flag(), path.display());
    let advice = match error.kind() {
        io::ErrorKind::NotFound => format!("start the daemon, or say with {flag} where its socket is"),
        io::ErrorKind::ConnectionRefused => "the daemon that made it has ended: start it again".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "run this as the user that the daemon runs as, or as root; the server's socket is for its administrators \
             alone"
                .to_owned()
        }
        _ => format!("say with {flag} where it is"),
    };
    anyhow!("cannot connect to {socket}, {path}: {}\n{advice}", os::reason(error))
}

/// A call that failed, and what to do.
pub(super) fn failed(what: &str, status: &Status) -> AnyError {
    let reason = in_short(status);
    match advice(status) {
        Some(advice) => anyhow!("{what}: {reason}\n{advice}"),
        None => anyhow!("{what}: {reason}"),
    }
}

/// A status as one line.
pub(super) fn in_short(status: &Status) -> String {
    let reason = DialError::of(status).map_or_else(|| status.message().to_owned(), DialError::reason);
    format!("{}: {reason}", status::code_name(status.code()))
}

fn advice(status: &Status) -> Option<String> {
    let message = status.message();
    Some(match status.code() {
        _ if message.contains("rate limit") => RATE_LIMITS.to_owned(),
        Code::PermissionDenied if message.contains("no identity issued") => format!(
            "the agent knows no entry for this process: create one below the agent, and wait until it has heard of it:\n    \
             steeple-server entry create -parentID AGENT_ID -spiffeID spiffe://TRUST_DOMAIN/load -selector unix:uid:{}",
            nix::unistd::geteuid()
        ),
        Code::Unimplemented => "the other side does not offer this call: is it a daemon of the right kind, and does \
                                -serverSocketPath name the administrative socket of a server, -agentSocketPath the \
                                Workload API?"
            .to_owned(),
        Code::Unavailable if DialError::of(status).is_some_and(has_too_many_files) => OPEN_FILES.to_owned(),
        Code::Unavailable if DialError::of(status).is_some() => {
            "is the daemon still there, and does -serverAddress say where the server listens?".to_owned()
        }
        _ => return None,
    })
}

fn has_too_many_files(error: &DialError) -> bool {
    error.cause().raw_os_error() == Some(nix::errno::Errno::EMFILE as i32)
}

/// Said also when a run is as slow as the limits would make it, because the server then delays calls and refuses none.
pub(super) const RATE_LIMITS: &str = "\
limits may be in the way: for the server put `ratelimit { attestation = false signing = false }` into the block
`server`, for the agent leave `experimental.ratelimit` out; then start the daemon again";
const OPEN_FILES: &str = "\
this process may not open more connections: raise the limit (`ulimit -n 65536`), and that of the daemon too";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do_about_a_socket_where_nobody_is() {
        let path = Path::new("/run/api.sock");
        for (kind, daemon, parts) in [
            (io::ErrorKind::NotFound, Daemon::Server, ["administrative socket, /run/api.sock", "-serverSocketPath"]),
            (io::ErrorKind::NotFound, Daemon::Agent, ["Workload API, /run/api.sock", "-agentSocketPath"]),
            (io::ErrorKind::ConnectionRefused, Daemon::Agent, ["/run/api.sock", "start it again"]),
            (io::ErrorKind::PermissionDenied, Daemon::Server, ["/run/api.sock", "as root"]),
        ] {
            let text = cannot_connect(&kind.into(), path, daemon).to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[tokio::test]
    async fn a_call_that_reaches_nobody_is_told_with_its_reason_and_what_to_do() {
        use steeple_proto::spire::api::server::logger::v1::GetLoggerRequest;
        use steeple_proto::spire::api::server::logger::v1::logger_client::LoggerClient;
        let dir = tempfile::tempdir().unwrap();
        let channel = steeple_transport::dial::local(dir.path().join("api.sock"));
        let status = LoggerClient::new(channel).get_logger(GetLoggerRequest {}).await.unwrap_err();
        assert_eq!(in_short(&status), "Unavailable: no such file or directory");
        assert!(failed("cannot fetch", &status).to_string().contains("is the daemon still there"));
        assert!(!DialError::of(&status).is_some_and(has_too_many_files));
    }

    #[test]
    fn says_what_to_do_about_a_refusal() {
        for (status, part) in [
            (Status::permission_denied("no identity issued"), "entry create -parentID AGENT_ID"),
            (Status::unimplemented("unknown service"), "-serverSocketPath"),
            (Status::unavailable("rate limit exceeded for /SpiffeWorkloadAPI/FetchX509SVID"), "experimental.ratelimit"),
            (
                Status::resource_exhausted(
                    "rejecting request due to certificate signing rate limiting: rate (501) ...",
                ),
                "signing = false",
            ),
        ] {
            let text = failed("cannot fetch", &status).to_string();
            assert!(text.starts_with("cannot fetch: ") && text.contains(part), "{text}");
        }
        assert_eq!(failed("cannot", &Status::internal("x")).to_string(), "cannot: Internal: x");
    }
}
