//! SPIFFE IDs and trust domains: too long, and of others.

use anyhow::Result;
use steeple_tests::{Binaries, Domain, case, skipped_on_the_reference};

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
        let (long, short) = (domain.id(&path_for_an_id_of(2049)), domain.id("/a"));
        for (named, args) in [
            ("-spiffeID", &["entry", "create", "-parentID", &short, "-spiffeID", &long, "-selector", "unix:uid:1"][..]),
            ("-parentID", &["entry", "create", "-parentID", &long, "-spiffeID", &short, "-selector", "unix:uid:1"]),
            ("-spiffeID", &["token", "generate", "-spiffeID", &long]),
        ] {
            let text = domain.server.command(args).await?.refused()?;
            let told = text.contains(&format!("{named} spiffe://example.org/ppp")) && text.contains("2048");
            assert!(told, "{text}");
        }
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

fn path_for_an_id_of(length: usize) -> String {
    format!("/{}", "p".repeat(length - "spiffe://example.org/".len()))
}
