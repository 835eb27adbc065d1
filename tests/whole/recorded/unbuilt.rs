//! Recorded calls of services that are not built yet: each by its name, so that nobody takes them for covered.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow, ensure};
use prost::bytes::Bytes;
use serde::Deserialize;
use steeple_testkit::documented;
use steeple_testkit::wire::raw;
use steeple_tests::{Binaries, case, say};
use steeple_transport::dial;
use tonic::Code;

use super::admin::administered;

/// The recorded calls of one file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unbuilt {
    /// What is not built yet: a phrase of `docs/differences.md`.
    what: String,
    service: String,
    /// A method of it.
    method: String,
    caller: String,
    /// Their names.
    records: Vec<String>,
}

/// An empty message.
const EMPTY: Bytes = Bytes::from_static(&[0; 5]);

#[test]
fn what_was_recorded_of_services_that_are_not_built_is_listed_until_they_answer() -> Result<()> {
    let files: BTreeMap<String, Unbuilt> = serde_json::from_str(include_str!("../data/api/unbuilt.json"))?;
    case(async |scratch| {
        let (_domain, agent) = administered(scratch).await?;
        for (file, unbuilt) in &files {
            let Unbuilt { what, service, method, caller, records } = unbuilt;
            if let Some(fault) = documented::fault(what) {
                return Err(anyhow!("{file}: {fault}"));
            }
            let names: BTreeSet<&String> = records.iter().collect();
            ensure!(!names.is_empty() && names.len() == records.len(), "{file}: a record is listed twice, or none is");
            say(&format!("api: {file}: {} not built yet: {what}", records.len()));
            records.iter().for_each(|name| say(&format!("    not built yet: {name}")));
            if Binaries::find()?.agent.is_reference {
                continue;
            }
            let socket = match caller.as_str() {
                "agent-admin" => scratch.path().join("admin/admin.sock"),
                _ => agent.socket.clone(),
            };
            let answer = raw::ask(&dial::local(socket), &format!("/{service}/{method}"), &[], EMPTY, false).await;
            let status = answer.map_err(|error| anyhow!(error))?.status;
            ensure!(
                status.code() == Code::Unimplemented && status.message() == format!("unknown service {service}"),
                "{file}: {service} answers {status:?}: its records can be replayed"
            );
        }
        Ok(())
    })
}
