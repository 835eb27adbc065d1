//! The way to a server: its administrative socket.

use anyhow::{anyhow, bail};
use steeple_config::flags::FlagSet;
use steeple_console::dialling;
use steeple_transport::dial;
use tonic::Status;
use tonic::transport::Channel;

/// The flags that say where the server is.
pub(crate) struct ServerFlags {
    socket_path: String,
    instance: String,
}

impl Default for ServerFlags {
    fn default() -> Self {
        Self { socket_path: DEFAULT_SOCKET.into(), instance: String::new() }
    }
}

impl ServerFlags {
    /// Every command that asks a server has these.
    pub(crate) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self { socket_path, instance } = self;
        flags
            .flag("socketPath", socket_path, "The server's administrative socket; above SPIRE_SERVER_PRIVATE_SOCKET")
            .flag("instance", instance, "What takes the place of %i in SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE")
    }

    /// The server behind the socket; it is dialled with the first call.
    ///
    /// # Errors
    /// There is an instance, but no template to put it in.
    pub(crate) fn server(&self) -> anyhow::Result<Server> {
        let socket = self.socket(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        Ok(Server { channel: dial::local(&socket), socket })
    }

    /// A flag that repeats the default says nothing, so that the environment wins over it.
    fn socket(&self, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
        let Self { socket_path, instance } = self;
        let mut from_env = env(SOCKET);
        if !instance.is_empty() {
            let Some(template) = env(TEMPLATE) else { bail!("you must define {TEMPLATE} to use the instance flag") };
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

/// A server that can be asked.
pub(crate) struct Server {
    channel: Channel,
    socket: String,
}

impl Server {
    /// For a client stub.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A failed call in the reference's words.
    pub(crate) fn failed(&self, status: &Status) -> anyhow::Error {
        // The reference makes a URI of an absolute path, and its two slashes come back in the error.
        let slashes = if self.socket.starts_with('/') { "//" } else { "" };
        anyhow!(dialling::describe(status, &format!("{slashes}{}", self.socket)))
    }
}

const DEFAULT_SOCKET: &str = "/tmp/spire-server/private/api.sock";
const SOCKET: &str = "SPIRE_SERVER_PRIVATE_SOCKET";
const TEMPLATE: &str = "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE";

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(socket_path: &str, instance: &str, env: &[(&str, &str)]) -> Result<String, String> {
        let flags = ServerFlags { socket_path: socket_path.into(), instance: instance.into() };
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
        assert_eq!(error, "you must define SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE to use the instance flag");
        let error = socket("flag.sock", "a", &[(TEMPLATE, "x.sock")]).unwrap_err();
        assert_eq!(error, "failed to find %i in SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE");
    }
}
