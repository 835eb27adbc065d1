//! Who may call what on the server's TCP port: each method by each kind of caller.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use steeple_pki::{KeyType, LocalSigner, PrivateKey};
use steeple_proto::descriptors;
use steeple_proto::spire::api::server::svid::v1::MintX509svidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::types::permission_denied_details::Reason;
use steeple_runtime::Clock;
use steeple_spiffe::SpiffeId;
use steeple_testkit::Ca;
use steeple_tests::{AgentByHand, Domain, Port, case, say, until};
use steeple_transport::dial;
use steeple_transport::status::denial_reason;
use steeple_transport::tls::{Credential, credential_with_signer};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{call, methods};

/// What anybody may call.
const ANYBODY: &[&str] =
    &["/spire.api.server.agent.v1.Agent/AttestAgent", "/spire.api.server.bundle.v1.Bundle/GetBundle"];

/// What agents may call besides.
pub(crate) const AGENTS: &[&str] = &[
    "/spire.api.server.agent.v1.Agent/PostStatus",
    "/spire.api.server.agent.v1.Agent/RenewAgent",
    "/spire.api.server.bundle.v1.Bundle/GetFederatedBundle",
    "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries",
    "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries",
    "/spire.api.server.svid.v1.SVID/BatchNewWITSVID",
    "/spire.api.server.svid.v1.SVID/BatchNewX509SVID",
    "/spire.api.server.svid.v1.SVID/NewJWTSVID",
    "/steeple.agent.sync.v1.Sync/Follow",
];

/// Services that are not on the TCP port at all.
const ELSEWHERE: &[&str] = &[
    "spire.api.server.debug.v1.Debug",
    "spire.api.server.logger.v1.Logger",
    "steeple.server.configuration.v1.Configuration",
    "steeple.server.store.v1.Store",
];

#[test]
fn each_kind_of_caller_may_call_what_the_references_table_says_and_nothing_else() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let port = Port::of(&domain).await?;
        let agent = AgentByHand::attest(&domain, &port).await?;
        let workload = port.channel(Some(workload_svid(&domain, "/web").await?))?;
        let refusals = [
            refused(&agent.channel, &[ANYBODY, AGENTS].concat(), None).await?,
            refused(&workload, ANYBODY, Some(Reason::AgentNotAttested)).await?,
            refused(&port.channel(None)?, ANYBODY, None).await?,
        ];
        say(&format!("hostile: {refusals:?} methods refused to an agent, a workload and a stranger"));
        Ok(())
    })
}

#[test]
fn an_agent_that_is_none_any_more_may_call_what_strangers_may() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let port = Port::of(&domain).await?;
        let superseded = AgentByHand::attest(&domain, &port).await?;
        let renewed = port.channel(Some(superseded.renew().await?))?;
        call(&renewed, AGENTS[3], &[]).await??;
        refused(&superseded.channel, ANYBODY, Some(Reason::AgentNotActive)).await?;
        // The one that it has goes on.
        call(&renewed, AGENTS[3], &[]).await??;

        for (verb, reason) in [("ban", Reason::AgentBanned), ("evict", Reason::AgentNotAttested)] {
            let agent = AgentByHand::attest(&domain, &port).await?;
            domain.server.command(&["agent", verb, "-spiffeID", agent.id.as_str()]).await?.ok()?;
            // The index learns of it a moment later than the database.
            let told = async || call(&agent.channel, AGENTS[3], &[]).await.ok()?.is_err().then_some(());
            until("the refusal", told).await?;
            refused(&agent.channel, ANYBODY, Some(reason)).await?;
            let again =
                port.attest(&agent.token, AgentByHand::request(&PrivateKey::generate(KeyType::EcP256)?, None)?).await;
            let again = again.err().context("attested with a token that was used")?;
            ensure!(again.code() == Code::InvalidArgument, "{again:?}");
        }
        Ok(())
    })
}

#[test]
fn a_certificate_that_nobody_vouches_for_does_not_connect_at_all() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let port = Port::of(&domain).await?;
        let agent = AgentByHand::attest(&domain, &port).await?;
        let now = Clock::system().now();
        const HOUR: Duration = Duration::from_secs(3600);
        // Other authorities of the same name, and of another trust domain.
        let (forger, stranger) = (Ca::new("example.org", now), Ca::new("evil.org", now));
        let own_path = agent.id.path();
        let mut shown = vec![
            ("of another authority", forger.svid(own_path, now - HOUR..now + HOUR).credential()),
            ("of another trust domain", stranger.svid(own_path, now - HOUR..now + HOUR).credential()),
            ("of the server", forger.svid("/spire/server", now - HOUR..now + HOUR).credential()),
            ("that has ended", forger.svid(own_path, now - HOUR * 2..now - HOUR).credential()),
        ];
        // What the agent shows to everybody, with a key of somebody else.
        let key = Arc::new(LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256)?)));
        shown.push(("with another key", credential_with_signer(&agent.chain, key)?));
        for (what, credential) in shown {
            // In TLS 1.3 a client learns of it when it reads: how the call ends is chance, that it has no answer is not.
            let answer = call(&port.channel(Some(credential))?, ANYBODY[1], &[]).await;
            ensure!(!matches!(answer, Ok(Ok(()))), "{what}: it is answered");
        }
        call(&agent.channel, AGENTS[3], &[]).await??;
        Ok(())
    })
}

/// Calls every method of every service, of which all but the allowed ones must be refused in the words that say nothing
/// more. Returns how many were.
async fn refused(channel: &Channel, allowed: &[&str], reason: Option<Reason>) -> Result<usize> {
    let mut paths: BTreeSet<String> = methods(descriptors::PACKAGED, |service| {
        service.starts_with("spire.api.server.") || service.starts_with("steeple.")
    })
    .into_iter()
    .collect();
    ensure!(paths.len() > 50, "only {} methods are known", paths.len());
    paths.extend(
        ["/grpc.health.v1.Health/Check", "/spire.api.server.entry.v1.Entry/Nothing", "/a.B/C"].map(str::to_owned),
    );
    let mut count = 0;
    for path in &paths {
        let refusal = call(channel, path, &[]).await?.err();
        let (service, method) = path.trim_start_matches('/').rsplit_once('/').context("no method")?;
        if allowed.contains(&&**path) {
            // It may go wrong, as nothing was said; but not for who calls.
            let code = refusal.as_ref().map_or(Code::Ok, Status::code);
            ensure!(![Code::PermissionDenied, Code::Unauthenticated].contains(&code), "{path}: {refusal:?}");
            continue;
        }
        let refusal = refusal.with_context(|| format!("{path} is answered"))?;
        let told = (refusal.code(), refusal.message().to_owned());
        let expected = if method == "Nothing" {
            (Code::Unimplemented, format!("unknown method {method} for service {service}"))
        } else if ELSEWHERE.contains(&service) || !service.starts_with("s") {
            (Code::Unimplemented, format!("unknown service {service}"))
        } else {
            (Code::PermissionDenied, format!("authorization denied for method {path}"))
        };
        ensure!(told == expected, "{path}: {refusal:?}");
        // An agent learns why it is none, at what agents may call, and nobody learns more.
        let may_know = AGENTS.contains(&&**path) && expected.0 == Code::PermissionDenied;
        ensure!(denial_reason(&refusal) == reason.filter(|_| may_know), "{path}: {refusal:?}");
        ensure!(may_know && reason.is_some() || refusal.details().is_empty(), "{path}: {refusal:?}");
        count += 1;
    }
    Ok(count)
}

/// What a workload gets whose operator has minted it for it.
pub(crate) async fn workload_svid(domain: &Domain, path: &str) -> Result<Credential> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let csr = AgentByHand::request(&key, Some(&SpiffeId::parse(&domain.id(path))?))?;
    let mut svids = SvidClient::new(dial::local(&domain.server.socket));
    let svid = svids.mint_x509svid(MintX509svidRequest { csr, ttl: 0 }).await?.into_inner().svid.context("no SVID")?;
    Ok(Credential::new(&AgentByHand::chain(&svid)?, &key.to_pkcs8_der()?)?)
}
