//! Calls that were recorded at the reference, and what ours answer.
//!
//! A file starts from nothing, and has a record a line, each with the effect of those before it. `exceptions.json` beside
//! it names the records that differ on purpose, those that need what is not built yet, and those that lack a part of it, with
//! what ours answers and a phrase of `docs/differences.md`; one that is equal all the same is a failure, so that the list can
//! only shrink.

mod compare;
mod decoded;
mod form;
mod ports;
mod record;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use steeple_pki::PrivateKey;
use steeple_runtime::Clock;
use steeple_spiffe::Certificate;
use steeple_transport::status::{code_name, denial_reason};
use steeple_transport::tls::Credential;
use tonic::Status;
use tonic::transport::Channel;

use crate::documented;
use crate::wire::{Received, Schema, Sent};
use compare::{Comparison, compare};
use record::{Answers, Line, Ours};

pub use ports::with_ports;
pub use record::{Action, Identity, Record};

/// A cache may be a moment behind: so long an answer that depends on it is asked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of a stream that had none.
const OPEN: &str = "OPEN";

/// What the stubs of methods that are not written say.
const UNBUILT: &str = "Not yet implemented";

/// Files of records.
pub struct Records {
    /// Where they are, with `exceptions.json`, and with the keys of callers in `api-csrs.json` and `csrs.json`.
    pub dir: PathBuf,
    /// The descriptors of what is called.
    pub descriptors: &'static [&'static [u8]],
    /// The methods that are not written, by service. Any other that answers as a stub has been forgotten.
    pub unbuilt: &'static [(&'static str, &'static [&'static str])],
    /// Whether it is the reference itself that answers, which may be equal where ours is not.
    pub is_reference: bool,
}

/// Where the calls go.
pub trait Place {
    /// Starts or stops a process, for the record that comes next.
    fn act(&mut self, action: &Action, next: &Record) -> impl Future<Output = ()>;

    /// A way to the process that a record calls, with what its caller shows.
    fn channel(&self, record: &Record, credential: Option<Credential>) -> Channel;

    /// Lets a record's pause pass, where time itself is what it waits for.
    fn let_pass(&self, _record: &Record, _request: &Value) -> impl Future<Output = ()> {
        async {}
    }

    /// Does what a call should have done that was answered otherwise, so that the records after it find what they expect.
    fn make_good(&self, _record: &Record, _request: &[u8]) -> impl Future<Output = ()> {
        async {}
    }
}

/// Why a record is not equal.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Exception {
    /// On purpose.
    Differs(Difference),
    /// It needs what is not built yet.
    Unbuilt(Difference),
    /// Equal but for list items of these names, each with what is not built yet: a phrase of `docs/differences.md`.
    Lacks(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    why: String,
    /// A phrase of `docs/differences.md`.
    documented: String,
    ours: Ours,
}

impl Exception {
    /// What is wrong with what it says of `docs/differences.md`.
    fn fault(&self) -> Option<String> {
        match self {
            Self::Differs(Difference { documented, .. }) | Self::Unbuilt(Difference { documented, .. }) => {
                documented::fault(documented)
            }
            Self::Lacks(names) => names.values().find_map(|phrase| documented::fault(phrase)),
        }
    }
}

/// What an answer was.
struct Answer {
    code: &'static str,
    message: String,
    details: Value,
    responses: Vec<Value>,
    /// Whether the connection was refused.
    refused: bool,
    called_at: SystemTime,
}

impl Answer {
    fn is_stub(&self) -> bool {
        self.code == "Unimplemented" && self.message == UNBUILT
    }
}

#[derive(Default)]
struct Tally {
    equal: usize,
    differing: Vec<String>,
    unbuilt: usize,
    waiting: Vec<String>,
    failing: Vec<String>,
}

impl Records {
    /// Replays `NAME.jsonl` and tells what came of it, for the log. Panics when a record is neither equal nor an exception.
    pub async fn replay(&self, name: &str, place: &mut impl Place) -> String {
        let text = std::fs::read_to_string(self.dir.join(format!("{name}.jsonl"))).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let exceptions = std::fs::read(self.dir.join("exceptions.json")).unwrap();
        let mut exceptions: BTreeMap<String, BTreeMap<String, Exception>> =
            serde_json::from_slice(&exceptions).unwrap();
        let mut replay = Replay {
            records: self,
            place,
            schema: Schema::new(self.descriptors),
            keys: self.keys(),
            answers: Answers::default(),
            exceptions: exceptions.remove(name).unwrap_or_default(),
            tally: Tally::default(),
        };
        for (i, line) in lines.iter().enumerate() {
            match line {
                Line::Record(record) => replay.record(record).await,
                Line::Action(action) => {
                    let next = lines[i..].iter().find_map(Line::record).expect("a record after each action");
                    replay.place.act(action, next).await;
                }
            }
        }
        let Replay { tally, exceptions, .. } = replay;
        let Tally { equal, differing, unbuilt, waiting, mut failing } = tally;
        failing
            .extend(exceptions.into_keys().map(|name| format!("{name}: is an exception, but there is no such record")));
        let mut told = format!(
            "api: {name}: {equal} equal, {} differ on purpose, {unbuilt} not built yet, {} failing",
            differing.len(),
            failing.len()
        );
        differing.iter().for_each(|line| told.push_str(&format!("\n    differs: {line}")));
        waiting.iter().for_each(|line| told.push_str(&format!("\n    not built yet: {line}")));
        assert!(failing.is_empty(), "{told}\n{}", failing.join("\n"));
        told
    }

    /// The keys that callers have, PEM, by name.
    fn keys(&self) -> BTreeMap<String, String> {
        #[derive(Deserialize)]
        struct Key {
            key_pem: String,
        }
        #[derive(Deserialize)]
        struct File {
            csrs: BTreeMap<String, Key>,
        }
        // There are none where all callers are processes of this host.
        let Ok(file) = std::fs::read(self.dir.join("api-csrs.json")) else { return BTreeMap::new() };
        let file: File = serde_json::from_slice(&file).unwrap();
        let more = std::fs::read(self.dir.join("csrs.json")).unwrap();
        let more: BTreeMap<String, Key> = serde_json::from_slice(&more).unwrap();
        file.csrs.into_iter().chain(more).map(|(name, key)| (name, key.key_pem)).collect()
    }

    /// Whether a method, by its path, is not written.
    fn is_unbuilt(&self, path: &str) -> bool {
        self.unbuilt.iter().any(|(service, methods)| {
            let method = path.trim_start_matches('/').strip_prefix(service).and_then(|rest| rest.strip_prefix('/'));
            method.is_some_and(|method| methods.contains(&method))
        })
    }
}

struct Replay<'a, P> {
    records: &'a Records,
    place: &'a mut P,
    schema: Schema,
    /// PEM, by name.
    keys: BTreeMap<String, String>,
    answers: Answers,
    /// Those that have not come yet.
    exceptions: BTreeMap<String, Exception>,
    tally: Tally,
}

impl<P: Place> Replay<'_, P> {
    async fn record(&mut self, record: &Record) {
        let exception = self.exceptions.remove(&record.name);
        if let Some(fault) = exception.as_ref().and_then(Exception::fault) {
            self.fail(record, &fault);
        }
        let expected = match &exception {
            Some(_) if self.records.is_reference => Cow::Borrowed(record),
            Some(Exception::Lacks(names)) => Cow::Owned(record.without(names)),
            Some(Exception::Differs(difference) | Exception::Unbuilt(difference)) => {
                Cow::Owned(record.answered(&difference.ours))
            }
            None => Cow::Borrowed(record),
        };
        let Some((answer, comparison)) = self.ask(&expected).await else {
            self.fail(record, "needs the answer of a record that was not answered");
            return;
        };
        let is_as_recorded = matches!(compare(record, &answer, &self.answers), Comparison::Equal);
        if answer.code == "OK" {
            self.answers.keep(&record.name, &answer.responses);
        }
        if self.records.is_unbuilt(&record.method)
            && !matches!(answer.code, "Unimplemented" | "PermissionDenied")
            && !answer.refused
        {
            self.fail(record, "its method is listed as not written, but answers");
        }
        match (comparison, exception) {
            (Comparison::Equal, None) => self.tally.equal += 1,
            (Comparison::Equal, Some(_)) if self.records.is_reference => self.tally.equal += 1,
            (_, Some(_)) if is_as_recorded => self.fail(record, "is an exception, but equal"),
            (Comparison::Equal, Some(Exception::Lacks(names))) => {
                names.iter().for_each(|(name, what)| self.wait(record, &format!("{name}: {what}; the rest is equal")));
            }
            (Comparison::Equal, Some(Exception::Differs(Difference { why, .. }))) => {
                self.tally.differing.push(format!("{}: {why}", record.name));
            }
            (Comparison::Equal, Some(Exception::Unbuilt(Difference { why, .. }))) => self.wait(record, &why),
            (_, None) if answer.is_stub() && self.records.is_unbuilt(&record.method) => self.tally.unbuilt += 1,
            (Comparison::Different(how), _) => self.fail(record, &how),
        }
        if answer.code != record.code
            && let Some(request) = record.requests.first().and_then(|request| self.answers.fill(request))
        {
            let request = self.schema.encode_request(&record.method, &request);
            self.place.make_good(record, &request).await;
        }
    }

    /// None when the request needs an answer that there is not.
    async fn ask(&self, record: &Record) -> Option<(Answer, Comparison)> {
        let requests = record.requests.iter().map(|request| self.answers.fill(request)).collect::<Option<Vec<_>>>()?;
        if record.pause > 0.0 {
            self.place.let_pass(record, &requests[0]).await;
        }
        let sent = Sent {
            requests,
            awaited: record.r#await.clone(),
            metadata: record.metadata(),
            most: record.max_responses.map(|most| (most, Duration::from_millis(record.hold_ms))),
            deadline: record.timeout_ms.map(Duration::from_millis),
        };
        let patience = PATIENCE.max(Duration::from_secs_f64(record.pause * 3.0));
        let deadline = Clock::system().now() + patience;
        let mut pause = Duration::from_millis(10);
        loop {
            let channel = self.channel(record)?;
            let called_at = Clock::system().now();
            let received = self.schema.call(channel, &record.method, sent.clone()).await;
            let answer = answer(received, called_at);
            let comparison = compare(record, &answer, &self.answers);
            // A record with a pause waits for a cache, and only looks. An agent that loses its right may have it until the
            // server's index has heard of it.
            let may_be_late = record.pause > 0.0
                || record.until.is_some()
                || (record.code == "PermissionDenied" && answer.code == "OK");
            let again = may_be_late && answer.code != "Unimplemented" && matches!(comparison, Comparison::Different(_));
            if !again || Clock::system().now() > deadline {
                return Some((answer, comparison));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    fn channel(&self, record: &Record) -> Option<Channel> {
        let credential = match &record.identity {
            Some(identity) => Some(self.credential(identity)?),
            None => None,
        };
        Some(self.place.channel(record, credential))
    }

    fn credential(&self, identity: &Identity) -> Option<Credential> {
        let Identity { cert_chain, key } = identity;
        let chain = self.answers.fill(cert_chain)?;
        let chain: Vec<_> = chain.as_array()?.iter().map(certificate).collect();
        let pem = match key.strip_prefix("file:") {
            Some(file) => std::fs::read_to_string(self.records.dir.join(file)).unwrap(),
            None => self.keys[key].clone(),
        };
        let key = PrivateKey::from_pem(&pem).unwrap();
        Some(Credential::new(&chain, &key.to_pkcs8_der().unwrap()).unwrap())
    }

    fn wait(&mut self, record: &Record, what: &str) {
        self.tally.unbuilt += 1;
        self.tally.waiting.push(format!("{}: {what}", record.name));
    }

    fn fail(&mut self, record: &Record, how: &str) {
        self.tally.failing.push(format!("{}: {how}", record.name));
    }
}

fn answer(received: Received, called_at: SystemTime) -> Answer {
    let Received { responses, status, open } = received;
    let status = status.unwrap_or_else(|| Status::new(tonic::Code::Ok, ""));
    let refused = std::error::Error::source(&status).is_some();
    let details = match denial_reason(&status) {
        Some(reason) => json!([{
            "@type": "type.googleapis.com/spire.api.types.PermissionDeniedDetails",
            "reason": reason.as_str_name(),
        }]),
        None => json!([]),
    };
    Answer {
        code: if open { OPEN } else { code_name(status.code()) },
        message: status.message().to_owned(),
        details,
        responses,
        refused,
        called_at,
    }
}

/// A certificate as the records have it.
fn certificate(der: &Value) -> Certificate {
    use base64::Engine;
    let der = base64::engine::general_purpose::STANDARD.decode(der.as_str().unwrap()).unwrap();
    Certificate::from_der(&der).unwrap()
}
