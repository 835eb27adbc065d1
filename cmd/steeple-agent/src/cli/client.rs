//! The way to an agent: its public socket.

use std::time::Duration;

use anyhow::anyhow;
use steeple_config::duration::Duration as GoDuration;
use steeple_config::flags::{FlagSet, FlagValue};
use steeple_console::dialling;
use steeple_console::socket::{self, Socket};
use steeple_spiffe::workload_api::WorkloadApiClient;
use steeple_transport::dial;
use tonic::Status;
use tonic::transport::Channel;

/// The flags that say where the agent is.
pub(crate) struct AgentFlags {
    socket_path: String,
    instance: String,
}

impl Default for AgentFlags {
    fn default() -> Self {
        Self { socket_path: SOCKET.default.into(), instance: String::new() }
    }
}

impl AgentFlags {
    /// Every command that asks an agent has these.
    pub(crate) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self { socket_path, instance } = self;
        flags.flag("socketPath", socket_path, "The agent's public socket; above SPIRE_AGENT_PUBLIC_SOCKET").flag(
            "instance",
            instance,
            "What takes the place of %i in SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE",
        )
    }

    /// The agent behind the socket; it is dialled with the first call.
    ///
    /// # Errors
    /// There is an instance, but no template to put it in.
    pub(crate) fn agent(&self) -> anyhow::Result<Agent> {
        let socket = SOCKET.path(&self.socket_path, &self.instance, socket::variable)?;
        let socket = std::path::absolute(socket)?;
        Ok(Agent { channel: dial::local(&socket), socket: socket.display().to_string() })
    }
}

/// The flag that says where the agent's administrative socket is. No variable of the environment names it.
pub(crate) struct AdminFlags {
    socket_path: String,
}

impl Default for AdminFlags {
    fn default() -> Self {
        Self { socket_path: "/tmp/spire-agent/private/admin.sock".into() }
    }
}

impl AdminFlags {
    /// Every command for administrators has it.
    pub(crate) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        flags.flag("socketPath", &mut self.socket_path, "The agent's administrative socket (`admin_socket_path`)")
    }

    /// The agent behind the socket; it is dialled with the first call.
    pub(crate) fn agent(self) -> Agent {
        // The reference makes a URI of an absolute path, and its two slashes come back in errors.
        let slashes = if self.socket_path.starts_with('/') { "//" } else { "" };
        let socket = format!("{slashes}{}", self.socket_path);
        Agent { channel: dial::local(&self.socket_path), socket }
    }
}

/// An agent that can be asked.
pub(crate) struct Agent {
    channel: Channel,
    /// As errors name it.
    socket: String,
}

impl Agent {
    /// For a client stub.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A client of the Workload API.
    pub(crate) fn workload(&self) -> WorkloadApiClient {
        WorkloadApiClient::with_channel(self.channel())
    }

    /// A failed call in the reference's words.
    pub(crate) fn failed(&self, status: &Status) -> anyhow::Error {
        anyhow!(dialling::describe(status, &self.socket))
    }
}

/// `-timeout`: how long a call may take; as long as it wants if this is 0 or less.
pub(crate) struct Timeout(GoDuration);

impl Default for Timeout {
    fn default() -> Self {
        Self(GoDuration::from_secs(5))
    }
}

impl Timeout {
    pub(crate) const HELP: &'static str = "How long a call may take; 0: as long as it wants";

    /// The outcome of a call, or DEADLINE_EXCEEDED.
    pub(crate) async fn limit<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match self.0.to_std() {
            None | Some(Duration::ZERO) => call.await,
            Some(limit) => tokio::time::timeout(limit, call)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded"))),
        }
    }
}

impl FlagValue for Timeout {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0 = text.parse().map_err(|error: steeple_config::Error| error.to_string())?;
        Ok(())
    }

    fn type_name(&self) -> &'static str {
        "duration"
    }

    fn default_text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

const SOCKET: Socket = Socket {
    default: "/tmp/spire-agent/public/api.sock",
    variable: "SPIRE_AGENT_PUBLIC_SOCKET",
    template: "SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE",
    // The space is the reference's.
    no_template: " SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE environment variable must be defined when using the instance flag",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_ends_with_its_time_and_without_a_limit_by_itself() {
        let never = Timeout(GoDuration::from_nanos(1)).limit(std::future::pending::<Result<(), _>>()).await;
        assert_eq!(never.unwrap_err().message(), "context deadline exceeded");
        for unlimited in [0, -1] {
            Timeout(GoDuration::from_secs(unlimited)).limit(async { Ok(()) }).await.unwrap();
        }
    }
}
