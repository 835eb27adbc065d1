use anyhow::{anyhow, bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::trustdomain::v1::trust_domain_client::TrustDomainClient;
use steeple_proto::spire::api::server::trustdomain::v1::{
    BatchCreateFederationRelationshipRequest, BatchUpdateFederationRelationshipRequest,
};
use steeple_proto::spire::api::types;
use steeple_transport::status::refused;

use super::relationship::RelationshipFlags;
use super::{data, pretty};
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, refusal, usage};

/// Creates the relationship that the flags describe, or those in a file.
pub(crate) async fn create(args: &[String]) -> anyhow::Result<()> {
    let Asked { server, output, relationships } = Asked::parse("federation create", args)?;
    let federation_relationships = relationships.clone();
    let request = BatchCreateFederationRelationshipRequest { federation_relationships, output_mask: None };
    let response = TrustDomainClient::new(server.channel()).batch_create_federation_relationship(request).await;
    let response = response.map_err(|status| request_failed(&server, &status))?.into_inner();
    let results = response.results.into_iter().map(|result| (result.status, result.federation_relationship));
    print(output, "create", results.collect(), &relationships)
}

/// Replaces the relationship that the flags describe, or those in a file.
pub(crate) async fn update(args: &[String]) -> anyhow::Result<()> {
    let Asked { server, output, relationships } = Asked::parse("federation update", args)?;
    let federation_relationships = relationships.clone();
    let request =
        BatchUpdateFederationRelationshipRequest { federation_relationships, input_mask: None, output_mask: None };
    let response = TrustDomainClient::new(server.channel()).batch_update_federation_relationship(request).await;
    let response = response.map_err(|status| request_failed(&server, &status))?.into_inner();
    let results = response.results.into_iter().map(|result| (result.status, result.federation_relationship));
    print(output, "update", results.collect(), &relationships)
}

/// What a command line asks for.
struct Asked {
    server: Server,
    output: Output,
    relationships: Vec<types::FederationRelationship>,
}

impl Asked {
    fn parse(command: &'static str, args: &[String]) -> anyhow::Result<Self> {
        let (mut server, mut output, mut one) =
            (ServerFlags::default(), Output::default(), RelationshipFlags::default());
        let mut data = String::new();
        let flags = FlagSet::new(command).flag("output", &mut output, Output::HELP).flag(
            "data",
            &mut data,
            "A `file` with relationships in JSON, in place of the flags; -: standard input",
        );
        usage::parse(one.add_to(server.add_to(flags)), args)?;

        let relationships = if data.is_empty() {
            vec![one.relationship()?]
        } else {
            const BOTH: &str = "cannot use other flags to specify relationship fields when 'data' flag is set";
            ensure!(one.are_unset(), BOTH);
            data::relationships(&console::read(&data)?)?
        };
        Ok(Self { server: server.server()?, output, relationships })
    }
}

fn request_failed(server: &Server, status: &tonic::Status) -> anyhow::Error {
    anyhow!("request failed: {}", server.failed(status))
}

/// What became of the relationships that were asked for, in their order.
fn print(
    output: Output,
    verb: &str,
    results: Vec<(Option<types::Status>, Option<types::FederationRelationship>)>,
    asked: &[types::FederationRelationship],
) -> anyhow::Result<()> {
    if output.format() == Format::Json {
        // Whoever reads JSON finds the failures in it: they do not fail the command.
        print_json(&json::federation_relationships_written(&results));
        return Ok(());
    }
    for (_, written) in results.iter().filter(|(status, _)| refused(status.as_ref()).is_none()) {
        console::out(&format!("\n{}", written.as_ref().map(pretty::block).unwrap_or_default()));
    }
    let mut has_failed = false;
    for ((status, _), asked) in results.iter().zip(asked) {
        let Some(refused) = refused(status.as_ref()) else { continue };
        has_failed = true;
        console::out("\n");
        let (reason, block) = (refusal::reason(refused), pretty::block(asked));
        console::err(&format!("Failed to {verb} the following federation relationship {reason}:\n{block}"));
    }
    if has_failed {
        bail!("failed to {verb} one or more federation relationships");
    }
    Ok(())
}
