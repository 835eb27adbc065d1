use anyhow::{bail, ensure};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchCreateEntryResponse, batch_create_entry_response,
};
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::entry::AdditionalAttributes;
use tonic::Code;

use super::{data, pretty};
use crate::cli::client::ServerFlags;
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, id, json, usage};

/// Creates the entry that the flags describe, or those in a file.
pub(crate) async fn create(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output, mut entry) = (ServerFlags::default(), Output::default(), EntryFlags::default());
    let mut data = String::new();
    let flags = FlagSet::new("entry create").flag("output", &mut output, Output::HELP).flag(
        "data",
        &mut data,
        "A `file` with entries in JSON, in place of the flags; -: standard input",
    );
    usage::parse(entry.add_to(server.add_to(flags)), args)?;

    let entries = if data.is_empty() { vec![entry.entry()?] } else { data::entries(&console::read(&data)?)? };
    let server = server.server()?;
    let request = BatchCreateEntryRequest { entries: entries.clone(), output_mask: None };
    let response = EntryClient::new(server.channel()).batch_create_entry(request).await;
    let BatchCreateEntryResponse { mut results } = response.map_err(|status| server.failed(&status))?.into_inner();
    // What failed is shown as it was asked for.
    for (result, requested) in results.iter_mut().zip(entries) {
        if failure(result).is_some() {
            result.entry = Some(requested);
        }
    }
    match output.format() {
        // Whoever reads JSON finds the failures in it: they do not fail the command.
        Format::Json => {
            print_json(&json::created(&BatchCreateEntryResponse { results }));
            Ok(())
        }
        Format::Pretty => print(&results),
    }
}

fn print(results: &[batch_create_entry_response::Result]) -> anyhow::Result<()> {
    let (failed, created): (Vec<_>, Vec<_>) = results.iter().partition(|result| failure(result).is_some());
    for entry in created.iter().filter_map(|result| result.entry.as_ref()) {
        console::out(&pretty::block(entry));
    }
    for result in &failed {
        let block = result.entry.as_ref().map(pretty::block).unwrap_or_default();
        let reason = failure(result).unwrap_or_default();
        console::err(&format!("Failed to create the following entry {reason}:\n{block}"));
    }
    ensure!(failed.is_empty(), "failed to create one or more entries");
    Ok(())
}

/// Why an entry was not created; `None` if it was.
fn failure(result: &batch_create_entry_response::Result) -> Option<String> {
    let status = result.status.as_ref().filter(|status| status.code != Code::Ok as i32)?;
    Some(pretty::reason(status))
}

/// The flags that describe an entry.
#[derive(Default)]
struct EntryFlags {
    entry_id: String,
    parent_id: String,
    spiffe_id: String,
    selectors: Vec<String>,
    x509_svid_ttl: i64,
    jwt_svid_ttl: i64,
    federates_with: Vec<String>,
    node: bool,
    admin: bool,
    store_svid: bool,
    downstream: bool,
    entry_expiry: i64,
    dns_names: Vec<String>,
    hint: String,
    disable_x509_svid_prefetch: bool,
    jwt_svid_include_jti: bool,
}

impl EntryFlags {
    fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self {
            entry_id,
            parent_id,
            spiffe_id,
            selectors,
            x509_svid_ttl,
            jwt_svid_ttl,
            federates_with,
            node,
            admin,
            store_svid,
            downstream,
            entry_expiry,
            dns_names,
            hint,
            disable_x509_svid_prefetch,
            jwt_svid_include_jti,
        } = self;
        flags
            .flag("entryID", entry_id, "The entry's own ID; the server makes one if there is none")
            .flag("parentID", parent_id, "The SPIFFE ID of the agent or server that may hold the SVID")
            .flag("spiffeID", spiffe_id, "The SPIFFE ID that the entry gives")
            .flag("selector", selectors, "A selector, `type:value`, of the workload; repeatable")
            .flag("x509SVIDTTL", x509_svid_ttl, "How many seconds an X509-SVID lives; 0: the server's default")
            .flag("jwtSVIDTTL", jwt_svid_ttl, "How many seconds a JWT-SVID lives; 0: the server's default")
            .flag("federatesWith", federates_with, "A `domain` whose bundle the workload needs; repeatable")
            .flag("node", node, "Give the SPIFFE ID to agents with these selectors rather than to workloads")
            .flag("admin", admin, "Let the SPIFFE ID use the server's administrative APIs")
            .flag("storeSVID", store_svid, "Have the SVID stored by a plugin of the agent")
            .flag("downstream", downstream, "The SPIFFE ID is that of a server below this one")
            .flag("entryExpiry", entry_expiry, "When the entry ends, in seconds since 1970; 0: never")
            .flag("dns", dns_names, "A DNS `name` in X509-SVIDs; repeatable")
            .flag("hint", hint, "What tells this entry from others of the same SPIFFE ID")
            .flag("disableX509SVIDPrefetch", disable_x509_svid_prefetch, "Sign X509-SVIDs on demand")
            .flag("jwtSVIDIncludeJTI", jwt_svid_include_jti, "Put a unique jti in JWT-SVIDs")
    }

    /// The entry. What is missing is told in this order, and before what is malformed.
    fn entry(self) -> anyhow::Result<types::Entry> {
        let Self {
            entry_id,
            parent_id,
            spiffe_id,
            selectors,
            x509_svid_ttl,
            jwt_svid_ttl,
            federates_with,
            node,
            admin,
            store_svid,
            downstream,
            entry_expiry,
            dns_names,
            hint,
            disable_x509_svid_prefetch,
            jwt_svid_include_jti,
        } = self;
        ensure!(!selectors.is_empty(), "at least one selector is required");
        ensure!(node || !parent_id.is_empty(), "a parent ID is required if the node flag is not set");
        ensure!(!spiffe_id.is_empty(), "a SPIFFE ID is required");
        if node && !federates_with.is_empty() {
            bail!("node entries can not federate");
        }
        ensure!(x509_svid_ttl >= 0, "a positive x509-SVID TTL is required");
        ensure!(jwt_svid_ttl >= 0, "a positive JWT-SVID TTL is required");

        let spiffe_id = id::parse(&spiffe_id)?;
        let parent_id = match node {
            true => types::Spiffeid { trust_domain: spiffe_id.trust_domain.clone(), path: "/spire/server".into() },
            false => id::parse(&parent_id)?,
        };
        let x509_svid_ttl = id::int32("X509 SVID TTL", x509_svid_ttl)?;
        let jwt_svid_ttl = id::int32("JWT SVID TTL", jwt_svid_ttl)?;
        let selectors = selectors.iter().map(|text| id::selector(text)).collect::<Result<_, _>>()?;
        let has_attributes = disable_x509_svid_prefetch || jwt_svid_include_jti;
        Ok(types::Entry {
            id: entry_id,
            spiffe_id: Some(spiffe_id),
            parent_id: Some(parent_id),
            selectors,
            x509_svid_ttl,
            federates_with,
            admin,
            downstream,
            expires_at: entry_expiry,
            dns_names,
            revision_number: 0,
            store_svid,
            jwt_svid_ttl,
            hint,
            created_at: 0,
            additional_attributes: has_attributes
                .then_some(AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti }),
        })
    }
}
