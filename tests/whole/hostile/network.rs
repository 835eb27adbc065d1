//! What one peer of the server's TCP port can use up: its own share, while others are served.
//!
//! | Bound | Where it is kept |
//! |---|---|
//! | handshakes at a time and their length, connections | `crates/transport/src/listen/entrance.rs` |
//! | calls at a time, bytes of messages | `crates/transport/src/rpc/bounds.rs` |
//! | streams and headers of a connection, its age | `crates/server/src/endpoints.rs` |

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use steeple_runtime::os::raise_open_files;
use steeple_tests::{AgentByHand, Domain, Port, case, say, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::{Ending, Wire, grpc, prefix};
use super::{MIB, agent, call, memory};

const ENTRIES: &str = "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries";
const BUNDLE: &str = "/spire.api.server.bundle.v1.Bundle/GetBundle";
const ATTEST: &str = "/spire.api.server.agent.v1.Agent/AttestAgent";
/// Another host than the one that everybody else is on.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A server with an agent that must be served whatever others do.
struct Scene {
    domain: Domain,
    port: Port,
    agent: AgentByHand,
}

impl Scene {
    async fn set(domain: Domain) -> Result<Self> {
        raise_open_files();
        let port = Port::of(&domain).await?;
        let agent = AgentByHand::attest(&domain, &port).await?;
        Ok(Self { domain, port, agent })
    }

    fn pid(&mut self) -> Result<Pid> {
        Ok(self.domain.server.process()?.pid())
    }

    /// The agent is answered, also on a connection that it opens now.
    async fn serves(&self) -> Result<()> {
        within("an answer", call(&self.agent.channel, ENTRIES, &[])).await???;
        let channel = self.port.channel(Some(self.agent.credential.clone()))?;
        Ok(within("an answer on a new connection", call(&channel, ENTRIES, &[])).await???)
    }
}

#[test]
fn connections_that_never_say_hello_cost_their_own_host_its_share() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        // Of 1024 handshakes at a time one host may have three quarters.
        let mut silent = Vec::new();
        for _ in 0..1000 {
            silent.push(scene.port.dial(ELSEWHERE).await?);
        }
        scene.serves().await?;
        let surplus = until("the surplus to be closed", async || {
            let closed = silent.iter().filter(|stream| is_closed(stream)).count();
            (closed >= 1000 - 768).then_some(closed)
        });
        say(&format!("hostile: {} of 1000 silent connections closed at once", surplus.await?));
        // One byte after the other is no hello either.
        let mut slow = scene.port.dial(Ipv4Addr::LOCALHOST).await?;
        slow.write_all(&[0x16, 0x03]).await?;
        scene.serves().await
    })
}

#[test]
fn one_host_cannot_take_all_connections() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        domain.server.starter = ["prlimit", "--nofile=256:256"].map(str::to_owned).into();
        domain.server.start().await?;
        let mut scene = Scene::set(domain).await?;
        // Of 224 connections one host may have three quarters.
        let (mut open, mut refused) = (Vec::new(), 0);
        for _ in 0..220 {
            match scene.port.connect(ELSEWHERE, None).await {
                Ok(connection) => open.push(connection),
                Err(_) => refused += 1,
            }
        }
        ensure!(refused > 0 && (100..=168).contains(&open.len()), "{} open, {refused} refused", open.len());
        scene.serves().await?;
        let log = scene.domain.server.process()?.log()?;
        ensure!(log.contains("A peer has too many connections"), "the operator is not told");
        // What is closed can be opened again.
        drop(open);
        let again = async || scene.port.connect(ELSEWHERE, None).await.ok();
        until("a connection of that host", again).await?;
        say(&format!("hostile: {refused} of 220 connections of one host refused"));
        Ok(())
    })
}

#[test]
fn pieces_of_messages_fill_the_senders_account_and_not_the_memory() -> Result<()> {
    case(async |scratch| {
        let mut scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let pid = scene.pid()?;
        let before = memory(pid)?;
        let mut wire = Wire::open(scene.port.connect(ELSEWHERE, None).await?, 65_535).await?;
        // Each call may send 4 MiB, and sends most of it.
        let piece = [&prefix(4 << 20)[..], &vec![0; 3 << 20]].concat();
        let mut refused = 0;
        for _ in 0..60 {
            let stream = wire.call(&grpc(BUNDLE, &[])).await?;
            wire.body(stream, &piece).await?;
            refused = wire.ended.len();
        }
        ensure!(refused > 20, "{refused} of 60 were refused");
        let grown = memory(pid)?.saturating_sub(before);
        ensure!(grown < 160 * MIB, "{} MiB more", grown / MIB);
        scene.serves().await?;
        say(&format!("hostile: {refused} of 60 pieces of 3 MiB refused, {} MiB more", grown / MIB));
        Ok(())
    })
}

#[test]
fn answers_that_an_agent_does_not_take_fill_its_account_and_not_the_memory() -> Result<()> {
    case(async |scratch| {
        let mut scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let pid = scene.pid()?;
        let intruder = AgentByHand::attest(&scene.domain, &scene.port).await?;
        // An answer has 600 KiB.
        agent::create(&scene.domain, &intruder, 1000).await?;
        let before = memory(pid)?;
        let connection = scene.port.connect(ELSEWHERE, Some(intruder.credential.clone())).await?;
        // A window of one byte: enough for the server to begin.
        let mut wire = Wire::open(connection, 1).await?;
        for _ in 0..300 {
            wire.ask(&grpc(ENTRIES, &[])).await?;
        }
        // Each of them is begun, or refused.
        while wire.ended.len() + wire.answered.len() < 300 {
            within("an answer", wire.read()).await??.context("the server is gone")?;
        }
        ensure!(wire.ended.len() > 100, "{} were refused", wire.ended.len());
        let grown = memory(pid)?.saturating_sub(before);
        ensure!(grown < 200 * MIB, "{} MiB more", grown / MIB);
        scene.serves().await?;
        say(&format!("hostile: {} of 300 answers refused, {} MiB more", wire.ended.len(), grown / MIB));
        Ok(())
    })
}

#[test]
fn a_host_has_so_many_calls_at_a_time_and_a_connection_so_many_streams() -> Result<()> {
    case(async |scratch| {
        let mut scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let pid = scene.pid()?;
        let before = memory(pid)?;
        let mut wires = Vec::new();
        for _ in 0..3 {
            let mut wire = Wire::open(scene.port.connect(ELSEWHERE, None).await?, 65_535).await?;
            for _ in 0..900 {
                wire.call(&grpc(ATTEST, &[])).await?;
            }
            // So far are those before it let in, or refused.
            let after = wire.ask(&grpc(BUNDLE, &[])).await?;
            wire.ending(after).await?;
            wires.push(wire);
        }
        // Two thousand wait for the first message of their caller; the others are over.
        let last = wires.last_mut().context("no connection")?;
        while last.ended.len() < 700 {
            within("the surplus to be refused", last.read()).await??.context("the server is gone")?;
        }
        ensure!(last.ended.values().all(|ending| *ending == Ending::Answered), "they are told why");
        scene.serves().await?;

        let first = &mut wires[0];
        for _ in 0..200 {
            first.call(&grpc(ATTEST, &[])).await?;
        }
        let surplus = first.ask(&grpc(BUNDLE, &[])).await?;
        ensure!(first.ending(surplus).await? == (Ending::Reset, 0), "a stream too many is served");
        let grown = memory(pid)?.saturating_sub(before);
        ensure!(grown < 100 * MIB, "{} MiB more", grown / MIB);
        scene.serves().await?;
        say(&format!("hostile: 700 of 2700 calls refused, {} MiB more", grown / MIB));
        Ok(())
    })
}

#[test]
fn a_message_and_headers_over_their_bounds_are_refused() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        let connection = scene.port.connect(ELSEWHERE, Some(scene.agent.credential.clone())).await?;
        let mut wire = Wire::open(connection, 65_535).await?;
        // Refused when it says how long it will be: nothing of it need come.
        let stream = wire.call(&grpc(ENTRIES, &[])).await?;
        wire.body(stream, &prefix((4 << 20) + 1)).await?;
        assert_eq!(wire.ending(stream).await?, (Ending::Answered, 0));
        // As many headers as it may have are read, and more are not.
        let value = "v".repeat(8000);
        let headers = |count| grpc(ENTRIES, &vec![("x", &*value); count]);
        let stream = wire.ask(&headers(7)).await?;
        let (ending, answered) = wire.ending(stream).await?;
        ensure!(ending == Ending::Answered && answered > 0, "64 KiB of headers are refused");
        let stream = wire.call(&headers(9)).await?;
        let (_, answered) = wire.ending(stream).await?;
        ensure!(answered == 0, "more than 64 KiB of headers are read");
        // One that never ends its headers is cut off, and not kept in memory.
        let endless = headers(2000);
        let cut = async {
            while wire.call(&endless).await.is_ok() && wire.read().await.is_ok_and(|frame| frame.is_some()) {}
        };
        within("the end of the connection", cut).await?;
        scene.serves().await
    })
}

#[test]
fn nothing_but_grpc_is_answered_and_no_other_form_of_a_path_is_let_through() -> Result<()> {
    case(async |scratch| {
        let scene = Scene::set(Domain::builder().start(scratch).await?).await?;
        const LIST: &str = "/spire.api.server.entry.v1.Entry/ListEntries";
        let forms = [
            LIST.to_owned(),
            format!("/{LIST}"),
            format!("{LIST}/"),
            format!("{LIST}?a=b"),
            format!("{LIST}#GetBundle"),
            LIST.replace("ListEntries", "%4cistEntries"),
            LIST.replace("Entry/L", "Entry%2fL"),
            LIST.replace("spire.api", "SPIRE.api"),
            format!("{BUNDLE}/..{LIST}"),
            format!("/.{LIST}"),
            format!("https://localhost{LIST}"),
        ];
        let credential = Some(scene.agent.credential.clone());
        for method in ["POST", "GET", "OPTIONS", "CONNECT"] {
            for content in ["application/grpc", "application/grpc-web+proto", "application/json", "text/html"] {
                let mut wire = Wire::open(scene.port.connect(ELSEWHERE, credential.clone()).await?, 65_535).await?;
                for path in &forms {
                    let headers = [
                        (":method", method),
                        (":scheme", "https"),
                        (":path", path),
                        (":authority", "localhost"),
                        ("content-type", content),
                        ("x-http-method-override", "POST"),
                    ];
                    let asked = async {
                        let stream = wire.ask(&headers).await?;
                        wire.ending(stream).await
                    };
                    // The connection may end with it, too.
                    if let Ok((_, answered)) = asked.await {
                        ensure!(answered == 0, "{method} {path} ({content}) is answered");
                    }
                }
            }
        }
        for plain in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "\r\n\r\n", "PRI * HTTP/1.0\r\n\r\n"] {
            let mut connection = scene.port.connect(ELSEWHERE, None).await?;
            connection.write_all(plain.as_bytes()).await?;
            connection.write_all(&[b'\n'; 64]).await?;
            let mut answer = Vec::new();
            let _ = within("the end", connection.read_to_end(&mut answer)).await?;
            ensure!(!answer.windows(4).any(|word| word == b"HTTP"), "{plain:?} is answered");
        }
        scene.serves().await
    })
}

/// Whether the peer has closed it, or has something to say.
fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0];
    !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
