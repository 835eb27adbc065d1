use anyhow::{anyhow, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::trustdomain::v1::trust_domain_client::TrustDomainClient;
use steeple_proto::spire::api::server::trustdomain::v1::{
    GetFederationRelationshipRequest, ListFederationRelationshipsRequest, ListFederationRelationshipsResponse,
};
use steeple_proto::spire::api::types;

use super::pretty;
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Prints all relationships.
pub(crate) async fn list(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("federation list").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let federation_relationships = all(&server.server()?).await?;
    match output.format() {
        Format::Json => {
            let next_page_token = String::new();
            let response = ListFederationRelationshipsResponse { federation_relationships, next_page_token };
            print_json(&json::federation_relationships(&response));
        }
        Format::Pretty => {
            let noun = if federation_relationships.len() == 1 { "relationship" } else { "relationships" };
            let count = federation_relationships.len();
            let blocks = federation_relationships.iter().map(|it| format!("\n{}", pretty::block(it)));
            console::out(&format!("Found {count} federation {noun}\n{}", blocks.collect::<String>()));
        }
    }
    Ok(())
}

/// Prints the relationship with one trust domain.
pub(crate) async fn show(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut trust_domain) = (ServerFlags::default(), Output::default(), String::new());
    let flags = FlagSet::new("federation show").flag("output", &mut output, Output::HELP).flag(
        "trustDomain",
        &mut trust_domain,
        "The trust `domain` of the relationship",
    );
    usage::parse(server.add_to(flags), args)?;

    ensure!(!trust_domain.is_empty(), "a trust domain name is required");
    let server = server.server()?;
    let request = GetFederationRelationshipRequest { trust_domain, output_mask: None };
    let response = TrustDomainClient::new(server.channel()).get_federation_relationship(request).await;
    const FAILED: &str = "error showing federation relationship";
    let relationship = response.map_err(|status| anyhow!("{FAILED}: {}", server.failed(&status)))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::federation_relationship(&relationship)),
        Format::Pretty => {
            let types::FederationRelationship { trust_domain, .. } = &relationship;
            let block = pretty::block(&relationship);
            console::out(&format!("Found a federation relationship with trust domain {trust_domain}:\n\n{block}"));
        }
    }
    Ok(())
}

async fn all(server: &Server) -> anyhow::Result<Vec<types::FederationRelationship>> {
    const PAGE_SIZE: i32 = 500;
    let mut client = TrustDomainClient::new(server.channel());
    let (mut relationships, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListFederationRelationshipsRequest { output_mask: None, page_size: PAGE_SIZE, page_token };
        let page = client.list_federation_relationships(request).await;
        let page = page.map_err(|status| anyhow!("error listing federation relationship: {}", server.failed(&status)));
        let page = page?.into_inner();
        relationships.extend(page.federation_relationships);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(relationships);
        }
    }
}
