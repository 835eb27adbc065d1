//! The client of `steeple-spiffe` as a program has it: sources that follow a real agent.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use steeple_runtime::Clock;
use steeple_spiffe::workload_api::{JwtSource, SourceError, SourceOptions, X509Source, X509Updates};
use steeple_spiffe::{verify_x509_svid_in, x509::X509Svid};
use steeple_tests::{Agent, Domain, case, within};

const WEB: &str = "spiffe://example.org/web";

#[test]
fn a_source_follows_three_rotations_and_what_it_has_is_verified_by_its_own_bundles() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().x509_svid_ttl("12s").start(scratch).await?;
        let agent = domain.agent("node1").await?;
        // Before there is an entry: access is denied at first.
        let source = source(&agent)?;
        domain.entry(&agent.id, "/web", &["-hint", "internal"]).await?;
        within("the first SVID", source.ready()).await??;
        let (mut updates, mut serials) = (source.updates(), BTreeSet::new());
        while serials.len() < 4 {
            let svid = svid(&mut updates).await?;
            assert_eq!((svid.id.as_str(), &*svid.hint), (WEB, "internal"));
            assert_eq!(verify_x509_svid_in(&svid.chain, &source, Clock::system().now())?, svid.id);
            serials.insert(svid.chain[0].serial_hex());
        }
        Ok(())
    })
}

#[test]
fn a_source_loses_its_identity_with_the_entry_and_has_the_new_one_when_there_is_one_again() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        let entry = domain.entry(&agent.id, "/web", &[]).await?;
        let source = source(&agent)?;
        let mut updates = source.updates();
        svid(&mut updates).await?;
        domain.server.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
        let denied = loop {
            if let Err(error) = within("the denial", updates.next()).await? {
                break error;
            }
        };
        assert!(matches!(denied, SourceError::Denied(_)), "{denied}");
        assert!(source.svid().is_err());
        domain.entry(&agent.id, "/web", &[]).await?;
        assert_eq!(svid(&mut updates).await?.id.as_str(), WEB);
        Ok(())
    })
}

#[test]
fn sources_keep_what_they_have_while_the_agent_is_away_and_come_back_with_it() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let source = source(&agent)?;
        let mut updates = source.updates();
        let first = svid(&mut updates).await?;
        let tokens = JwtSource::start(agent.workload().client().clone(), SourceOptions::default())?;
        within("the JWT bundles", tokens.ready()).await??;
        let token = within("a token", tokens.fetch(&["billing"], None)).await??;

        agent.kill();
        assert_eq!(source.svid()?.chain, first.chain);
        assert_eq!(within("the token", tokens.fetch(&["billing"], None)).await??.token, token.token);
        assert_eq!(tokens.validate(&token.token, "billing")?.id.as_str(), WEB);
        agent.launch(&[])?;
        let second = svid(&mut updates).await?;
        assert_eq!(second.id, first.id);

        let workload = agent.workload();
        let validation = workload.client().validate_jwt_svid("billing", &token.token);
        assert_eq!(within("a validation", validation).await??.id.as_str(), WEB);
        Ok(())
    })
}

fn source(agent: &Agent) -> Result<X509Source, SourceError> {
    X509Source::start(agent.workload().client().clone(), SourceOptions::default())
}

/// The default SVID of the next update that has one.
async fn svid(updates: &mut X509Updates) -> Result<Arc<X509Svid>> {
    within("an SVID", async {
        loop {
            match updates.next().await {
                Ok(context) => return context.default_svid().cloned().context("no SVID"),
                Err(SourceError::Denied(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    })
    .await?
}
