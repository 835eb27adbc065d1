//! Workloads in Go, with go-spiffe as others use it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use steeple_tests::{Domain, GoWorkload, case, go_workloads, say};

#[test]
fn a_go_workload_sees_three_rotations_on_one_source() -> Result<()> {
    let Some(program) = go_workloads("three rotations on one X509Source")? else { return Ok(()) };
    case(async |scratch| {
        let domain = Domain::builder().x509_svid_ttl("12s").start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let watch = GoWorkload::start(program, &agent, &["watch", "-rotations", "3"], scratch)?;
        let events = watch.finish().await?;
        assert!(events.iter().all(|event| event["id"] == "spiffe://example.org/web"), "{events:?}");
        let serials: BTreeSet<&str> = events.iter().filter_map(|event| event["serial"].as_str()).collect();
        assert_eq!(serials.len(), 4, "{events:?}");
        say("go: 3 of 3 rotations seen on one X509Source");
        Ok(())
    })
}

#[test]
fn a_go_workload_gets_a_jwt_svid_and_validates_it() -> Result<()> {
    let Some(program) = go_workloads("a JWT-SVID validated by go-spiffe")? else { return Ok(()) };
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        let mut jwt = GoWorkload::start(program, &agent, &["jwt", "-audience", "billing"], scratch)?;
        let event = jwt.event("jwt").await?;
        assert_eq!(event["id"], "spiffe://example.org/web");
        assert_eq!(event["validated"], "spiffe://example.org/web");
        assert_eq!(event["audience"], serde_json::json!(["billing"]));
        assert_eq!(event["refused_for_another"], true);
        jwt.finish().await?;
        Ok(())
    })
}

#[test]
fn two_go_workloads_on_two_nodes_do_mtls_across_rotations() -> Result<()> {
    let Some(program) = go_workloads("mTLS of two workloads across rotations")? else { return Ok(()) };
    case(async |scratch| {
        let domain = Domain::builder().x509_svid_ttl("12s").start(scratch).await?;
        let (front, back) = (domain.agent("front").await?, domain.agent("back").await?);
        domain.entry(&front.id, "/front", &[]).await?;
        domain.entry(&back.id, "/back", &[]).await?;

        let args = ["serve", "-peer", "spiffe://example.org/front"];
        let mut server = GoWorkload::start(program, &back, &args, scratch)?;
        let listening = server.event("listening").await?;
        let address = listening["address"].as_str().context("no address")?;
        let args = ["call", "-peer", "spiffe://example.org/back", "-address", address, "-rotations", "2"];
        let mut caller = GoWorkload::start(program, &front, &args, scratch)?;
        let done = caller.event("done").await?;
        caller.finish().await?;
        assert_eq!(server.events()?.len(), 1, "a handshake failed: {:?}", server.events()?);

        // Who is not authorized is turned away: the caller expects another server.
        let args = ["call", "-peer", "spiffe://example.org/front", "-address", address];
        let error = GoWorkload::start(program, &front, &args, scratch)?.event("error").await?;
        assert!(error["error"].as_str().is_some_and(|text| text.contains("unexpected ID")), "{error}");
        let (handshakes, own, theirs) = (&done["handshakes"], &done["own"], &done["theirs"]);
        say(&format!("go: {handshakes} of {handshakes} mTLS handshakes good over {own} and {theirs} certificates"));
        Ok(())
    })
}
