//! What a server looks at to tell whether it is well.
//!
//! A database that is away makes it not ready: what writes has to go elsewhere. It stays alive as long as it signs from memory
//! and answers, since starting it again would end even that; the reference says that it is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use steeple_datastore::{DataStore, Error};
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_runtime::health::{Check, Found, Health};
use steeple_runtime::{Clock, Shutdown};
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::status::describe;
use tonic::Status;

use crate::ca::Ca;
use crate::ca::sign::WorkloadX509;
use crate::freshness::Freshness;
use crate::inventory::Ground;

/// The server's own answer to a call.
const SERVER: Check = Check { name: "server", field: "get_bundle_err" };
/// Whether SVIDs are signed.
const CA: Check = Check { name: "server.ca", field: "sign_x509_svid_err" };
/// Whether authorities are rotated.
pub(crate) const ROTATOR: Check = Check { name: "server.ca.rotator", field: "rotation_err" };
/// Whether the database is read.
const STORE: Check = Check { name: "catalog.datastore", field: "list_bundle_err" };

/// Whoever asks wants to know it now: what has not answered by then is away.
const LIMIT: Duration = Duration::from_secs(5);
/// How often the server calls itself as long as it answers; each call is in the audit log.
const CALL_EVERY: Duration = Duration::from_secs(60);
/// How long the SVID lasts that nobody gets.
const SVID_TTL: Duration = Duration::from_secs(60);

/// Of a server that has not been looked at.
pub(crate) fn unknown(clock: Clock) -> Health {
    Health::new(&[SERVER, CA, ROTATOR, STORE], clock)
}

/// Whether the own bundle can be read from the database.
pub(crate) async fn read_bundle(store: &DataStore, trust_domain: &TrustDomain, clock: &Clock) -> Result<(), String> {
    let id = trust_domain.id();
    let fetched = clock.within(LIMIT, store.fetch_bundle(id.as_str()).boxed()).await;
    let late = || Err(Error::Unavailable(format!("the database did not answer within {} s", LIMIT.as_secs())));
    match fetched.unwrap_or_else(late) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err("the own bundle is not in the datastore".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Looks at all but rotation, which tells by itself.
pub(crate) struct Looks {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) store: DataStore,
    pub(crate) ca: Arc<Ca>,
    pub(crate) freshness: Freshness,
    /// `socket_path`
    pub(crate) socket: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) health: Health,
}

impl Looks {
    /// Looks until it is told to stop.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        // None while the server does not answer.
        let mut answered_at = None;
        loop {
            let looking = async {
                self.look(&mut answered_at).await;
                self.health.next_look().await;
            };
            if shutdown.unless_stopped(looking).await.is_none() {
                return;
            }
        }
    }

    async fn look(&self, answered_at: &mut Option<SystemTime>) {
        let Self { trust_domain, store, health, clock, .. } = self;
        let (read, signed) = futures::join!(read_bundle(store, trust_domain, clock), self.sign());
        health.report(STORE, read.map_or_else(Found::unready, |()| Found::well()));
        health.report(CA, signed.map_or_else(Found::dead, |()| Found::well()));
        let now = clock.now();
        let is_fresh = self.freshness.check().is_ok();
        if is_fresh && answered_at.is_some_and(|at| now.duration_since(at).is_ok_and(|passed| passed < CALL_EVERY)) {
            return;
        }
        let answered = self.call().await;
        *answered_at = answered.is_ok().then_some(now);
        health.report(SERVER, answered.map_or_else(Found::dead, |()| Found::well()));
    }

    async fn sign(&self) -> Result<(), String> {
        let id = SpiffeId::new(&self.trust_domain, "/for/health/check/only").map_err(|error| error.to_string())?;
        let key = PrivateKey::generate(KeyType::EcP256).map_err(|error| error.to_string())?;
        let asked =
            WorkloadX509 { id: &id, public_key: key.public_key(), ttl: Some(SVID_TTL), dns_names: &[], subject: None };
        let signed = self.clock.within(LIMIT, Box::pin(self.ca.sign_workload(asked, Ground::Health))).await;
        match signed {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(format!("unable to sign X509 SVID: {error}")),
            None => Err(format!("the key manager did not sign within {} s", LIMIT.as_secs())),
        }
    }

    async fn call(&self) -> Result<(), String> {
        let mut client = BundleClient::new(steeple_transport::dial::local(self.socket.clone()));
        let answered = self.clock.within(LIMIT, client.get_bundle(GetBundleRequest { output_mask: None })).await;
        let late = || Err(Status::deadline_exceeded(format!("no answer within {} s", LIMIT.as_secs())));
        let answered = answered.unwrap_or_else(late);
        answered.map(drop).map_err(|status| format!("unable to fetch bundle: {}", describe(&status)))
    }
}
