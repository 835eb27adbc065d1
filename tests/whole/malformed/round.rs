//! One round through the methods of a listener: what is sent, and how it may be answered.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use prost::Message;
use serde_json::{Map, Value};
use steeple_proto::spire::api::types;
use steeple_testkit::wire::Schema;
use steeple_testkit::wire::malformed::{Malformed, Wrong, framed, is_clear};
use steeple_testkit::wire::raw::{Answer, ask};
use steeple_tests::{say, within};
use steeple_transport::status::code_name;
use tonic::Code;
use tonic::transport::Channel;

use super::rows::Rows;

/// Good requests that are refused all the same: nothing is there that they could be about, or it is not built, here as in
/// SPIRE.
const REFUSED: &[&str] = &[
    "Activate",
    "Taint",
    "Revoke",
    "RefreshBundle",
    "WITAuthority",
    "BatchNewWIT",
    "MintWIT",
    "FetchWIT",
    "Health/Watch",
];

/// The tables that the methods of a service may write.
const WRITERS: &[(&str, &[&str])] = &[
    (
        "spire.api.server.entry.v1.Entry/Batch",
        &[
            "registered_entries",
            "selectors",
            "dns_names",
            "federated_registration_entries",
            "registered_entries_events",
        ],
    ),
    (
        "spire.api.server.agent.v1.Agent/",
        &[
            "attested_node_entries",
            "node_resolver_map_entries",
            "attested_node_entries_events",
            "join_tokens",
            "steeple_used_join_tokens",
            "registered_entries",
            "selectors",
            "registered_entries_events",
        ],
    ),
    (
        "spire.api.server.bundle.v1.Bundle/",
        &[
            "bundles",
            "federated_trust_domains",
            "federated_registration_entries",
            "registered_entries_events",
            "registered_entries",
        ],
    ),
    ("spire.api.server.trustdomain.v1.TrustDomain/Batch", &["federated_trust_domains", "bundles"]),
    ("spire.api.server.localauthority.v1.LocalAuthority/Prepare", &["bundles", "ca_journals"]),
];

/// The answer to a batch, whichever it is: the result of each item begins with its status.
#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    results: Vec<BatchItem>,
}

#[derive(Clone, PartialEq, Message)]
struct BatchItem {
    #[prost(message, optional, tag = "1")]
    status: Option<types::Status>,
}

/// A round through methods.
pub(super) struct Round<'a> {
    /// What it is called, for the log.
    pub(super) name: &'a str,
    pub(super) schema: &'a Schema,
    /// Good requests by method.
    pub(super) requests: &'a Map<String, Value>,
    /// What each call has beside its message.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// What calls could change, if they could change anything.
    pub(super) rows: Option<&'a mut Rows>,
}

impl Round<'_> {
    /// Sends each of these methods everything that is wrong with a request, and then a good one.
    pub(super) async fn run(&mut self, methods: &[(&str, &Channel)]) -> Result<()> {
        let (mut codes, mut failing) = (BTreeMap::<_, usize>::new(), Vec::new());
        for (method, channel) in methods {
            let good = self.requests.get(*method).with_context(|| format!("there is no request for {method}"))?;
            let good = self.schema.encode_request(method, good);
            let mut was_done = REFUSED.iter().any(|name| method.contains(name));
            let mut all = self.schema.malformed(method, &good);
            all.push(Malformed {
                name: "nothing is wrong".to_owned(),
                wrong: Wrong::Content,
                headers: &[],
                body: framed(0, good.len(), &good).into(),
            });
            for malformed in all {
                match self.judge(method, channel, &malformed).await {
                    Ok((code, is_done)) => {
                        was_done |= is_done;
                        *codes.entry(code_name(code)).or_default() += 1;
                    }
                    Err(error) => failing.push(format!("{method}: {}: {error:#}", malformed.name)),
                }
            }
            if !was_done {
                failing.push(format!("{method}: not even the good request is done"));
            }
        }
        let count: usize = codes.values().sum();
        say(&format!("malformed: {}: {count} requests to {} methods: {codes:?}", self.name, methods.len()));
        ensure!(failing.is_empty(), "{}", failing.join("\n"));
        Ok(())
    }

    /// Sends one; fails when it is answered, or something is changed, as must not be. Returns the answer's code, and whether
    /// what was asked, or a part of it, was done.
    async fn judge(&mut self, method: &str, channel: &Channel, malformed: &Malformed) -> Result<(Code, bool)> {
        let Malformed { name: _, wrong, headers, body } = malformed;
        let headers = [self.headers, headers].concat();
        let asked = ask(channel, method, &headers, body.clone(), self.schema.streams_answers(method));
        let Answer { status, message } = within("an answer", asked).await?.map_err(|error| anyhow!(error))?;
        let code = status.code();
        // The library that answers to reflection ends the stream in order when it cannot read.
        let is_lenient = method.starts_with("/grpc.reflection.");
        let as_it_should = match wrong {
            Wrong::Content => is_clear(code, status.message()),
            Wrong::Message => is_clear(code, status.message()) && (code != Code::Ok || is_lenient),
            Wrong::Size => is_lenient || status.message().contains("large"),
            // What it breaks is the framing of gRPC itself.
            Wrong::Frame => is_clear(code, status.message()) || code == Code::Internal && !status.message().is_empty(),
        };
        ensure!(as_it_should, "{status:?}");
        let mut is_done = code == Code::Ok;
        if is_done && method.contains("/Batch") {
            let Batch { results } = Batch::decode(message.unwrap_or_default()).context("results")?;
            let statuses: Vec<_> = results.into_iter().map(|result| result.status.unwrap_or_default()).collect();
            for status in &statuses {
                ensure!(is_clear(Code::from_i32(status.code), &status.message), "an item: {status:?}");
            }
            is_done = statuses.iter().any(|status| status.code == 0);
        }
        if let Some(rows) = &mut self.rows {
            let changed = rows.changed().await?;
            let writes = WRITERS.iter().find(|(of, _)| method.trim_start_matches('/').starts_with(of));
            let may_change = writes.map_or(&[][..], |(_, tables)| *tables);
            let changed: Vec<_> = changed.iter().filter(|table| !is_done || !may_change.contains(&&***table)).collect();
            ensure!(changed.is_empty(), "{status:?}, and {changed:?} are not as they were");
        }
        Ok((code, is_done))
    }
}
