//! SVIDs of workloads: keys made here, certificates signed by the server.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use steeple_pki::{KeyType, Name, PkiError, PrivateKey, csr};
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, NewX509svidParams, batch_new_x509svid_response,
};
use steeple_runtime::Clock;
use steeple_spiffe::x509::Certificate;
use steeple_transport::rpc::Class;
use tonic::Status;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::cache::{Entry, Svid};
use crate::renewal::Renewal;
use crate::upstream::{CALL_LIMIT, Upstream};

/// Requests of one batch: what the server lets an agent ask for in a second.
pub(crate) const BATCH: usize = 500;

/// An SVID that ends sooner is of no use to anybody.
const LEAST_LEFT: Duration = Duration::from_secs(1);

/// How SVIDs are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// `workload_x509_svid_key_type`
    pub key_type: KeyType,
    /// When they are made again.
    pub renewal: Renewal,
}

/// What became of a batch: each entry's SVID, or None when it was not signed.
pub(crate) type Minted = Vec<(Arc<Entry>, Option<Svid>)>;

/// Has SVIDs signed for these entries, all of which are of this class to the server.
///
/// # Errors
/// When the whole batch failed. Entries that were refused one by one are logged and have None.
pub(crate) async fn mint(
    upstream: &Upstream,
    clock: &Clock,
    options: Options,
    class: Class,
    entries: &[Arc<Entry>],
) -> Result<Minted, Status> {
    let requests = requests(options.key_type, entries.to_vec()).await?;
    let params = requests
        .iter()
        .zip(entries)
        .map(|(request, entry)| NewX509svidParams { entry_id: entry.id.to_string(), csr: request.csr.clone() });
    let batch = BatchNewX509svidRequest { params: params.collect() };
    let call = |channel| {
        let mut batch = tonic::Request::new(batch.clone());
        class.mark(&mut batch);
        async move { SvidClient::new(channel).batch_new_x509svid(batch).await }
    };
    let answer = upstream.call_again(CALL_LIMIT, call).await?.into_inner();
    if answer.results.len() != entries.len() {
        return Err(Status::internal("the server answered another number of SVIDs than was asked for"));
    }
    let now = clock.now();
    let results = answer.results.into_iter().zip(requests).zip(entries);
    Ok(results
        .map(|((result, request), entry)| (Arc::clone(entry), svid_of(entry, request, result, options.renewal, now)))
        .collect())
}

struct Request {
    csr: Vec<u8>,
    /// SPKI, DER.
    public_key: Vec<u8>,
    key_pkcs8: Zeroizing<Vec<u8>>,
}

/// Keys and requests are made off the threads that serve calls: for RSA they take seconds.
async fn requests(key_type: KeyType, entries: Vec<Arc<Entry>>) -> Result<Vec<Request>, Status> {
    let made = tokio::task::spawn_blocking(move || {
        let subject = Name::try_from(&steeple_pki::certificate::svid_subject())?;
        let request = |entry: Arc<Entry>| {
            let key = PrivateKey::generate(key_type)?;
            let csr = csr::build(&subject, Some(&entry.spiffe_id), &[], &key)?;
            let public_key = key.public_key().spki_der().to_vec();
            Ok(Request { csr, public_key, key_pkcs8: key.to_pkcs8_der()? })
        };
        entries.into_iter().map(request).collect::<Result<Vec<_>, PkiError>>()
    });
    let made = made.await.map_err(|error| Status::internal(error.to_string()))?;
    made.map_err(|error| Status::internal(format!("unable to make a certificate request: {error}")))
}

fn svid_of(
    entry: &Entry,
    request: Request,
    result: batch_new_x509svid_response::Result,
    renewal: Renewal,
    now: SystemTime,
) -> Option<Svid> {
    let batch_new_x509svid_response::Result { status, svid } = result;
    let refused = |why: &str| {
        warn!(target: "manager", entry_id = %entry.id, spiffe_id = %entry.spiffe_id, error = why, "Failed to mint X509 SVID");
    };
    let Some(svid) = svid else {
        refused(status.as_ref().map_or("the server sent no SVID", |status| &status.message));
        return None;
    };
    let chain: Result<Vec<_>, _> = svid.cert_chain.iter().map(|der| Certificate::from_der(der)).collect();
    let chain = match chain {
        Ok(chain) => chain,
        Err(error) => {
            refused(&error.to_string());
            return None;
        }
    };
    // What workloads get must be theirs: the entry's ID, and the key that was made here.
    let Some(leaf) = chain.first().filter(|leaf| leaf.spiffe_id().is_ok_and(|id| id == entry.spiffe_id)) else {
        refused("the server sent an SVID of another identity");
        return None;
    };
    if leaf.spki_der() != request.public_key {
        refused("the server sent an SVID of another key");
        return None;
    }
    // One of the two clocks is wrong; asking again at once would go on without end.
    if leaf.not_after() < now + LEAST_LEFT {
        refused("the server sent an SVID that has ended by the clock of this host");
        return None;
    }
    debug!(target: "cache_manager", entry = %entry.id, spiffe_id = %entry.spiffe_id, "SVID updated");
    Some(Svid {
        renew_at: renewal.moment(leaf, now),
        chain_der: svid.cert_chain.concat().into(),
        key_pkcs8: Bytes::from_owner(Wiped(request.key_pkcs8)),
        entry_digest: entry.digest,
        last_asked: AtomicU64::default(),
        chain,
    })
}

/// A key that many share and that is wiped when the last lets it go.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use steeple_proto::spire::api::types;
    use steeple_testkit::{Ca, server};

    use super::*;
    use crate::tests::HOUR;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + HOUR * 24 * 365 * 50
    }

    /// What becomes of a certificate for `path` and `certified`, good for an hour from now, when one for `/a` and `asked`
    /// was asked for by a host whose clock shows `shown`.
    fn answered(path: &str, asked: &PrivateKey, certified: &PrivateKey, shown: SystemTime) -> Option<Svid> {
        let now = now();
        let ca = Ca::new("example.org", now);
        let entry = Entry::from_api(server::entry("a", &ca.id("/a"), &["unix:uid:1"])).unwrap();
        let leaf = ca.certify(&ca.id(path), certified.public_key(), now..now + HOUR);
        let svid = types::X509svid { cert_chain: vec![leaf.der().to_vec()], ..types::X509svid::default() };
        let result = batch_new_x509svid_response::Result { status: None, svid: Some(svid) };
        let public_key = asked.public_key().spki_der().to_vec();
        let request = Request { csr: Vec::new(), public_key, key_pkcs8: asked.to_pkcs8_der().unwrap() };
        svid_of(&entry, request, result, Renewal::default(), shown)
    }

    #[test]
    fn an_svid_of_another_identity_or_key_than_was_asked_for_is_none() {
        let [key, other] = [(); 2].map(|()| PrivateKey::generate(KeyType::EcP256).unwrap());
        assert!(answered("/a", &key, &key, now()).is_some());
        assert!(answered("/b", &key, &key, now()).is_none());
        assert!(answered("/a", &key, &other, now()).is_none());
    }

    #[test]
    fn an_svid_that_has_ended_when_it_comes_is_none_and_one_that_is_not_yet_valid_is_one() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        assert!(answered("/a", &key, &key, now() + HOUR).is_none());
        assert!(answered("/a", &key, &key, now() + HOUR - LEAST_LEFT).is_some());
        assert!(answered("/a", &key, &key, now() - HOUR).is_some());
    }
}
