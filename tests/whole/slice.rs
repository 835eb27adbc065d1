//! The whole path of the main job: an agent attests, an entry is created, a workload gets and keeps an identity.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use steeple_proto::workload::X509svidResponse;
use steeple_spiffe::x509::{parse_chain_der, parse_pem};
use steeple_tests::{Agent, Domain, case, passed, verified, within};
use tonic::{Code, Status, Streaming};

#[test]
fn serves_an_x509_svid_that_its_bundle_vouches_for() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &["-hint", "internal", "-dns", "web.example.org"]).await?;

        let update = agent.workload().follow().until_id("spiffe://example.org/web").await?;
        assert_eq!(update.svids.len(), 1);
        let svid = verified(&update.svids[0])?;
        assert_eq!(svid.id.to_string(), "spiffe://example.org/web");
        assert_eq!(svid.hint, "internal");
        assert_eq!(svid.chain[0].dns_sans(), ["web.example.org"]);

        let authorities = parse_pem(&domain.server.bundle_pem().await?)?;
        assert_eq!(parse_chain_der(&update.svids[0].bundle)?, authorities);
        let mut bundles = agent.workload().x509_bundles().await?;
        let bundles = within("X.509 bundles", bundles.message()).await??.context("no bundles")?.bundles;
        assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
        assert_eq!(parse_chain_der(&bundles["spiffe://example.org"])?, authorities);

        let printed = agent.command(&["api", "fetch", "x509"]).await?.ok()?;
        assert!(printed.starts_with("Received 1 svid after "), "{printed}");
        assert!(printed.contains("SPIFFE ID:\t\tspiffe://example.org/web\n"), "{printed}");
        Ok(())
    })
}

#[test]
fn serves_a_jwt_svid_that_is_valid_for_its_audience_alone() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &["-hint", "internal"]).await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;

        let svids = agent.workload().jwt_svids("billing").await?;
        assert_eq!(svids.len(), 1);
        assert_eq!((&*svids[0].spiffe_id, &*svids[0].hint), ("spiffe://example.org/web", "internal"));
        let valid = agent.workload().validate_jwt("billing", &svids[0].svid).await?;
        assert_eq!(valid.spiffe_id, "spiffe://example.org/web");
        let claims = valid.claims.context("no claims")?.fields;
        for claim in ["aud", "exp", "iat", "sub"] {
            assert!(claims.contains_key(claim), "no {claim} in {claims:?}");
        }

        let refusal = agent.workload().validate_jwt("shipping", &svids[0].svid).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
        assert!(refusal.message().contains("expected audience in"), "{refusal:?}");
        let tampered = svids[0].svid.replace('.', ".A");
        assert_eq!(
            agent.workload().validate_jwt("billing", &tampered).await.unwrap_err().code(),
            Code::InvalidArgument
        );

        let mut bundles = agent.workload().jwt_bundles().await?;
        let bundles = within("JWT bundles", bundles.message()).await??.context("no bundles")?.bundles;
        assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
        let served: Value = serde_json::from_slice(&bundles["spiffe://example.org"])?;
        let published = domain.server.authorities().await?;
        assert_eq!(key_ids(&served["keys"], "kid")?, key_ids(&published["jwt"], "key_id")?);

        let printed = agent.command(&["api", "fetch", "jwt", "-audience", "billing"]).await?.ok()?;
        assert!(printed.starts_with("token(spiffe://example.org/web):\n\t"), "{printed}");
        Ok(())
    })
}

/// The reference keeps such a token too, though its documents promise a new one for each call.
#[test]
fn a_jwt_svid_with_an_id_is_kept_for_its_audience_like_any_other() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &["-jwtSVIDIncludeJTI"]).await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        let fetch = async |audience| {
            let svid = agent.workload().jwt_svids(audience).await?.pop().context("no token")?.svid;
            let claims = URL_SAFE_NO_PAD.decode(svid.split('.').nth(1).context("no claims")?)?;
            let claims: Value = serde_json::from_slice(&claims)?;
            anyhow::Ok((svid, claims["jti"].as_str().context("no jti")?.to_owned()))
        };
        let (first, id) = fetch("billing").await?;
        assert_eq!(fetch("billing").await?.0, first);
        assert_ne!(fetch("shipping").await?.1, id);
        Ok(())
    })
}

#[test]
fn pushes_three_rotations_on_one_open_stream() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().x509_svid_ttl("12s").start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut follower = agent.workload().follow();
        let first = follower.until_id("spiffe://example.org/web").await?;
        let mut serials = BTreeSet::from([verified(&first.svids[0])?.chain[0].serial_hex()]);
        let mut stream = follower.into_stream()?;
        while serials.len() < 4 {
            let update = message(&mut stream).await??;
            assert_eq!(update.svids.len(), 1);
            serials.insert(verified(&update.svids[0])?.chain[0].serial_hex());
        }
        Ok(())
    })
}

#[test]
fn tells_the_open_stream_of_entries_that_come_and_go() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        let (web, db) = ("spiffe://example.org/web", "spiffe://example.org/db");
        let web_entry = domain.entry(&agent.id, "/web", &[]).await?;
        let mut stream = stream_with(&agent, web).await?;

        let db_entry = domain.entry(&agent.id, "/db", &[]).await?;
        let update = message_with(&mut stream, &[db, web]).await?;
        for svid in &update.svids {
            verified(svid)?;
        }
        domain.server.command(&["entry", "delete", "-entryID", &db_entry]).await?.ok()?;
        message_with(&mut stream, &[web]).await?;
        domain.server.command(&["entry", "delete", "-entryID", &web_entry]).await?.ok()?;
        let end = loop {
            if let Err(end) = message(&mut stream).await? {
                break end;
            }
        };
        assert_eq!((end.code(), end.message()), (Code::PermissionDenied, "no identity issued"));
        assert_eq!(agent.workload().jwt_svids("billing").await.unwrap_err().code(), Code::PermissionDenied);
        Ok(())
    })
}

#[test]
fn shows_its_state_on_the_command_lines() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        assert_eq!(domain.server.command(&["agent", "list"]).await?.ok()?, "No attested agents found\n");
        let agent = domain.agent("node1").await?;
        let entry = domain.entry(&agent.id, "/web", &[]).await?;

        assert_eq!(domain.server.command(&["healthcheck"]).await?.ok()?, "Server is healthy.\n");
        assert_eq!(agent.command(&["healthcheck"]).await?.ok()?, "Agent is healthy.\n");
        let listed = domain.server.command(&["agent", "list"]).await?.ok()?;
        assert!(listed.starts_with("Found 1 attested agent:\n\n"), "{listed}");
        assert!(listed.contains(&format!("SPIFFE ID         : {}\n", agent.id)), "{listed}");
        let shown = domain.server.command(&["entry", "show", "-entryID", &entry]).await?.ok()?;
        assert!(shown.starts_with("Found 1 entry\n"), "{shown}");
        assert!(shown.contains(&format!("Parent ID               : {}\n", agent.id)), "{shown}");
        let deleted = domain.server.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
        assert!(deleted.starts_with(&format!("Deleted entry with ID: {entry}\n")), "{deleted}");
        let valid = domain.server.validate(&domain.server.conf).await?.ok()?;
        assert_eq!(valid, "SPIRE server configuration file is valid.\n");
        Ok(())
    })
}

#[test]
fn a_restarted_agent_keeps_its_identity_without_attesting_again() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let before = only_agent(&domain).await?;
        assert_eq!(format!("spiffe://example.org{}", before["id"]["path"].as_str().unwrap_or_default()), agent.id);

        agent.stop().await?;
        agent.start().await?;
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        assert_eq!(only_agent(&domain).await?, before);
        assert!(!agent.process()?.log()?.contains("Node attestation was successful"));
        Ok(())
    })
}

#[test]
fn an_agent_outlives_its_first_svid_by_renewing_it() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().agent_ttl("20s").start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut stream = stream_with(&agent, "spiffe://example.org/web").await?;
        let first = only_agent(&domain).await?;

        let end: u64 = first["x509svid_expires_at"].as_str().context("no expiry")?.parse()?;
        passed("the end of the SVID", UNIX_EPOCH + Duration::from_secs(end + 1)).await?;
        domain.entry(&agent.id, "/db", &[]).await?;
        message_with(&mut stream, &["spiffe://example.org/db", "spiffe://example.org/web"]).await?;
        let now = only_agent(&domain).await?;
        assert_eq!(now["id"], first["id"]);
        assert_ne!(now["x509svid_serial_number"], first["x509svid_serial_number"]);
        Ok(())
    })
}

#[test]
fn an_agent_finds_a_server_again_that_was_restarted() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let mut stream = stream_with(&agent, "spiffe://example.org/web").await?;
        let authorities = domain.server.authorities().await?;

        domain.server.stop().await?;
        domain.server.start().await?;
        domain.entry(&agent.id, "/db", &[]).await?;
        message_with(&mut stream, &["spiffe://example.org/db", "spiffe://example.org/web"]).await?;
        assert_eq!(domain.server.authorities().await?, authorities);
        Ok(())
    })
}

#[test]
fn keeps_the_agents_data_in_the_format_of_the_reference() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        agent.stop().await?;

        let data = json_file(&agent.data_dir.join("agent-data.json"))?;
        let keys: BTreeSet<&str> = data.as_object().context("no object")?.keys().map(String::as_str).collect();
        let expected =
            ["bootstrap_start_time", "bootstrap_use", "bundle", "connection_attempts", "reattestable", "svid"];
        assert_eq!(keys, BTreeSet::from(expected), "{data}");
        for chain in ["svid", "bundle"] {
            let certificates = data[chain].as_array().with_context(|| format!("{chain} is no list"))?;
            assert!(!certificates.is_empty());
            for certificate in certificates {
                // "-----BEGIN CERTIFICATE-----" in base64: the elements are PEM, not DER.
                let pem = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t";
                assert!(certificate.as_str().is_some_and(|text| text.starts_with(pem)), "{chain}: {certificate}");
            }
        }
        assert_eq!(data["reattestable"], false);
        assert!(data["bootstrap_use"].is_i64() && data["connection_attempts"].is_i64(), "{data}");
        assert!(data["bootstrap_start_time"].is_string(), "{data}");

        let stored = json_file(&agent.data_dir.join("keys.json"))?;
        let key = stored["keys"]["agent-svid-A"].as_str().context("no key agent-svid-A")?;
        // The head of a PKCS #8 document with a P-256 key, in base64.
        assert!(key.starts_with("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w"), "not a P-256 key in PKCS #8");
        Ok(())
    })
}

/// A stream that has carried the SVID of `id`.
async fn stream_with(agent: &Agent, id: &str) -> Result<Streaming<X509svidResponse>> {
    let mut follower = agent.workload().follow();
    follower.until_id(id).await?;
    follower.into_stream()
}

/// The next message of a stream, or the status that it ends with.
async fn message(stream: &mut Streaming<X509svidResponse>) -> Result<Result<X509svidResponse, Status>> {
    let next = within("a message on the stream", stream.message()).await?;
    Ok(next.transpose().unwrap_or(Err(Status::ok("the stream ended"))))
}

/// The next message with the SVIDs of just these SPIFFE IDs, which are sorted.
async fn message_with(stream: &mut Streaming<X509svidResponse>, ids: &[&str]) -> Result<X509svidResponse> {
    loop {
        let update = message(stream).await??;
        let mut held: Vec<&str> = update.svids.iter().map(|svid| &*svid.spiffe_id).collect();
        held.sort_unstable();
        if held == ids {
            return Ok(update);
        }
    }
}

async fn only_agent(domain: &Domain) -> Result<Value> {
    let mut agents = domain.server.agents().await?;
    assert_eq!(agents.len(), 1, "{agents:?}");
    agents.pop().context("no agent")
}

fn key_ids<'a>(keys: &'a Value, name: &str) -> Result<BTreeSet<&'a str>> {
    keys.as_array()
        .context("no list of keys")?
        .iter()
        .map(|key| key[name].as_str().context("a key without ID"))
        .collect()
}

/// A JSON file that only its owner can read, because private keys stand in it or beside it.
fn json_file(path: &Path) -> Result<Value> {
    assert_eq!(fs::metadata(path)?.permissions().mode() & 0o777, 0o600, "{}", path.display());
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}
