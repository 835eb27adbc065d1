//! Two servers behind one name.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::{Agent, Server};

/// What both are called.
pub const NAME: &str = "servers.test";
/// Where the first server listens, and where the other one does.
pub const ADDRESSES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

/// Has a server listen at the second address of the name, at the port that another one has at the first, from its next
/// start on.
///
/// # Errors
/// Its configuration cannot be changed.
pub fn move_beside(server: &mut Server, first: &Server) -> Result<()> {
    let (bind, port) = (|ip: &str| format!("bind_address = \"{ip}\""), |port: u16| format!("bind_port = {port}"));
    let (from, to) = (port(server.port), port(first.port));
    let [here, there] = ADDRESSES.map(bind);
    server.reconfigure(|conf| conf.replace(&here, &there).replace(&from, &to))?;
    server.port = first.port;
    Ok(())
}

/// Has an agent find both servers by their name, and nobody else by any, from its next start on. It sees its callers' users
/// as they are. Needs what [`SmallDisk`](crate::SmallDisk) needs.
///
/// # Errors
/// Its configuration cannot be changed, or the file of names cannot be written.
pub fn find_by_name(agent: &mut Agent) -> Result<()> {
    let address = |name: &str| format!("server_address = \"{name}\"");
    agent.reconfigure(|conf| conf.replace(&address(ADDRESSES[0]), &address(NAME)))?;
    agent.starter = with_name(&agent.conf.with_extension("hosts"))?;
    Ok(())
}

/// What stands before the arguments of a program that is to know the name, by this file, which is written, and no other one.
///
/// # Errors
/// The file cannot be written.
pub fn with_name(hosts: &Path) -> Result<Vec<String>> {
    const BIND: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    fs::write(hosts, ADDRESSES.map(|address| format!("{address} {NAME}\n")).concat())?;
    let hosts = hosts.to_string_lossy();
    let starter = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", BIND, &hosts];
    Ok(starter.map(str::to_owned).to_vec())
}
