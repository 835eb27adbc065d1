//! The way to a server: its administrative socket.

use anyhow::anyhow;
use steeple_config::flags::FlagSet;
use steeple_console::dialling;
use steeple_console::socket::{self, Socket};
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
        Self { socket_path: SOCKET.default.into(), instance: String::new() }
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
        let socket = SOCKET.path(&self.socket_path, &self.instance, socket::variable)?;
        Ok(Server { channel: dial::local(&socket), socket })
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

const SOCKET: Socket = Socket {
    default: "/tmp/spire-server/private/api.sock",
    variable: "SPIRE_SERVER_PRIVATE_SOCKET",
    template: "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE",
    no_template: "you must define SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE to use the instance flag",
};
