//! The agent's way to its server: who the agent is, whom it believes, and the connection between.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use steeple_pki::Signer;
use steeple_runtime::Clock;
use steeple_runtime::clock::unix_seconds;
use steeple_runtime::metrics::gauge;
use steeple_spiffe::x509::{Certificate, hex};
use steeple_spiffe::{SpiffeId, TrustDomain};
use steeple_transport::dial::{self, Proxy, Servers, Traced};
use steeple_transport::status::retry_delay;
use steeple_transport::tls::{
    Credential, CredentialWatch, Expect, KeyExchange, TlsError, client_config_with, credential_with_signer,
};
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::debug;

/// One operation of the agent at its server ends within this.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A server that says when to come again is obeyed for so long at most: an agent that starts has a minute's patience.
const LONGEST_OBEYED: Duration = Duration::from_secs(30);

/// The agent's own SVID and key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// The chain, leaf first.
    pub chain: Vec<Certificate>,
    /// The leaf's key.
    pub signer: Arc<dyn Signer>,
    /// Whether it attests again rather than renew.
    pub reattestable: bool,
    /// Under which the key manager holds the key.
    pub key_id: String,
}

/// Where the servers are, and how they are reached.
#[derive(Clone)]
pub(crate) struct Place {
    /// Each of them is as good as the others.
    pub servers: Servers,
    /// What may stand between.
    pub proxy: Proxy,
    /// How TLS keys are exchanged, the first contact included.
    pub key_exchange: KeyExchange,
}

/// The server, as an agent reaches it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<Inner>);

struct Inner {
    trust_domain: TrustDomain,
    servers: Servers,
    proxy: Proxy,
    key_exchange: KeyExchange,
    clock: Clock,
    identity: watch::Sender<Option<Identity>>,
    credential: watch::Sender<Option<Credential>>,
    authorities: watch::Sender<Arc<[Certificate]>>,
    tainted: watch::Sender<Arc<[Certificate]>>,
    /// The live connection; a draining one lives on in the calls that use it.
    channel: Mutex<Option<Traced>>,
}

impl Upstream {
    /// Of the servers at this place; nobody is believed and nothing is shown yet.
    pub(crate) fn new(trust_domain: TrustDomain, place: Place, clock: Clock) -> Self {
        let Place { servers, proxy, key_exchange } = place;
        Self(Arc::new(Inner {
            trust_domain,
            servers,
            proxy,
            key_exchange,
            clock,
            identity: watch::Sender::new(None),
            credential: watch::Sender::new(None),
            authorities: watch::Sender::new(Arc::from([])),
            tainted: watch::Sender::new(Arc::from([])),
            channel: Mutex::default(),
        }))
    }

    /// The trust domain.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// The agent's identity, once it has one.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.0.identity.borrow().clone()
    }

    /// Takes on an identity. Later calls go over a new connection that shows it; calls under way end on the old one.
    ///
    /// # Errors
    /// When TLS cannot use its key.
    pub(crate) fn set_identity(&self, identity: Identity) -> Result<(), TlsError> {
        let credential = credential_with_signer(&identity.chain, Arc::clone(&identity.signer))?;
        let end = identity.chain.first().map_or(0, |leaf| unix_seconds(leaf.not_after()));
        gauge("steeple.agent_svid.expiration", end as f64);
        self.0.credential.send_replace(Some(credential));
        self.0.identity.send_replace(Some(identity));
        self.reconnect();
        Ok(())
    }

    /// Changes with each new identity.
    pub(crate) fn identities(&self) -> watch::Receiver<Option<Identity>> {
        self.0.identity.subscribe()
    }

    /// What the agent shows, once it has an identity.
    pub(crate) fn credential(&self) -> CredentialWatch {
        self.0.credential.subscribe()
    }

    /// Whom the agent believes.
    pub(crate) fn authorities(&self) -> Arc<[Certificate]> {
        Arc::clone(&self.0.authorities.borrow())
    }

    /// Whom to believe from now on; the next handshake asks for it.
    pub(crate) fn set_authorities(&self, authorities: Vec<Certificate>) {
        self.0.authorities.send_replace(authorities.into());
    }

    /// Authorities below which no SVID shall stay in use.
    pub(crate) fn set_tainted(&self, tainted: Vec<Certificate>) {
        self.0.tainted.send_if_modified(|current| {
            let news = **current != *tainted;
            let new = tainted.iter().filter(|authority| !current.contains(authority));
            let new: Vec<_> = new.filter_map(|authority| authority.subject_key_id().map(hex)).collect();
            if !new.is_empty() {
                debug!(target: "manager", subject_key_ids = new.join(","), "New tainted X.509 authorities found");
            }
            if news {
                *current = tainted.into();
            }
            news
        });
    }

    /// See [`Upstream::set_tainted`].
    pub(crate) fn tainted(&self) -> watch::Receiver<Arc<[Certificate]>> {
        self.0.tainted.subscribe()
    }

    /// The next call opens a new connection.
    pub(crate) fn reconnect(&self) {
        *self.0.channel.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// After this failure of a call: if another connection may do better, the next call opens one, and to another server if
    /// there is one.
    pub(crate) fn after(&self, failure: &Status) {
        if is_of_the_connection(failure) {
            self.0.servers.avoid_last(&self.0.clock);
            self.reconnect();
        }
    }

    /// How long to wait after a failure, before jitter: `pause`, or longer if the server has said so and there is no other
    /// one that could be asked meanwhile.
    pub(crate) fn pause_after(&self, failure: &Status, pause: Duration) -> Duration {
        let told = match failure.code() {
            Code::Unavailable | Code::ResourceExhausted if self.0.servers.is_one() => retry_delay(failure),
            _ => None,
        };
        // A quarter more, so that nobody comes early, whatever jitter makes of it.
        told.map_or(pause, |told| pause.max(told.min(LONGEST_OBEYED) * 5 / 4))
    }

    /// The connection that shows the agent's identity.
    ///
    /// # Errors
    /// When TLS cannot be configured.
    pub(crate) fn channel(&self) -> Result<Traced, TlsError> {
        let mut channel = self.0.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = &*channel {
            return Ok(channel.clone());
        }
        let opened = self.dial(true, self.expect_verified())?;
        *channel = Some(opened.clone());
        Ok(opened)
    }

    /// A connection of its own that shows nothing: for attestation. Without authorities, whoever claims to be the server is
    /// believed.
    ///
    /// # Errors
    /// When TLS cannot be configured.
    pub(crate) fn anonymous_channel(&self, insecure: bool) -> Result<Traced, TlsError> {
        let expect =
            if insecure { Expect::DangerouslyUnverified { id: self.server_id() } } else { self.expect_verified() };
        self.dial(false, expect)
    }

    /// What `call` answers, within the limit of one operation.
    ///
    /// # Errors
    /// The call's, or DEADLINE_EXCEEDED. After either, the next call opens a new connection.
    pub(crate) async fn call<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        self.call_within(CALL_LIMIT, call).await
    }

    /// What `call` answers on the connection that shows the agent's identity; for calls that may be made twice. One that a
    /// connection breaks, as each does at its age, is made once more on a new one.
    ///
    /// # Errors
    /// As [`Upstream::call`].
    pub(crate) async fn call_again<T, F>(&self, limit: Duration, call: impl Fn(Traced) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let channel = || self.channel().map_err(|error| Status::internal(error.to_string()));
        let twice = async {
            match call(channel()?).await {
                // The server's own answers have no cause here.
                Err(status) if std::error::Error::source(&status).is_some() => {
                    self.reconnect();
                    call(channel()?).await
                }
                answer => answer,
            }
        };
        self.call_within(limit, twice).await
    }

    /// As [`Upstream::call`], with a limit of its own.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn call_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let answer = self.0.clock.within(limit, call).await;
        let answer = answer.unwrap_or_else(|| Err(Status::deadline_exceeded("the server did not answer in time")));
        answer.inspect_err(|status| self.after(status))
    }

    fn dial(&self, with_identity: bool, expect: Expect) -> Result<Traced, TlsError> {
        let credential = with_identity.then(|| self.0.credential.subscribe());
        let tls = client_config_with(self.0.key_exchange, credential, expect, self.0.clock.clone())?;
        let channel = dial::servers(self.0.servers.clone(), Arc::new(tls), self.0.proxy.clone(), self.0.clock.clone());
        Ok(channel.into())
    }

    fn expect_verified(&self) -> Expect {
        Expect::Verified { id: self.server_id(), authorities: self.0.authorities.subscribe() }
    }

    fn server_id(&self) -> SpiffeId {
        // A trust domain's name and this path always make an ID.
        SpiffeId::new(&self.0.trust_domain, "/spire/server").unwrap_or_else(|_| self.0.trust_domain.id())
    }
}

/// Whether an error may be the connection's rather than the call's: then another connection may do better.
fn is_of_the_connection(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustls::NamedGroup;
    use steeple_proto::spire::api::server::agent::v1::RenewAgentRequest;
    use steeple_proto::spire::api::server::agent::v1::agent_client::AgentClient;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::tests::{Host, SECOND};

    /// How often a call is made that fails with this each time.
    async fn made(failure: fn() -> Status) -> (u32, Status) {
        let upstream = Host::new().await.attested();
        let made = AtomicU32::new(0);
        let call = |_| {
            made.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(failure()) }
        };
        let status = upstream.call_again(SECOND, call).await.unwrap_err();
        (made.into_inner(), status)
    }

    #[tokio::test]
    async fn a_call_that_a_connection_broke_is_made_once_more_and_no_other() {
        let broken = || Status::from_error(Box::new(std::io::Error::other("operation was canceled")));
        assert_eq!(made(broken).await.0, 2);
        let (times, status) = made(|| Status::unavailable("the server's own word")).await;
        assert_eq!((times, status.message()), (1, "the server's own word"));
    }

    /// What an agent offers in its first message to a server, be it known or believed on trust.
    async fn offered(key_exchange: KeyExchange, insecure: bool) -> Vec<NamedGroup> {
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = dial::Place { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let place = Place { servers: Servers::new(at, []), proxy: Proxy::none(), key_exchange };
        let upstream = Upstream::new("example.org".parse().unwrap(), place, Clock::system());
        let mut client = AgentClient::new(upstream.anonymous_channel(insecure).unwrap());
        let calling = tokio::spawn(async move { client.renew_agent(RenewAgentRequest::default()).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut acceptor = rustls::server::Acceptor::default();
        let accepted = loop {
            let byte = [stream.read_u8().await.unwrap()];
            acceptor.read_tls(&mut byte.as_slice()).unwrap();
            if let Some(accepted) = acceptor.accept().ok().unwrap() {
                break accepted;
            }
        };
        calling.abort();
        accepted.client_hello().named_groups().unwrap().to_vec()
    }

    #[tokio::test]
    async fn required_post_quantum_key_exchange_is_all_that_a_server_is_offered() {
        let groups = [NamedGroup::X25519MLKEM768, NamedGroup::secp256r1MLKEM768];
        for insecure in [false, true] {
            assert_eq!(offered(KeyExchange::RequirePostQuantum, insecure).await, groups);
            let any = offered(KeyExchange::PreferPostQuantum, insecure).await;
            assert!(any.starts_with(&groups[..1]) && any.contains(&NamedGroup::X25519), "{any:?}");
        }
    }
}
