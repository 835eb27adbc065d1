//! Ports and sockets that somebody else has.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, ensure};
use steeple_tests::{Binaries, Domain, case, free_port, skipped_on_the_reference};

use super::ends_with;

#[test]
fn names_the_tcp_port_that_is_in_use() -> Result<()> {
    case(async |scratch| {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?))?;
        let address = holder.local_addr()?.to_string();
        let mut domain = Domain::builder().write(scratch)?;
        domain.server.launch(&["-serverPort", &holder.local_addr()?.port().to_string()])?;
        ends_with(domain.server.process()?, &["Server crashed", &address, "address already in use"]).await?;
        // The reference finds out when it has its database and keys already.
        ensure!(!domain.server.data_dir.exists() || domain.server.program.is_reference, "something is written");
        ensure!(!domain.server.socket.exists(), "there is a socket");
        // It was the port alone.
        domain.server.start().await
    })
}

#[test]
fn leaves_a_socket_to_the_process_that_listens_on_it() -> Result<()> {
    let binaries = Binaries::find()?;
    if binaries.server.is_reference || binaries.agent.is_reference {
        skipped_on_the_reference("a socket in use", "it takes the socket away from the other process");
        return Ok(());
    }
    case(async |scratch| {
        let first = Domain::builder().start(scratch).await?;
        let mut second = Domain::builder().write(scratch)?;
        let socket = first.server.socket.to_string_lossy().into_owned();
        second.server.launch(&["-socketPath", &socket])?;
        ends_with(second.server.process()?, &[&socket, "in use"]).await?;
        first.server.command(&["healthcheck"]).await?.ok()?;

        let agent = first.agent("node1").await?;
        let mut other = first.new_agent("node2").await?;
        let socket = agent.socket.to_string_lossy().into_owned();
        let token = first.server.token(&[]).await?;
        other.launch(&["-joinToken", &token, "-socketPath", &socket])?;
        ends_with(other.process()?, &[&socket, "in use"]).await?;
        agent.command(&["healthcheck"]).await?.ok()?;
        Ok(())
    })
}

#[test]
fn takes_over_a_socket_that_a_killed_process_left() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.server.kill();
        agent.kill();
        assert!(domain.server.socket.exists() && agent.socket.exists());
        domain.server.start().await?;
        agent.start().await
    })
}
