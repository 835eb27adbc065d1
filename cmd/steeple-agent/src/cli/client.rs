//! The way to an agent: its public socket.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail};
use steeple_config::duration::Duration as GoDuration;
use steeple_config::flags::{FlagSet, FlagValue};
use steeple_console::dialling;
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
        Self { socket_path: DEFAULT_SOCKET.into(), instance: String::new() }
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
        let socket = self.socket(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        let socket = std::path::absolute(socket)?;
        Ok(Agent { channel: dial::local(&socket), socket })
    }

    /// A flag that repeats the default says nothing, so that the environment wins over it.
    fn socket(&self, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
        let Self { socket_path, instance } = self;
        let mut from_env = env(SOCKET);
        if !instance.is_empty() {
            let Some(template) = env(TEMPLATE) else {
                // The space is the reference's.
                bail!(" {TEMPLATE} environment variable must be defined when using the instance flag");
            };
            if !template.contains("%i") {
                bail!("failed to find %i in {TEMPLATE}");
            }
            from_env = Some(template.replace("%i", instance));
        }
        match from_env {
            Some(socket) if socket_path == DEFAULT_SOCKET => Ok(socket),
            _ => Ok(socket_path.clone()),
        }
    }
}

/// An agent that can be asked.
pub(crate) struct Agent {
    channel: Channel,
    socket: PathBuf,
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
        anyhow!(dialling::describe(status, &self.socket.display().to_string()))
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

const DEFAULT_SOCKET: &str = "/tmp/spire-agent/public/api.sock";
const SOCKET: &str = "SPIRE_AGENT_PUBLIC_SOCKET";
const TEMPLATE: &str = "SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE";

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(socket_path: &str, instance: &str, env: &[(&str, &str)]) -> Result<String, String> {
        let flags = AgentFlags { socket_path: socket_path.into(), instance: instance.into() };
        let lookup = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        flags.socket(lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_wins_over_an_instance_over_the_environment_over_the_default() {
        let env = [(SOCKET, "env.sock"), (TEMPLATE, "x-%i-%i.sock")];
        assert_eq!(socket("flag.sock", "a", &env).unwrap(), "flag.sock");
        assert_eq!(socket(DEFAULT_SOCKET, "a", &env).unwrap(), "x-a-a.sock");
        assert_eq!(socket(DEFAULT_SOCKET, "", &env).unwrap(), "env.sock");
        assert_eq!(socket(DEFAULT_SOCKET, "", &[]).unwrap(), DEFAULT_SOCKET);
    }

    #[test]
    fn an_instance_without_a_template_is_refused_even_beside_a_path() {
        let error = socket("flag.sock", "a", &[]).unwrap_err();
        assert!(
            error.starts_with(" SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE environment variable must be defined"),
            "{error}"
        );
        let error = socket("flag.sock", "a", &[(TEMPLATE, "x.sock")]).unwrap_err();
        assert_eq!(error, "failed to find %i in SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE");
    }

    #[tokio::test]
    async fn a_call_ends_with_its_time_and_without_a_limit_by_itself() {
        let never = Timeout(GoDuration::from_nanos(1)).limit(std::future::pending::<Result<(), _>>()).await;
        assert_eq!(never.unwrap_err().message(), "context deadline exceeded");
        for unlimited in [0, -1] {
            Timeout(GoDuration::from_secs(unlimited)).limit(async { Ok(()) }).await.unwrap();
        }
    }
}
