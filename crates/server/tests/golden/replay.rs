//! Runs the records of a file, one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use steeple_pki::PrivateKey;
use steeple_runtime::Clock;
use steeple_spiffe::Certificate;
use steeple_testkit::wire::{Received, Schema, Sent};
use steeple_transport::status::{code_name, denial_reason};
use steeple_transport::tls::Credential;
use tonic::Status;
use tonic::transport::Channel;

use crate::compare::{Comparison, compare};
use crate::record::{Action, Answers, Identity, Line, Record};
use crate::running::Running;
use crate::{data, effects};

/// A cache may be a moment behind: so long an answer that depends on it is asked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the stubs of methods that are not written say.
const UNBUILT: &str = "Not yet implemented";

/// The methods that are not written, by service. Any other that answers as a stub has been forgotten.
const UNBUILT_METHODS: &[(&str, &[&str])] = &[
    ("spire.api.server.debug.v1.Debug", &["GetInfo"]),
    (
        "spire.api.server.trustdomain.v1.TrustDomain",
        &[
            "ListFederationRelationships",
            "GetFederationRelationship",
            "BatchCreateFederationRelationship",
            "BatchUpdateFederationRelationship",
            "BatchDeleteFederationRelationship",
            "RefreshBundle",
        ],
    ),
    (
        "spire.api.server.localauthority.v1.LocalAuthority",
        &[
            "GetJWTAuthorityState",
            "PrepareJWTAuthority",
            "ActivateJWTAuthority",
            "TaintJWTAuthority",
            "RevokeJWTAuthority",
            "GetX509AuthorityState",
            "PrepareX509Authority",
            "ActivateX509Authority",
            "TaintX509Authority",
            "RevokeX509Authority",
            "TaintX509UpstreamAuthority",
            "RevokeX509UpstreamAuthority",
            "GetWITAuthorityState",
            "PrepareWITAuthority",
            "ActivateWITAuthority",
            "TaintWITAuthority",
            "RevokeWITAuthority",
        ],
    ),
];

/// Whether a method, by its path, is one of them.
fn is_unbuilt(path: &str) -> bool {
    UNBUILT_METHODS.iter().any(|(service, methods)| {
        let method = path.trim_start_matches('/').strip_prefix(service).and_then(|rest| rest.strip_prefix('/'));
        method.is_some_and(|method| methods.contains(&method))
    })
}

/// Why a record is not equal.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exception {
    /// On purpose.
    Differs(String),
    /// It needs what is not built yet.
    Unbuilt(String),
}

/// What an answer was.
pub(crate) struct Answer {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) details: Value,
    pub(crate) responses: Vec<Value>,
    /// Whether the connection was refused.
    pub(crate) refused: bool,
    pub(crate) called_at: SystemTime,
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

/// Replays a file and prints what came of it.
pub(crate) async fn file(name: &str) {
    let text = std::fs::read_to_string(data(&format!("{name}.jsonl"))).unwrap();
    let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exceptions = std::fs::read(data("exceptions.json")).unwrap();
    let mut exceptions: BTreeMap<String, BTreeMap<String, Exception>> = serde_json::from_slice(&exceptions).unwrap();
    let mut replay = Replay {
        schema: Schema::new(&[steeple_proto::descriptors::PACKAGED, tonic_health::pb::FILE_DESCRIPTOR_SET]),
        keys: keys(),
        running: None,
        answers: Answers::default(),
        exceptions: exceptions.remove(name).unwrap_or_default(),
        tally: Tally::default(),
    };
    for (i, line) in lines.iter().enumerate() {
        match (line, lines.get(i + 1)) {
            (Line::Record(record), _) => replay.record(record).await,
            (Line::Action(action), Some(Line::Record(next))) => replay.act(action, next).await,
            (Line::Action(_), _) => panic!("an action without a record after it"),
        }
    }
    let Replay { running, tally, exceptions, .. } = replay;
    if let Some(running) = running {
        running.stop().await;
    }
    let Tally { equal, differing, unbuilt, waiting, mut failing } = tally;
    failing.extend(exceptions.into_keys().map(|name| format!("{name}: is an exception, but there is no such record")));
    println!(
        "api: {name}: {equal} equal, {} differ on purpose, {unbuilt} not built yet, {} failing",
        differing.len(),
        failing.len()
    );
    differing.iter().for_each(|line| println!("    differs: {line}"));
    waiting.iter().for_each(|line| println!("    not built yet: {line}"));
    assert!(failing.is_empty(), "{name}:\n{}", failing.join("\n"));
}

struct Replay {
    schema: Schema,
    /// PEM, by name.
    keys: BTreeMap<String, String>,
    running: Option<Running>,
    answers: Answers,
    /// Those that have not come yet.
    exceptions: BTreeMap<String, Exception>,
    tally: Tally,
}

impl Replay {
    /// Starts or stops something, for the record that comes next.
    async fn act(&mut self, action: &Action, next: &Record) {
        match (action.action.as_str(), action.process.as_str()) {
            ("start-server", _) => self.running = Some(Running::start(&action.conf).await),
            // It attests by a plugin that is not built in yet.
            ("start-agent", "agent-pop") => {
                effects::attest_as_listed(self.running(), &next.responses[0]["agents"][0]).await;
            }
            ("stop", "agent-pop") => {}
            other => panic!("{other:?}"),
        }
    }

    async fn record(&mut self, record: &Record) {
        let exception = self.exceptions.remove(&record.name);
        let Some((answer, comparison)) = self.ask(record).await else {
            match exception {
                Some(Exception::Unbuilt(what)) => self.wait(record, &what),
                _ => self.fail(record, "needs the answer of a record that was not answered"),
            }
            return;
        };
        if answer.code == "OK" {
            self.answers.keep(&record.name, &answer.responses);
        }
        if is_unbuilt(&record.method) && !matches!(answer.code, "Unimplemented" | "PermissionDenied") && !answer.refused
        {
            self.fail(record, "its method is listed as not written, but answers");
        }
        match (comparison, exception) {
            (Comparison::Equal, None) => self.tally.equal += 1,
            (Comparison::Equal, Some(_)) => self.fail(record, "is an exception, but equal"),
            (_, None) if answer.is_stub() && is_unbuilt(&record.method) => self.tally.unbuilt += 1,
            (Comparison::Different(_), Some(Exception::Differs(why))) => {
                self.tally.differing.push(format!("{}: {why}", record.name));
            }
            (Comparison::Different(_), Some(Exception::Unbuilt(what))) => self.wait(record, &what),
            (Comparison::Different(how), None) => self.fail(record, &how),
        }
        if answer.code != record.code
            && let Some(request) = record.requests.first().and_then(|request| self.answers.fill(request))
        {
            let request = self.schema.encode_request(&record.method, &request);
            effects::of(self.running(), record, &request).await;
        }
    }

    /// None when the request needs an answer that there is not.
    async fn ask(&self, record: &Record) -> Option<(Answer, Comparison)> {
        let requests = record.requests.iter().map(|request| self.answers.fill(request)).collect::<Option<Vec<_>>>()?;
        if record.pause > 0.0 && record.method.ends_with("/AttestAgent") {
            effects::let_pass(self.running(), &requests[0], record.pause).await;
        }
        let deadline = Clock::system().now() + PATIENCE;
        loop {
            let channel = self.channel(record)?;
            let called_at = Clock::system().now();
            let sent = Sent { requests: requests.clone(), awaited: record.r#await.clone(), ..Sent::default() };
            let received = self.schema.call(channel, &record.method, sent).await;
            let answer = answer(received, called_at);
            let comparison = compare(record, &answer, &self.answers);
            // A record with a pause waits for a cache, and only looks. An agent that loses its right may have it until the
            // server's index has heard of it.
            let may_be_late = record.pause > 0.0 || (record.code == "PermissionDenied" && answer.code == "OK");
            let again = may_be_late && answer.code != "Unimplemented" && matches!(comparison, Comparison::Different(_));
            if !again || Clock::system().now() > deadline {
                return Some((answer, comparison));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn channel(&self, record: &Record) -> Option<Channel> {
        Some(match (record.caller.as_str(), &record.identity) {
            ("local", _) => self.running().local(),
            ("anonymous", _) => self.running().remote(None),
            (_, Some(identity)) => self.running().remote(Some(self.credential(identity)?)),
            (caller, None) => panic!("{caller} has no identity"),
        })
    }

    fn credential(&self, identity: &Identity) -> Option<Credential> {
        let Identity { cert_chain, key } = identity;
        let chain = self.answers.fill(cert_chain)?;
        let chain: Vec<_> = chain.as_array()?.iter().map(certificate).collect();
        let pem = match key.strip_prefix("file:") {
            Some(file) => std::fs::read_to_string(data(file)).unwrap(),
            None => self.keys[key].clone(),
        };
        let key = PrivateKey::from_pem(&pem).unwrap();
        Some(Credential::new(&chain, &key.to_pkcs8_der().unwrap()).unwrap())
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a server was started")
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
    let Received { responses, status } = received;
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
        code: code_name(status.code()),
        message: status.message().to_owned(),
        details,
        responses,
        refused,
        called_at,
    }
}

/// A certificate as the records have it.
pub(crate) fn certificate(der: &Value) -> Certificate {
    use base64::Engine;
    let der = base64::engine::general_purpose::STANDARD.decode(der.as_str().unwrap()).unwrap();
    Certificate::from_der(&der).unwrap()
}

/// The keys that callers have.
fn keys() -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Key {
        key_pem: String,
    }
    #[derive(Deserialize)]
    struct File {
        csrs: BTreeMap<String, Key>,
    }
    let file: File = serde_json::from_slice(&std::fs::read(data("api-csrs.json")).unwrap()).unwrap();
    let more: BTreeMap<String, Key> = serde_json::from_slice(&std::fs::read(data("csrs.json")).unwrap()).unwrap();
    file.csrs.into_iter().chain(more).map(|(name, key)| (name, key.key_pem)).collect()
}
