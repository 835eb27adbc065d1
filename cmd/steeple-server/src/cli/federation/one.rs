use anyhow::{anyhow, bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_config::quote::Quoted;
use steeple_proto::spire::api::server::trustdomain::v1::trust_domain_client::TrustDomainClient;
use steeple_proto::spire::api::server::trustdomain::v1::{
    BatchDeleteFederationRelationshipRequest, RefreshBundleRequest,
};
use steeple_proto::spire::api::types;
use steeple_transport::status::refused;
use tonic::Code;

use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Forgets the relationship with a trust domain; its bundle stays.
pub(crate) async fn delete(args: &[String]) -> anyhow::Result<()> {
    let (server, output, id) = parse("federation delete", args)?;
    let request = BatchDeleteFederationRelationshipRequest { trust_domains: vec![id] };
    let response = TrustDomainClient::new(server.channel()).batch_delete_federation_relationship(request).await;
    const FAILED: &str = "failed to delete federation relationship";
    let response = response.map_err(|status| anyhow!("{FAILED}: {}", server.failed(&status)))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::federation_relationships_deleted(&response)),
        Format::Pretty => {
            for result in &response.results {
                if let Some(refusal) = refused(result.status.as_ref()) {
                    bail!("{FAILED} {}: {}", Quoted(&result.trust_domain), refusal.message);
                }
            }
            console::out("federation relationship deleted.\n");
        }
    }
    Ok(())
}

/// Has the server fetch the bundle of a trust domain.
pub(crate) async fn refresh(args: &[String]) -> anyhow::Result<()> {
    let (server, output, id) = parse("federation refresh", args)?;
    let request = RefreshBundleRequest { trust_domain: id.clone() };
    match TrustDomainClient::new(server.channel()).refresh_bundle(request).await {
        Ok(_) => {}
        Err(status) if status.code() == Code::NotFound => {
            bail!("there is no federation relationship with trust domain {}", Quoted(&id));
        }
        Err(status) => bail!("failed to refresh bundle: {}", server.failed(&status)),
    }
    match output.format() {
        Format::Json => print_json(&json::status(&types::Status { code: 0, message: "OK".to_owned() })),
        Format::Pretty => console::out("Bundle refreshed\n"),
    }
    Ok(())
}

fn parse(command: &'static str, args: &[String]) -> anyhow::Result<(Server, Output, String)> {
    let (mut server, mut output, mut id) = (ServerFlags::default(), Output::default(), String::new());
    let flags = FlagSet::new(command).flag("output", &mut output, Output::HELP).flag(
        "id",
        &mut id,
        "The trust `domain` of the relationship",
    );
    usage::parse(server.add_to(flags), args)?;
    ensure!(!id.is_empty(), "id is required");
    Ok((server.server()?, output, id))
}
