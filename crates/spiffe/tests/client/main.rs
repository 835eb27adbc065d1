//! The client of the Workload API against an endpoint that answers what a test wants, also what none may answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's report")]

mod answers;
mod bundles;
mod calls;
mod sources;
mod tls;
mod tokens;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use steeple_proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidResponse, X509BundlesResponse, X509svid, X509svidResponse,
};
use steeple_spiffe::bundle::jwks;
use steeple_spiffe::workload_api::{Backoff, ClientError, Endpoint, SourceOptions, WorkloadApiClient, X509Source};
use steeple_testkit::ca::Svid;
use steeple_testkit::{Ca, FakeEndpoint, ManualClock};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// An endpoint, a clock that stands still, and a CA that works at its moment.
struct World {
    endpoint: FakeEndpoint,
    clock: ManualClock,
    ca: Ca,
}

impl World {
    fn new() -> Self {
        Self::at(SystemTime::UNIX_EPOCH + HOUR * 24 * 365 * 50)
    }

    fn at(now: SystemTime) -> Self {
        Self { endpoint: FakeEndpoint::start(), clock: ManualClock::new(now), ca: Ca::new("example.org", now) }
    }

    fn client(&self) -> WorkloadApiClient {
        client_of(&self.endpoint)
    }

    fn options(&self) -> SourceOptions {
        SourceOptions { backoff: Backoff::default(), timer: Arc::new(self.clock.clock()) }
    }

    fn source(&self) -> X509Source {
        X509Source::start(self.client(), self.options()).unwrap()
    }

    fn hour(&self) -> Range<SystemTime> {
        self.clock.now()..self.clock.now() + HOUR
    }

    fn svid(&self, path: &str) -> Svid {
        self.ca.svid(path, self.hour())
    }

    fn stranger(&self, trust_domain: &str) -> Ca {
        Ca::new(trust_domain, self.clock.now())
    }

    /// An answer with these SVIDs of the own CA.
    fn x509(&self, svids: &[&Svid]) -> X509svidResponse {
        X509svidResponse {
            svids: svids.iter().map(|svid| x509_svid(svid, &self.ca)).collect(),
            ..X509svidResponse::default()
        }
    }
}

fn client_of(endpoint: &FakeEndpoint) -> WorkloadApiClient {
    WorkloadApiClient::new(&Endpoint::parse(endpoint.uri()).unwrap()).unwrap()
}

fn x509_svid(svid: &Svid, ca: &Ca) -> X509svid {
    X509svid {
        spiffe_id: svid.id.to_string(),
        x509_svid: svid.chain_der().into(),
        x509_svid_key: svid.key_der().to_vec().into(),
        bundle: ca.root().der().to_vec().into(),
        hint: String::new(),
    }
}

fn x509_bundles(cas: &[&Ca]) -> X509BundlesResponse {
    let bundle = |ca: &&Ca| (ca.trust_domain().id().to_string(), ca.root().der().to_vec().into());
    X509BundlesResponse { crl: Vec::new(), bundles: cas.iter().map(bundle).collect() }
}

fn jwt_bundles(cas: &[&Ca]) -> JwtBundlesResponse {
    let bundle = |ca: &&Ca| (ca.trust_domain().id().to_string(), jwks::jwt_keys_document(&ca.bundle()).into());
    JwtBundlesResponse { bundles: cas.iter().map(bundle).collect() }
}

fn jwt_svids(svids: &[(&str, &str)]) -> JwtsvidResponse {
    let svid = |(id, token): &(&str, &str)| Jwtsvid {
        spiffe_id: (*id).to_owned(),
        svid: (*token).to_owned(),
        hint: String::new(),
    };
    JwtsvidResponse { svids: svids.iter().map(svid).collect() }
}

fn named<B>(bundles: impl IntoIterator<Item = (&'static str, B)>) -> HashMap<String, B> {
    bundles.into_iter().map(|(name, bundle)| (name.to_owned(), bundle)).collect()
}

/// What comes at once, or the test fails.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it comes at once")
}

/// What goes wrong next.
async fn trouble(of: impl Fn() -> Option<Arc<ClientError>>) -> Arc<ClientError> {
    soon(async {
        loop {
            match of() {
                Some(trouble) => return trouble,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await
}
