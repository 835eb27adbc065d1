//! An agent that renewed its SVID a moment before the database went. The server has stored both SVIDs, and has not been told
//! yet that the new one has arrived.

use anyhow::{Context, Result, ensure};
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::entry::v1::GetAuthorizedEntriesRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{BatchNewX509svidRequest, NewX509svidParams};
use steeple_tests::{AgentByHand, Domain, Port, Scratch, Wire, until, within};
use steeple_transport::status::retry_delay;
use steeple_transport::tls::Credential;
use tonic::Code;

use super::super::Shared;
use super::{Site, WEB, row};

/// Asks as SPIRE's agent does, over a new connection: for the bundle, for its entries, and for the SVID of one.
async fn sync(port: &Port, shown: &Credential, entry: &str) -> Result<()> {
    let channel = port.channel(Some(shown.clone()))?;
    let mut bundles = BundleClient::new(channel.clone());
    let asked = bundles.get_bundle(GetBundleRequest { output_mask: None });
    let bundle = within("the bundle", asked).await??.into_inner();
    ensure!(!bundle.x509_authorities.is_empty(), "an empty bundle");
    let asked = GetAuthorizedEntriesRequest { output_mask: None };
    let mut entries = EntryClient::new(channel.clone());
    let entries = within("the entries", entries.get_authorized_entries(asked)).await??.into_inner().entries;
    ensure!(entries.len() == 1, "{} entries", entries.len());
    let csr = AgentByHand::request(&PrivateKey::generate(KeyType::EcP256)?, None)?;
    let params = vec![NewX509svidParams { entry_id: entry.to_owned(), csr }];
    let mut svids = SvidClient::new(channel);
    let answer = within("an SVID", svids.batch_new_x509svid(BatchNewX509svidRequest { params })).await??.into_inner();
    let status = answer.results.into_iter().next().and_then(|result| result.status).context("no result")?;
    ensure!(status.code == Code::Ok as i32, "{status:?}");
    Ok(())
}

#[test]
fn an_agent_that_has_just_renewed_goes_on_without_its_postgresql_and_after_it() -> Result<()> {
    row(async |scratch| renewed(scratch, Shared::on_postgres(scratch).await?).await)
}

#[test]
fn an_agent_that_has_just_renewed_goes_on_without_its_mariadb_and_after_it() -> Result<()> {
    row(async |scratch| renewed(scratch, Shared::on_mariadb(scratch).await?).await)
}

#[test]
fn an_agent_by_spires_rules_that_has_just_renewed_goes_on_without_its_postgresql_and_after_it() -> Result<()> {
    row(async |scratch| renewed_by_spires_rules(scratch, Shared::on_postgres(scratch).await?).await)
}

#[test]
fn an_agent_by_spires_rules_that_has_just_renewed_goes_on_without_its_mariadb_and_after_it() -> Result<()> {
    row(async |scratch| renewed_by_spires_rules(scratch, Shared::on_mariadb(scratch).await?).await)
}

async fn renewed(scratch: &Scratch, shared: Shared) -> Result<()> {
    let wire = Wire::to(shared.port).await?;
    let builder = Domain::builder().agent_ttl("60s");
    let mut site = Site::of(builder.database(shared.through(wire.port)), scratch).await?;
    site.agent.process()?.line("Successfully rotated agent SVID").await?;
    wire.cut();
    site.workloads_go_on("renewed").await?;
    // Started again it has to go over a new connection, and knows nothing.
    site.agent.stop().await?;
    site.agent.start().await?;
    let mut follower = site.agent.workload().follow();
    follower.until_id(WEB).await?;
    site.stream = follower.into_stream()?;

    wire.mend();
    site.goes_on_by_itself().await
}

async fn renewed_by_spires_rules(scratch: &Scratch, shared: Shared) -> Result<()> {
    let wire = Wire::to(shared.port).await?;
    let domain = Domain::builder().database(shared.through(wire.port)).start(scratch).await?;
    let port = Port::of(&domain).await?;
    let mut agent = AgentByHand::attest(&domain, &port).await?;
    let entry = domain.entry(agent.id.as_str(), "/web", &[]).await?;
    until("its entry", async || sync(&port, &agent.credential, &entry).await.ok()).await?;

    let renewed = agent.renew().await?;
    wire.cut();
    // From now on it shows the new one alone.
    for _ in 0..3 {
        sync(&port, &renewed, &entry).await?;
    }
    // Renewal waits, and says for how long.
    agent.show(&port, renewed.clone())?;
    let refused = agent.renew().await.err().context("it renewed")?;
    let status = refused.downcast_ref::<tonic::Status>().context("no status")?;
    ensure!(status.code() == Code::Unavailable && retry_delay(status).is_some(), "{status:?}");
    // One that lost the answer goes on with the SVID that it has.
    sync(&port, &agent.credential, &entry).await?;

    wire.mend();
    let again = until("another renewal", async || agent.renew().await.ok()).await?;
    sync(&port, &renewed, &entry).await?;
    sync(&port, &again, &entry).await?;
    let agents = domain.server.agents().await?;
    ensure!(agents.len() == 1 && agents[0]["id"]["path"] == agent.id.path(), "{agents:?}");
    Ok(())
}
