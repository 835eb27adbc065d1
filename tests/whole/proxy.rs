//! Agents that reach their server through an HTTP proxy, as their environment says.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use steeple_tests::{Agent, Domain, case, say};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// This host under an address that is not of the loopback network, whose servers are reached directly whatever the
/// environment says.
const HERE: &str = "0.0.0.0";
/// What the agents of a case have as their server's address.
const LOOPBACK: &str = "127.0.0.1";
/// Resolved by the proxy alone.
const NAME: &str = "server.test";

#[test]
fn an_agent_reaches_its_server_through_the_proxy_of_its_environment_unless_the_server_is_excepted() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let proxy = Proxy::start(domain.server.port).await?;
        for (name, host, excepted, through) in [
            ("named", NAME, "", true),
            ("numbered", HERE, "excepted.test,192.0.2.0/24", true),
            ("excepted", HERE, "excepted.test,0.0.0.0", false),
            ("loopback", LOOPBACK, "", false),
        ] {
            let mut agent = domain.new_agent(name).await?;
            if host != LOOPBACK {
                agent.reconfigure(|conf| conf.replacen(LOOPBACK, host, 1))?;
            }
            behind(&mut agent, &proxy.url, excepted);
            proxy.asked_for.lock().unwrap().clear();
            domain.attest(&mut agent).await?;
            domain.entry(&agent.id, &format!("/{name}"), &[]).await?;
            agent.workload().follow().until_id(&domain.id(&format!("/{name}"))).await?;
            agent.stop().await?;
            let asked_for = proxy.asked_for.lock().unwrap().clone();
            ensure!(asked_for.is_empty() != through, "{name}: the proxy was asked for {asked_for:?}");
            let server = format!("{host}:{}", domain.server.port);
            ensure!(asked_for.iter().all(|target| *target == server), "{name}: the proxy was asked for {asked_for:?}");
        }
        say("proxy: 2 agents attested and were served through a proxy, 2 past it");
        Ok(())
    })
}

/// Has the agent find these variables in its environment, and none of this test's own.
fn behind(agent: &mut Agent, proxy: &str, excepted: &str) {
    let words = ["env", "-u", "https_proxy", "-u", "no_proxy"].map(str::to_owned);
    let variables = [format!("HTTPS_PROXY={proxy}"), format!("NO_PROXY={excepted}")];
    agent.starter = words.into_iter().chain(variables).collect();
}

/// A proxy that knows no method but CONNECT, and no host but this one. It ends with the runtime.
struct Proxy {
    url: String,
    /// Hosts and ports, as they were asked for.
    asked_for: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Self { url: format!("http://{}", listener.local_addr()?), asked_for: Arc::default() };
        let asked_for = Arc::clone(&proxy.asked_for);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let asked_for = Arc::clone(&asked_for);
                tokio::spawn(async move {
                    // A connection that breaks is the agent's to tell.
                    let _ = tunnel(client, port, &asked_for).await;
                });
            }
        });
        Ok(proxy)
    }
}

async fn tunnel(mut client: TcpStream, port: u16, asked_for: &Mutex<Vec<String>>) -> Result<()> {
    let mut head = Vec::new();
    // Byte by byte, so that nothing is taken of what follows.
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 4096, "too long a request");
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).context("not CONNECT")?;
    asked_for.lock().unwrap().push(target.to_owned());
    let mut server = TcpStream::connect((LOOPBACK, port)).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
