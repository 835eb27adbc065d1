use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{
    CountBundlesRequest, CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest,
    ListFederatedBundlesRequest, ListFederatedBundlesResponse,
};
use steeple_proto::spire::api::types;

use super::document::DocumentFormat;
use crate::cli::client::{Server, ServerFlags};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, json, usage};

/// Prints the bundle of the server's own trust domain.
pub(crate) async fn show(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let mut format = String::from(DocumentFormat::DEFAULT);
    let flags = FlagSet::new("bundle show").flag("output", &mut output, Output::HELP);
    let flags = flags.flag("format", &mut format, FORMAT);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let bundle = BundleClient::new(server.channel()).get_bundle(GetBundleRequest::default()).await;
    print(output.format(), &format, bundle.map_err(|status| server.failed(&status))?.into_inner())
}

/// Prints the bundles of foreign trust domains, or one of them.
pub(crate) async fn list(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut id, mut format) = (String::new(), String::from(DocumentFormat::DEFAULT));
    let flags = FlagSet::new("bundle list")
        .flag("output", &mut output, Output::HELP)
        .flag("id", &mut id, "The trust `domain` whose bundle to print; all if there is none")
        .flag("format", &mut format, FORMAT);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    if !id.is_empty() {
        let request = GetFederatedBundleRequest { trust_domain: id, output_mask: None };
        let bundle = BundleClient::new(server.channel()).get_federated_bundle(request).await;
        return print(output.format(), &format, bundle.map_err(|status| server.failed(&status))?.into_inner());
    }
    let bundles = all(&server).await?;
    match output.format() {
        Format::Json => {
            let next_page_token = String::new();
            print_json(&json::bundles(&ListFederatedBundlesResponse { bundles, next_page_token }));
        }
        Format::Pretty => {
            let mut documents = Vec::with_capacity(bundles.len());
            for bundle in bundles {
                let name = bundle.trust_domain.clone();
                documents.push(format!("{LINE}\n* {name}\n{LINE}\n{}", DocumentFormat::parse(&format)?.write(bundle)?));
            }
            console::out(&documents.join("\n"));
        }
    }
    Ok(())
}

/// Prints how many bundles there are, the server's own among them.
pub(crate) async fn count(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("bundle count").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = BundleClient::new(server.channel()).count_bundles(CountBundlesRequest {}).await;
    let CountBundlesResponse { count } = response.map_err(|status| server.failed(&status))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::count(count)),
        Format::Pretty => {
            let noun = if count == 1 { "bundle" } else { "bundles" };
            console::out(&format!("{count} {noun}\n"));
        }
    }
    Ok(())
}

const FORMAT: &str = "The form of a pretty bundle: pem or spiffe";
const LINE: &str = "****************************************";

/// Only for people the bundle becomes a document. Only now is the format looked at, as in the reference.
fn print(output: Format, format: &str, bundle: types::Bundle) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&json::bundle(&bundle)),
        Format::Pretty => console::out(&DocumentFormat::parse(format)?.write(bundle)?),
    }
    Ok(())
}

async fn all(server: &Server) -> anyhow::Result<Vec<types::Bundle>> {
    const PAGE_SIZE: i32 = 500;
    let mut client = BundleClient::new(server.channel());
    let (mut bundles, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListFederatedBundlesRequest { output_mask: None, page_size: PAGE_SIZE, page_token };
        let page = client.list_federated_bundles(request).await.map_err(|status| server.failed(&status))?.into_inner();
        bundles.extend(page.bundles);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(bundles);
        }
    }
}
