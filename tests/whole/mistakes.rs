//! Wrong input: each gives an error that names the thing, and nothing is lost by it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_proto::spire::api::server::svid::v1::MintX509svidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::workload::X509svidRequest;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_runtime::Clock;
use steeple_tests::{Binaries, Daemon, Domain, case, free_port, say, skipped_on_the_reference, until};
use steeple_transport::dial;
use tonic::Code;

/// A change to a good configuration, and what the refusal must name.
struct Mistake {
    name: &'static str,
    change: fn(&str) -> String,
    named: &'static [&'static str],
}

const OF_THE_SERVER: &[Mistake] = &[
    Mistake {
        name: "unknown key in a block",
        change: |conf| with_line(conf, "nonsense = 1"),
        named: &["section=server", "keys=nonsense"],
    },
    Mistake {
        name: "unknown block",
        change: |conf| format!("{conf}surplus {{\n}}\n"),
        named: &["section=top-level", "keys=surplus"],
    },
    Mistake {
        name: "wrong type",
        change: |conf| with_line(conf, "audit_log_enabled = \"yes\""),
        named: &["server.conf", "At 14:25", "audit_log_enabled"],
    },
    Mistake {
        name: "malformed syntax",
        change: |conf| with_line(conf, "ca_ttl = = \"24h\""),
        named: &["server.conf", "At 14:14"],
    },
    Mistake {
        name: "malformed duration",
        change: |conf| with_line(conf, "ca_ttl = \"1d\""),
        named: &["could not parse default CA ttl", "unknown unit"],
    },
    Mistake {
        name: "malformed trust domain",
        change: |conf| with_line(conf, "trust_domain = \"Example Org\""),
        named: &["trust_domain", "Example Org"],
    },
    Mistake {
        name: "missing plugins",
        change: |conf| conf.replacen("plugins {", "unused {", 1),
        named: &["plugins section must be configured"],
    },
];

const OF_THE_AGENT: &[Mistake] = &[
    Mistake {
        name: "unknown key in a block",
        change: |conf| with_line(conf, "nonsense = 1"),
        named: &["section=agent", "keys=nonsense"],
    },
    Mistake {
        name: "wrong type",
        change: |conf| with_line(conf, "insecure_bootstrap = \"no\""),
        named: &["node1.conf", "At 12:26", "insecure_bootstrap"],
    },
    Mistake {
        name: "malformed syntax",
        change: |conf| with_line(conf, "log_file = = \"a\""),
        named: &["node1.conf", "At 12:16"],
    },
    Mistake {
        name: "missing file",
        change: |conf| with_line(conf, "join_token_file = \"/missing/token\""),
        named: &["join token file", "/missing/token"],
    },
];

#[test]
fn the_server_names_what_is_wrong_in_its_configuration() -> Result<()> {
    case(async |scratch| {
        for Mistake { name, change, named } in OF_THE_SERVER {
            let mut domain = Domain::builder().write(scratch)?;
            fs::write(&domain.server.conf, change(&fs::read_to_string(&domain.server.conf)?))?;
            domain.server.validate(&domain.server.conf).await?.refused()?;
            domain.server.launch(&[])?;
            ends_with(domain.server.process()?, named).await.context(*name)?;
            assert!(!domain.server.data_dir.exists(), "{name}: the data directory was made");
        }
        say(&format!("mistakes: {0} of {0} configurations of the server refused by name", OF_THE_SERVER.len()));
        Ok(())
    })
}

#[test]
fn the_agent_names_what_is_wrong_in_its_configuration() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        for Mistake { name, change, named } in OF_THE_AGENT {
            let mut agent = domain.new_agent("node1").await?;
            fs::write(&agent.conf, change(&fs::read_to_string(&agent.conf)?))?;
            agent.validate(&agent.conf).await?.refused()?;
            agent.launch(&[])?;
            ends_with(agent.process()?, named).await.context(*name)?;
            assert!(!agent.data_dir.exists(), "{name}: the data directory was made");
        }
        say(&format!("mistakes: {0} of {0} configurations of the agent refused by name", OF_THE_AGENT.len()));
        Ok(())
    })
}

#[test]
fn names_a_missing_configuration_file() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().write(scratch)?;
        let missing = scratch.path().join("missing.conf");
        let text = domain.server.validate(&missing).await?.refused()?;
        assert!(text.contains(&format!("could not find config file {}", missing.display())), "{text}");
        Ok(())
    })
}

#[test]
fn a_wrong_configuration_loses_nothing() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        let entry = domain.entry(&agent.id, "/web", &[]).await?;
        let authorities = domain.server.authorities().await?;
        domain.server.stop().await?;
        agent.stop().await?;

        let (server_conf, agent_conf) = (fs::read_to_string(&domain.server.conf)?, fs::read_to_string(&agent.conf)?);
        fs::write(&domain.server.conf, with_line(&server_conf, "nonsense = 1"))?;
        domain.server.launch(&[])?;
        ends_with(domain.server.process()?, &["keys=nonsense"]).await?;
        fs::write(&agent.conf, with_line(&agent_conf, "nonsense = 1"))?;
        agent.launch(&[])?;
        ends_with(agent.process()?, &["keys=nonsense"]).await?;
        fs::write(&domain.server.conf, server_conf)?;
        domain.server.start().await?;
        fs::write(&agent.conf, agent_conf)?;
        agent.start().await?;

        assert_eq!(domain.server.authorities().await?, authorities);
        assert_eq!(domain.server.entry_ids().await?, [entry].into());
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        Ok(())
    })
}

#[test]
fn names_the_tcp_port_that_is_in_use() -> Result<()> {
    case(async |scratch| {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?))?;
        let address = holder.local_addr()?.to_string();
        let mut domain = Domain::builder().write(scratch)?;
        domain.server.launch(&["-serverPort", &holder.local_addr()?.port().to_string()])?;
        ends_with(domain.server.process()?, &[&address, "address already in use"]).await?;
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

#[test]
fn refuses_used_expired_and_unknown_join_tokens() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let used = domain.server.token(&[]).await?;
        let mut first = domain.new_agent("first").await?;
        first.launch(&["-joinToken", &used])?;
        first.healthy().await?;
        let expired = domain.server.token(&["-ttl", "1"]).await?;
        let end = Clock::system().now() + Duration::from_secs(2);
        until("the end of the token", async || (Clock::system().now() > end).then_some(())).await?;

        let gone = "join token does not exist or has already been used";
        let cases = [("used", &*used, gone), ("expired", &*expired, "join token expired"), ("unknown", "nobody", gone)];
        for (name, token, text) in cases {
            let mut agent = domain.new_agent(name).await?;
            agent.launch(&["-joinToken", token])?;
            agent.process()?.line(text).await?;
            let text = agent.command(&["healthcheck"]).await?.refused()?;
            assert!(text.contains("Agent is unhealthy"), "{name}: {text}");
        }
        assert_eq!(domain.server.agents().await?.len(), 1);
        first.command(&["healthcheck"]).await?.ok()?;
        Ok(())
    })
}

#[test]
fn refuses_a_malformed_csr() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut client = SvidClient::new(dial::local(&domain.server.socket));
        let garbage: &[&[u8]] = &[b"garbage", b"", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30; 5000]];
        for csr in garbage {
            let refusal = client.mint_x509svid(MintX509svidRequest { csr: csr.to_vec(), ttl: 0 }).await.unwrap_err();
            assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
            let text = if csr.is_empty() { "missing CSR" } else { "malformed CSR" };
            assert!(refusal.message().starts_with(text), "{refusal:?}");
        }
        // More than a message may have: it is not even read.
        let endless = MintX509svidRequest { csr: vec![0x30; 5_000_000], ttl: 0 };
        let refusal = client.mint_x509svid(endless).await.unwrap_err();
        assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
        assert_eq!(refusal.message(), "grpc: received message larger than max (5000005 vs. 4194304)");
        domain.server.command(&["healthcheck"]).await?.ok()?;
        Ok(())
    })
}

#[test]
fn an_agent_does_not_trust_the_server_of_another_trust_domain() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let token = domain.server.token(&[]).await?;
        let mut agent = domain.new_agent("node1").await?;
        agent.launch(&["-joinToken", &token, "-trustDomain", "other.org"])?;
        // The agent was told of this name by nobody but the server's certificate. Ours names both; the reference, the one
        // that it has no bundle of.
        let told = agent.process()?.line("example.org").await?;
        let both =
            told.contains("spiffe://example.org/spire/server") && told.contains("spiffe://other.org/spire/server");
        assert!(both || told.contains("no X.509 bundle found"), "{told}");
        assert!(domain.server.agents().await?.is_empty());

        // The token was not used up.
        agent.launch(&["-joinToken", &token])?;
        agent.healthy().await
    })
}

#[test]
fn refuses_an_entry_of_another_trust_domain() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let (own, foreign) = ("spiffe://example.org/a", "spiffe://other.org/a");
        for (parent, id) in [(own, foreign), (foreign, own)] {
            let args = ["entry", "create", "-parentID", parent, "-spiffeID", id, "-selector", "unix:uid:1"];
            let text = domain.server.command(&args).await?.refused()?;
            assert!(text.contains(foreign) && text.contains("trust domain"), "{text}");
        }
        assert!(domain.server.entry_ids().await?.is_empty());
        Ok(())
    })
}

#[test]
fn asks_for_the_security_header_of_the_workload_api() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut bare = SpiffeWorkloadApiClient::new(dial::local(&agent.socket));
        let refusal = match bare.fetch_x509svid(X509svidRequest {}).await {
            Err(refusal) => refusal,
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        };
        assert_eq!(
            (refusal.code(), refusal.message()),
            (Code::InvalidArgument, "security header missing from request")
        );
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        Ok(())
    })
}

#[test]
fn accepts_a_spiffe_id_of_2048_bytes() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        let path = path_for_an_id_of(2048);
        domain.entry(&agent.id, &path, &[]).await?;
        agent.workload().follow().until_id(&domain.id(&path)).await?;
        Ok(())
    })
}

#[test]
fn refuses_a_spiffe_id_of_2049_bytes() -> Result<()> {
    if Binaries::find()?.server.is_reference {
        skipped_on_the_reference("a SPIFFE ID of 2049 bytes", "it has no limit");
        return Ok(());
    }
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let id = domain.id(&path_for_an_id_of(2049));
        let parent = "spiffe://example.org/spire/agent/join_token/a";
        let args = ["entry", "create", "-parentID", parent, "-spiffeID", &id, "-selector", "unix:uid:1"];
        let text = domain.server.command(&args).await?.refused()?;
        assert!(text.contains("2048"), "{text}");
        assert!(domain.server.entry_ids().await?.is_empty());
        Ok(())
    })
}

#[test]
fn accepts_a_trust_domain_of_255_bytes() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().name(&"t".repeat(255)).start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id(&domain.id("/web")).await?;
        Ok(())
    })
}

#[test]
fn refuses_a_trust_domain_of_256_bytes() -> Result<()> {
    if Binaries::find()?.server.is_reference {
        skipped_on_the_reference("a trust domain of 256 bytes", "it only warns");
        return Ok(());
    }
    case(async |scratch| {
        let domain = Domain::builder().name(&"t".repeat(256)).write(scratch)?;
        let text = domain.server.validate(&domain.server.conf).await?.refused()?;
        assert!(text.contains("trust_domain") && text.contains("255"), "{text}");
        Ok(())
    })
}

/// A configuration with one more line at the end of its first block.
fn with_line(conf: &str, line: &str) -> String {
    conf.replacen("\n}\n", &format!("\n    {line}\n}}\n"), 1)
}

/// Waits until a daemon has ended with exit code 1 and a log that has all of these words.
async fn ends_with(process: &mut Daemon, words: &[&str]) -> Result<()> {
    let code = process.exit().await?.code();
    let log = process.log()?;
    ensure!(code == Some(1), "exit code {code:?}: {log}");
    for word in words {
        ensure!(log.contains(word), "no {word:?} in {log}");
    }
    Ok(())
}

fn path_for_an_id_of(length: usize) -> String {
    format!("/{}", "p".repeat(length - "spiffe://example.org/".len()))
}
