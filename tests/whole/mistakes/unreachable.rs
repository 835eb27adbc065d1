//! Servers that an agent cannot reach.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, ensure};
use steeple_tests::{Domain, case, free_port, skipped_on_the_reference};

#[test]
fn an_agent_that_cannot_connect_says_where_and_why() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let nobody = free_port()?;
        let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let plain_port = plain.local_addr()?.port();
        // Ends with this process.
        std::thread::spawn(move || {
            for stream in plain.incoming().flatten() {
                let _ = (&stream).write_all(b"220 mail.example.org ready\r\n");
            }
        });
        let cases = [
            ("127.0.0.1", nobody, "connection refused"),
            ("nobody.invalid", 8081, "lookup"),
            ("127.0.0.1", plain_port, "no TLS is spoken there"),
        ];
        for (i, (host, port, why)) in cases.into_iter().enumerate() {
            let mut agent = domain.new_agent(&format!("node{i}")).await?;
            if i > 0 && agent.program.is_reference {
                skipped_on_the_reference("where an agent cannot connect", "its text tells why, but not where");
                continue;
            }
            agent.launch(&["-joinToken", "a", "-serverAddress", host, "-serverPort", &port.to_string()])?;
            let line = agent.process()?.line("Failed to retrieve attestation result").await?;
            let place = format!("{host}:{port}");
            ensure!(line.contains(&place) && line.contains(why), "no {place} or no {why:?} in {line}");
            ensure!(!line.contains("os error"), "{line}");
        }
        Ok(())
    })
}
