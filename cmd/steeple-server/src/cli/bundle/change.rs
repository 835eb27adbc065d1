use anyhow::{Context, anyhow, bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{
    BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest,
};
use steeple_proto::spire::api::types;
use steeple_transport::status::refused;

use super::document::DocumentFormat;
use crate::cli::client::ServerFlags;
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Brings the bundle of a foreign trust domain, in place of the one that there was.
pub(crate) async fn set(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut id, mut path, mut format) = (String::new(), String::new(), String::from(DocumentFormat::DEFAULT));
    let flags = FlagSet::new("bundle set")
        .flag("output", &mut output, Output::HELP)
        .flag("id", &mut id, "The trust `domain` whose bundle it is")
        .flag("path", &mut path, "The `file` with the bundle; standard input if there is none")
        .flag("format", &mut format, "The form of the file: pem or spiffe");
    usage::parse(server.add_to(flags), args)?;

    ensure!(!id.is_empty(), "id flag is required");
    let format = DocumentFormat::parse(&format)?;
    let document = console::read(if path.is_empty() { "-" } else { &path }).context("unable to load bundle data")?;
    let bundle = format.read(&id, &document)?;
    let server = server.server()?;
    let request = BatchSetFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
    let response = BundleClient::new(server.channel()).batch_set_federated_bundle(request).await;
    const FAILED: &str = "failed to set federated bundle";
    let response = response.map_err(|status| anyhow!("{FAILED}: {}", server.failed(&status)))?.into_inner();
    match output.format() {
        // Whoever reads JSON finds the failure in it: it does not fail the command.
        Format::Json => print_json(&json::bundles_set(&response)),
        Format::Pretty => {
            if let Some(refusal) = response.results.iter().find_map(|result| refusal(result.status.as_ref())) {
                bail!("{FAILED}: {refusal}");
            }
            console::out("bundle set.\n");
        }
    }
    Ok(())
}

/// Deletes the bundle of a foreign trust domain.
pub(crate) async fn delete(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut id, mut mode) = (String::new(), String::from("restrict"));
    let flags = FlagSet::new("bundle delete")
        .flag("output", &mut output, Output::HELP)
        .flag("id", &mut id, "The trust `domain` whose bundle it is")
        .flag(
            "mode",
            &mut mode,
            "What becomes of entries that federate with it: restrict (keep all), delete, dissociate",
        );
    usage::parse(server.add_to(flags), args)?;

    ensure!(!id.is_empty(), "id is required");
    let mode = match mode.as_str() {
        "" | "restrict" => Mode::Restrict,
        "delete" => Mode::Delete,
        "dissociate" => Mode::Dissociate,
        _ => bail!("unsupported mode {mode:?}"),
    };
    let server = server.server()?;
    let request = BatchDeleteFederatedBundleRequest { trust_domains: vec![id], mode: mode.into() };
    let response = BundleClient::new(server.channel()).batch_delete_federated_bundle(request).await;
    const FAILED: &str = "failed to delete federated bundle";
    let response = response.map_err(|status| anyhow!("{FAILED}: {}", server.failed(&status)))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::bundles_deleted(&response)),
        Format::Pretty => {
            for result in &response.results {
                if let Some(refusal) = refusal(result.status.as_ref()) {
                    bail!("{FAILED} {:?}: {refusal}", result.trust_domain);
                }
            }
            console::out("bundle deleted.\n");
        }
    }
    Ok(())
}

/// Why the server refused an item; None if it did not.
fn refusal(status: Option<&types::Status>) -> Option<&str> {
    refused(status).map(|status| status.message.as_str())
}
