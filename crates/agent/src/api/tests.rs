//! The Workload API as a workload sees it: over a Unix socket, with this process as the caller.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use prost_types::value::Kind;
use serde_json::json;
use steeple_catalog::workload_attestor::Plugin;
use steeple_catalog::{PluginError, WorkloadAttestor};
use steeple_proto::spire::api::types;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse, WitBundlesRequest,
    WitsvidRequest, X509BundlesRequest, X509svidRequest, X509svidResponse,
};
use steeple_runtime::Shutdown;
use steeple_spiffe::{JwtSvid, X509Svid};
use steeple_testkit::Ca;
use steeple_testkit::server::{Misbehaviour, entry};
use steeple_testkit::wire::{Schema, Sent};
use steeple_transport::dial;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

mod reflection;
mod standard;

use super::*;
use crate::cache::{Cache, CachedBundle, Entry, Store};
use crate::config::RateLimits;
use crate::jwt::{self, JwtSvids};
use crate::tests::{HOUR, Host, SECOND, svid_for};
use crate::workload::Attestor;

/// Says of every process what it is told to say.
#[derive(Clone)]
struct Says(Arc<Mutex<Result<Vec<&'static str>, PluginError>>>);

#[async_trait]
impl Plugin for Says {
    async fn attest(&self, pid: i32) -> Result<Vec<String>, PluginError> {
        assert_eq!(pid, i32::try_from(std::process::id()).unwrap());
        let says = self.0.lock().unwrap().clone()?;
        Ok(says.into_iter().map(str::to_owned).collect())
    }
}

/// A running Workload API, and the writer of what it knows.
struct Case {
    host: Host,
    store: Mutex<Store>,
    unix: Says,
    docker: Says,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), EndpointError>>,
}

type Client = SpiffeWorkloadApiClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

impl Case {
    /// For a process of `unix:uid:1`.
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let host = Host::new().await;
        let (cache, mut store) = Cache::new(host.ca.trust_domain().clone(), 100);
        store.put_bundle(CachedBundle::from_api(host.ca.api_bundle()).unwrap());
        store.publish(host.manual.now());
        let says = |values| Says(Arc::new(Mutex::new(Ok(values))));
        let (unix, docker) = (says(vec!["uid:1"]), says(Vec::new()));
        let plugins = vec![
            WorkloadAttestor::new("unix", Arc::new(unix.clone())),
            WorkloadAttestor::new("docker", Arc::new(docker.clone())),
        ];
        let parts = Parts {
            attestor: Arc::new(Attestor::new(plugins)),
            jwt_svids: Arc::new(JwtSvids::new(
                host.attested(),
                cache.clone(),
                host.manual.clock(),
                jwt::Options { size: 100, hit_timeout: SECOND * 5 },
            )),
            cache,
            clock: host.manual.clock(),
            tracer: None,
            options,
        };
        let endpoint = Endpoint::bind(host.dir.path().join("api.sock"), parts).await.unwrap();
        let shutdown = Shutdown::new();
        let running = tokio::spawn(endpoint.run(shutdown.clone()));
        Self { host, store: Mutex::new(store), unix, docker, shutdown, running }
    }

    fn channel(&self) -> Channel {
        dial::local(self.host.dir.path().join("api.sock"))
    }

    fn client(&self) -> Client {
        fn with_header(mut request: Request<()>) -> Result<Request<()>, Status> {
            request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
            Ok(request)
        }
        SpiffeWorkloadApiClient::with_interceptor(self.channel(), with_header)
    }

    /// Puts entries in, and makes their SVIDs.
    fn put(&self, entries: impl IntoIterator<Item = types::Entry>) {
        self.put_without_svids(entries);
        self.mint();
    }

    fn put_without_svids(&self, entries: impl IntoIterator<Item = types::Entry>) {
        let mut store = self.store.lock().unwrap();
        for entry in entries {
            self.host.server.change(|script| script.entries.push(entry.clone()));
            store.put_entry(Entry::from_api(entry).unwrap());
        }
        store.publish(self.host.manual.now());
    }

    fn mint(&self) {
        let (mut store, now) = (self.store.lock().unwrap(), self.host.manual.now());
        // One class after the other.
        loop {
            let (_, due) = store.take_due(now, usize::MAX);
            if due.is_empty() {
                break;
            }
            for entry in due {
                store.minted(&entry.id, svid_for(&self.host.ca, &entry, now, now + HOUR / 2));
            }
        }
        store.publish(self.host.manual.now());
    }

    fn remove(&self, id: &str) {
        let mut store = self.store.lock().unwrap();
        store.remove_entry(id);
        store.publish(self.host.manual.now());
    }

    fn put_bundle(&self, ca: &Ca) {
        let mut store = self.store.lock().unwrap();
        store.put_bundle(CachedBundle::from_api(ca.api_bundle()).unwrap());
        store.publish(self.host.manual.now());
    }

    /// An entry `id` for `/id`, and processes with one selector.
    fn of(&self, id: &str, selector: &str) -> types::Entry {
        entry(id, &self.host.ca.id(&format!("/{id}")), &[selector])
    }

    async fn follow(&self) -> Streaming<X509svidResponse> {
        self.client().fetch_x509svid(X509svidRequest {}).await.unwrap().into_inner()
    }

    async fn fetch_jwt(&self, audience: &[&str], id: &str) -> Result<Vec<(String, String)>, Status> {
        let audience = audience.iter().map(|audience| (*audience).to_owned()).collect();
        let request = JwtsvidRequest { audience, spiffe_id: id.to_owned() };
        let answer = self.client().fetch_jwtsvid(request).await?.into_inner();
        Ok(answer.svids.into_iter().map(|svid| (svid.spiffe_id, svid.svid)).collect())
    }

    async fn validate(&self, audience: &str, svid: &str) -> Result<ValidateJwtsvidResponse, Status> {
        let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
        self.client().validate_jwtsvid(request).await.map(tonic::Response::into_inner)
    }
}

fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("it is refused");
    (status.code(), status.message().to_owned())
}

fn ids(response: &X509svidResponse) -> Vec<&str> {
    response.svids.iter().map(|svid| &*svid.spiffe_id).collect()
}

fn no_identity() -> (Code, String) {
    (Code::PermissionDenied, "no identity issued".to_owned())
}

#[tokio::test]
async fn nothing_is_answered_without_the_security_header() {
    let case = Case::with(Options { allow_unauthenticated_verifiers: true, ..Options::default() }).await;
    case.put([case.of("a", "unix:uid:1")]);
    let missing = (Code::InvalidArgument, "security header missing from request".to_owned());
    let mut bare = SpiffeWorkloadApiClient::new(case.channel());
    // Letter by letter and once; what the recorded calls had, and a value that spaces make another.
    for values in [&[][..], &["false"], &["True"], &[""], &[" true "], &["true", "true"], &["false", "true"]] {
        fn with<T: Default>(values: &[&str]) -> Request<T> {
            let mut request = Request::new(T::default());
            for value in values {
                request.metadata_mut().append("workload.spiffe.io", value.parse().unwrap());
            }
            request
        }
        let refusals = [
            refusal(bare.fetch_x509svid(with(values)).await),
            refusal(bare.fetch_x509_bundles(with(values)).await),
            refusal(bare.fetch_jwt_bundles(with(values)).await),
            refusal(bare.fetch_jwtsvid(with(values)).await),
            refusal(bare.validate_jwtsvid(with(values)).await),
            refusal(bare.fetch_witsvid(with(values)).await),
            refusal(bare.fetch_wit_bundles(with(values)).await),
        ];
        for refused in refusals {
            assert_eq!(refused, missing, "{values:?}");
        }
    }
}

#[tokio::test]
async fn a_process_gets_its_svid_with_key_and_bundles() {
    let case = Case::new().await;
    let partner = Ca::new("partner.org", case.host.manual.now());
    case.put_bundle(&partner);
    let federated = types::Entry {
        federates_with: vec!["partner.org".to_owned()],
        hint: "internal".to_owned(),
        ..case.of("a", "unix:uid:1")
    };
    case.put([federated, case.of("b", "unix:uid:2")]);
    let response = case.follow().await.message().await.unwrap().unwrap();
    assert_eq!(ids(&response), ["spiffe://example.org/a"]);
    let [svid] = &response.svids[..] else { panic!("one SVID") };
    let parsed = X509Svid::parse(&svid.x509_svid, &svid.x509_svid_key).unwrap();
    assert_eq!(parsed.id.as_str(), svid.spiffe_id);
    assert_eq!((&*svid.bundle, &*svid.hint), (case.host.ca.root().der(), "internal"));
    assert_eq!(response.federated_bundles["spiffe://partner.org"], partner.root().der());
}

#[tokio::test]
async fn a_process_without_an_identity_is_denied() {
    let case = Case::new().await;
    case.put([case.of("b", "unix:uid:2")]);
    let denied = case.follow().await.message().await;
    assert_eq!(refusal(denied), no_identity());
    let mut client = case.client();
    let denied = client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner().message().await;
    assert_eq!(refusal(denied), no_identity());
    let denied = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap().into_inner().message().await;
    assert_eq!(refusal(denied), no_identity());
    assert_eq!(refusal(case.fetch_jwt(&["db"], "").await), no_identity());
}

#[tokio::test]
async fn a_stream_tells_each_change_and_ends_with_the_last_identity() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    let mut stream = case.follow().await;
    assert_eq!(ids(&stream.message().await.unwrap().unwrap()), ["spiffe://example.org/a"]);
    case.put([case.of("b", "unix:uid:1")]);
    // The new identity may be told together with its SVID, or after the old one was told once more.
    while ids(&stream.message().await.unwrap().unwrap()).len() < 2 {}
    case.put([case.of("c", "unix:uid:3")]);
    assert!(stream.message().now_or_never().is_none(), "another's change is told");
    case.remove("a");
    assert_eq!(ids(&stream.message().await.unwrap().unwrap()), ["spiffe://example.org/b"]);
    case.remove("b");
    assert_eq!(refusal(stream.message().await), no_identity());
}

#[tokio::test]
async fn a_rotated_svid_is_told() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    let mut stream = case.follow().await;
    let first = stream.message().await.unwrap().unwrap();
    case.host.manual.advance(HOUR / 2);
    case.mint();
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&first), ids(&second));
    assert_ne!(first.svids[0].x509_svid, second.svids[0].x509_svid);
    assert_ne!(first.svids[0].x509_svid_key, second.svids[0].x509_svid_key);
}

#[tokio::test]
async fn a_first_answer_waits_for_the_svid() {
    let case = Case::new().await;
    case.put_without_svids([case.of("a", "unix:uid:1")]);
    let mut stream = case.follow().await;
    assert!(stream.message().now_or_never().is_none());
    case.mint();
    assert_eq!(ids(&stream.message().await.unwrap().unwrap()), ["spiffe://example.org/a"]);
}

#[tokio::test]
async fn an_identity_that_replaces_the_last_one_is_told_with_its_svid() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    let mut stream = case.follow().await;
    stream.message().await.unwrap().unwrap();
    // In one publication: there is an identity all the time, but for a moment none with an SVID.
    let entry = Entry::from_api(case.of("b", "unix:uid:1")).unwrap();
    {
        let mut store = case.store.lock().unwrap();
        store.remove_entry("a");
        store.put_entry(entry);
        store.publish(case.host.manual.now());
    }
    assert!(stream.message().now_or_never().is_none());
    case.mint();
    assert_eq!(ids(&stream.message().await.unwrap().unwrap()), ["spiffe://example.org/b"]);
}

#[tokio::test]
async fn each_call_attests_its_process_anew() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1"), case.of("b", "unix:uid:2")]);
    assert_eq!(ids(&case.follow().await.message().await.unwrap().unwrap()), ["spiffe://example.org/a"]);
    *case.unix.0.lock().unwrap() = Ok(vec!["uid:2"]);
    assert_eq!(ids(&case.follow().await.message().await.unwrap().unwrap()), ["spiffe://example.org/b"]);
}

#[tokio::test]
async fn selectors_of_all_attestors_count_and_one_that_fails_costs_its_own() {
    let case = Case::new().await;
    *case.docker.0.lock().unwrap() = Ok(vec!["label:web"]);
    let both = entry("both", &case.host.ca.id("/both"), &["unix:uid:1", "docker:label:web"]);
    case.put([both, case.of("a", "unix:uid:1")]);
    let response = case.follow().await.message().await.unwrap().unwrap();
    assert_eq!(ids(&response), ["spiffe://example.org/a", "spiffe://example.org/both"]);
    let failure = || Err(PluginError::internal("out of order"));
    *case.docker.0.lock().unwrap() = failure();
    assert_eq!(ids(&case.follow().await.message().await.unwrap().unwrap()), ["spiffe://example.org/a"]);

    *case.unix.0.lock().unwrap() = failure();
    let failed = (Code::Unavailable, "workload attestation failed".to_owned());
    assert_eq!(refusal(case.client().fetch_x509svid(X509svidRequest {}).await), failed);
    assert_eq!(refusal(case.fetch_jwt(&["db"], "").await), failed);
    // An attestor that has nothing to say has not failed.
    *case.unix.0.lock().unwrap() = Ok(Vec::new());
    assert_eq!(refusal(case.follow().await.message().await), no_identity());
}

#[tokio::test]
async fn bundle_streams_tell_bundles_and_nothing_of_svids() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    let mut client = case.client();
    let mut x509 = client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner();
    let mut jwt = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap().into_inner();
    let bundles = x509.message().await.unwrap().unwrap().bundles;
    assert_eq!(bundles.len(), 1);
    assert_eq!(bundles["spiffe://example.org"], case.host.ca.root().der());
    let bundles = jwt.message().await.unwrap().unwrap().bundles;
    let own = steeple_spiffe::bundle::jwks::parse_jwt_keys_document(
        case.host.ca.trust_domain(),
        &bundles["spiffe://example.org"],
    );
    assert_eq!(own.unwrap().jwt_authorities[0].key_id, case.host.ca.bundle().jwt_authorities[0].key_id);

    case.host.manual.advance(HOUR / 2);
    case.mint();
    assert!(x509.message().now_or_never().is_none() && jwt.message().now_or_never().is_none());
    let rotated = Ca::new("example.org", case.host.manual.now());
    case.put_bundle(&rotated);
    let bundles = x509.message().await.unwrap().unwrap().bundles;
    assert_eq!(bundles["spiffe://example.org"], rotated.root().der());
    jwt.message().await.unwrap().unwrap();
    case.remove("a");
    assert_eq!(refusal(x509.message().await), no_identity());
    assert_eq!(refusal(jwt.message().await), no_identity());
}

#[tokio::test]
async fn verifiers_without_an_identity_get_the_own_bundle_where_that_is_allowed() {
    let case = Case::with(Options { allow_unauthenticated_verifiers: true, ..Options::default() }).await;
    case.put_bundle(&Ca::new("partner.org", case.host.manual.now()));
    let mut client = case.client();
    let mut x509 = client.fetch_x509_bundles(X509BundlesRequest {}).await.unwrap().into_inner();
    let bundles = x509.message().await.unwrap().unwrap().bundles;
    assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
    let mut jwt = client.fetch_jwt_bundles(JwtBundlesRequest {}).await.unwrap().into_inner();
    let bundles = jwt.message().await.unwrap().unwrap().bundles;
    assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
    // An identity is still asked for where there must be one.
    assert_eq!(refusal(case.follow().await.message().await), no_identity());
}

#[tokio::test]
async fn a_token_is_fetched_for_each_identity_or_the_one_that_is_wanted() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1"), case.of("b", "unix:uid:1"), case.of("c", "unix:uid:2")]);
    let all = case.fetch_jwt(&["db", "web"], "").await.unwrap();
    let ids: Vec<_> = all.iter().map(|(id, _)| &**id).collect();
    assert_eq!(ids, ["spiffe://example.org/a", "spiffe://example.org/b"]);
    let token = JwtSvid::parse_unverified(&all[1].1).unwrap();
    assert_eq!((token.id.as_str(), token.audience), (ids[1], vec!["db".to_owned(), "web".to_owned()]));
    let one = case.fetch_jwt(&["db", "web"], "spiffe://example.org/b").await.unwrap();
    assert_eq!(one, all[1..]);
    assert_eq!(refusal(case.fetch_jwt(&["db"], "spiffe://example.org/c").await), no_identity());
}

#[tokio::test]
async fn a_request_for_a_token_that_says_too_little_is_refused() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    assert_eq!(
        refusal(case.fetch_jwt(&[], "").await),
        (Code::InvalidArgument, "audience must be specified".to_owned())
    );
    let (code, message) = refusal(case.fetch_jwt(&["db"], "no id").await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("invalid requested SPIFFE ID: "), "{message}");
}

#[tokio::test]
async fn a_token_that_the_server_does_not_give_is_unavailable() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    let refused = Misbehaviour::Refuse(Status::internal("broken"));
    case.host.server.misbehave("NewJWTSVID", Some(refused));
    let message = "could not fetch JWT-SVID: failed to fetch JWT SVID: rpc error: code = Internal desc = broken";
    assert_eq!(refusal(case.fetch_jwt(&["db"], "").await), (Code::Unavailable, message.to_owned()));
}

fn claim(response: &ValidateJwtsvidResponse, name: &str) -> Option<Kind> {
    response.claims.as_ref().unwrap().fields.get(name).map(|value| value.kind.clone().unwrap())
}

#[tokio::test]
async fn a_token_of_the_own_trust_domain_is_validated_for_anybody() {
    let case = Case::new().await;
    let now = case.host.manual.now();
    let five_minutes = now..now + HOUR / 12;
    let claims = [("n", json!(1.5)), ("list", json!([null, true])), ("map", json!({"a": "b"}))];
    let token = case.host.ca.jwt_with(&case.host.ca.id("/web"), &["db"], five_minutes, claims);
    let response = case.validate("db", &token).await.unwrap();
    assert_eq!(response.spiffe_id, "spiffe://example.org/web");
    assert_eq!(claim(&response, "sub"), Some(Kind::StringValue("spiffe://example.org/web".into())));
    assert_eq!(claim(&response, "n"), Some(Kind::NumberValue(1.5)));
    assert!(matches!(claim(&response, "list"), Some(Kind::ListValue(list)) if list.values.len() == 2));
    assert!(matches!(claim(&response, "map"), Some(Kind::StructValue(map)) if map.fields.len() == 1));
    assert!(matches!(claim(&response, "aud"), Some(Kind::ListValue(list)) if list.values.len() == 1));

    let (code, _) = refusal(case.validate("other", &token).await);
    assert_eq!(code, Code::InvalidArgument);
    case.host.manual.advance(HOUR / 12 + Duration::from_secs(61));
    assert_eq!(refusal(case.validate("db", &token).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn a_request_to_validate_that_says_too_little_is_refused() {
    let case = Case::new().await;
    let missing = |what: &str| (Code::InvalidArgument, format!("{what} must be specified"));
    assert_eq!(refusal(case.validate("", "x").await), missing("audience"));
    assert_eq!(refusal(case.validate("db", "").await), missing("svid"));
    assert_eq!(refusal(case.validate("db", "garbage").await).0, Code::InvalidArgument);
    let now = case.host.manual.now();
    let forger = Ca::new("example.org", now);
    let token = forger.jwt_svid(&forger.id("/web"), &["db"], now..now + HOUR);
    assert_eq!(refusal(case.validate("db", &token).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn a_foreign_token_is_validated_for_those_who_federate_and_stripped_of_what_nobody_allowed() {
    let case = Case::with(Options { allowed_foreign_claims: vec!["tenant".to_owned()], ..Options::default() }).await;
    let now = case.host.manual.now();
    let partner = Ca::new("partner.org", now);
    case.put_bundle(&partner);
    let claims = [("tenant", json!("t")), ("role", json!("admin"))];
    let token = partner.jwt_with(&partner.id("/web"), &["db"], now..now + HOUR, claims);
    assert_eq!(refusal(case.validate("db", &token).await).0, Code::InvalidArgument);

    let federated = types::Entry { federates_with: vec!["partner.org".to_owned()], ..case.of("a", "unix:uid:1") };
    case.put([federated]);
    let response = case.validate("db", &token).await.unwrap();
    assert_eq!(response.spiffe_id, "spiffe://partner.org/web");
    let mut claims: Vec<_> = response.claims.unwrap().fields.into_keys().collect();
    claims.sort();
    assert_eq!(claims, ["aud", "exp", "sub", "tenant"]);
}

#[tokio::test]
async fn wit_svids_are_not_built_yet() {
    let case = Case::new().await;
    let mut client = case.client();
    assert_eq!(refusal(client.fetch_witsvid(WitsvidRequest::default()).await).0, Code::Unimplemented);
    assert_eq!(refusal(client.fetch_wit_bundles(WitBundlesRequest::default()).await).0, Code::Unimplemented);
}

#[tokio::test]
async fn health_is_asked_the_way_that_workloads_ask() {
    let case = Case::new().await;
    let mut client = HealthClient::new(case.channel());
    let mut check = async |service: &str| {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
        answer.map(|answer| answer.into_inner().status())
    };
    // The agent itself has no identity, and need not have one.
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    case.put([case.of("a", "unix:uid:1")]);
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    *case.unix.0.lock().unwrap() = Err(PluginError::internal("out of order"));
    *case.docker.0.lock().unwrap() = Err(PluginError::internal("out of order"));
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(refusal(check("SpiffeWorkloadAPI").await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn nobody_is_let_in_after_the_stop_and_the_socket_is_gone() {
    let case = Case::new().await;
    case.put([case.of("a", "unix:uid:1")]);
    // A workload's stream holds nothing up.
    let mut stream = case.follow().await;
    stream.message().await.unwrap().unwrap();
    case.shutdown.stop();
    case.running.await.unwrap().unwrap();
    assert!(!case.host.dir.path().join("api.sock").exists());
}

#[tokio::test]
async fn a_workload_api_that_is_disabled_is_not_there() {
    let case = Case::with(Options { disabled: true, ..Options::default() }).await;
    let status = case.client().fetch_x509svid(X509svidRequest {}).await.unwrap_err();
    assert_eq!(told(&status), (Code::Unimplemented, "unknown service SpiffeWorkloadAPI"));
}

#[tokio::test]
async fn health_refuses_in_the_references_words_what_it_does_not_do() {
    let case = Case::new().await;
    let status = HealthClient::new(case.channel()).watch(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(told(&status), (Code::Unimplemented, "method Watch not implemented"));
    // Younger than the protocol that is compiled in: there is no client for it.
    let list = Schema::new(&[]).call(case.channel(), "/grpc.health.v1.Health/List", Sent::default()).await;
    assert_eq!(told(&list.status.unwrap()), (Code::Unimplemented, "method List not implemented"));
}

fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[tokio::test]
async fn the_log_tells_those_selectors_of_a_stranger_that_it_may() {
    let logged = steeple_testkit::record::Logged::new();
    let log_selectors = vec!["unix:uid".to_owned(), "unix:us".to_owned()];
    let case = Case::with(Options { log_selectors, ..Options::default() }).await;
    *case.unix.0.lock().unwrap() = Ok(vec!["user:me", "uid:7", "gid:7"]);
    case.follow().await.message().await.unwrap_err();
    assert_eq!(logged.with("No identity issued")[0]["selectors"], "unix:uid:7");
}

#[tokio::test]
async fn the_agents_own_calls_are_neither_limited_nor_told_in_the_log() {
    let logged = steeple_testkit::record::Logged::new();
    let own_pid = i32::try_from(std::process::id()).ok();
    let limits = RateLimits { fetch_x509_svid: 1, ..RateLimits::default() };
    let case = Case::with(Options { limits, own_pid, ..Options::default() }).await;
    for _ in 0..3 {
        let status = case.follow().await.message().await.unwrap_err();
        assert_eq!(status.message(), "no identity issued");
    }
    assert!(logged.with("No identity issued").is_empty());
    assert!(logged.with("PID attested to have selectors").is_empty());
}

#[tokio::test]
async fn a_workload_that_calls_too_often_is_refused_by_the_methods_name() {
    let limits = RateLimits { fetch_x509_svid: 1, ..RateLimits::default() };
    let case = Case::with(Options { limits, ..Options::default() }).await;
    case.follow().await.message().await.unwrap_err();
    let status = case.client().fetch_x509svid(X509svidRequest {}).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "rate limit exceeded for /SpiffeWorkloadAPI/FetchX509SVID")
    );
}
