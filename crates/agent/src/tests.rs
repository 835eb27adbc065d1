//! What the tests of several modules need.

mod ten_days;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use steeple_catalog::node_attestor::{AgentPlugin, AttestationStream};
use steeple_catalog::{AgentNodeAttestor, PluginError};
use steeple_testkit::{Ca, FakeServer, ManualClock, MemoryKeys, ca};
use steeple_transport::dial::{self, Proxy, Servers};
use steeple_transport::tls::KeyExchange;
use tempfile::TempDir;

use crate::attest::Attestation;
use crate::cache::{Entry, Svid};
use crate::config::Bootstrap;
use crate::storage::Storage;
use crate::upstream::{Identity, Place, Upstream};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// An agent's host, and the server that it will talk to.
pub(crate) struct Host {
    pub(crate) manual: ManualClock,
    pub(crate) ca: Arc<Ca>,
    pub(crate) server: FakeServer,
    pub(crate) keys: MemoryKeys,
    pub(crate) dir: TempDir,
}

impl Host {
    pub(crate) async fn new() -> Self {
        let manual = ManualClock::new(SystemTime::UNIX_EPOCH + HOUR * 24 * 365 * 50);
        let ca = Arc::new(Ca::new("example.org", manual.now()));
        let server = FakeServer::start(Arc::clone(&ca), manual.clock()).await;
        Self { manual, ca, server, keys: MemoryKeys::new(), dir: tempfile::tempdir().unwrap() }
    }

    /// As a process that starts has it: nobody is known yet.
    pub(crate) fn upstream(&self) -> Upstream {
        self.upstream_at(self.server.port())
    }

    /// Whoever is there.
    pub(crate) fn upstream_at(&self, port: u16) -> Upstream {
        self.upstream_at_all(&[port])
    }

    /// Whoever is at any of these ports.
    pub(crate) fn upstream_at_all(&self, ports: &[u16]) -> Upstream {
        let trust_domain = self.ca.trust_domain().clone();
        let mut places = ports.iter().map(|&port| dial::Place { host: "127.0.0.1".to_owned(), port });
        let servers = Servers::new(places.next().unwrap(), places);
        let place = Place { servers, proxy: Proxy::none(), key_exchange: KeyExchange::default() };
        Upstream::new(trust_domain, place, self.manual.clock())
    }

    /// As an agent has it that has attested.
    pub(crate) fn attested(&self) -> Upstream {
        let upstream = self.upstream();
        upstream.set_authorities(vec![self.ca.root().clone()]);
        let svid = self.ca.svid("/spire/agent/test/a", self.manual.now()..self.manual.now() + HOUR);
        let (id, signer) = (svid.id.clone(), svid.signer());
        let key_id = "agent-svid-A".to_owned();
        upstream.set_identity(Identity { id, chain: svid.chain, signer, reattestable: false, key_id }).unwrap();
        upstream
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage::open(self.dir.path()).unwrap()
    }

    /// By a join token that the server knows, or by another attestor.
    pub(crate) fn attestation(&self, upstream: &Upstream, bootstrap: Bootstrap, by: By) -> Attestation {
        let name = match by {
            By::Token(_) => "join_token",
            By::Answering(_) => "test",
        };
        Attestation {
            upstream: upstream.clone(),
            keys: self.keys.of_agent(),
            attestor: AgentNodeAttestor::new(name, Arc::new(by)),
            bootstrap,
            clock: self.manual.clock(),
        }
    }
}

/// An SVID for an entry, good for an hour from `now`.
pub(crate) fn svid_for(ca: &Ca, entry: &Entry, now: SystemTime, renew_at: SystemTime) -> Svid {
    let svid = ca.svid_of(&entry.spiffe_id, now..now + HOUR);
    let (chain_der, key_pkcs8) = (svid.chain_der().into(), svid.key_der().to_vec().into());
    let ca::Svid { chain, .. } = svid;
    Svid { chain, chain_der, key_pkcs8, renew_at, entry_digest: entry.digest, last_asked: AtomicU64::default() }
}

/// A node attestor.
pub(crate) enum By {
    /// Shows this, and is not prepared to be asked.
    Token(&'static str),
    /// Shows this, and answers each challenge with its bytes turned around.
    Answering(&'static str),
}

#[async_trait]
impl AgentPlugin for By {
    async fn aid_attestation(&self, server: &mut dyn AttestationStream) -> Result<(), PluginError> {
        match self {
            Self::Token(token) => {
                server.send_payload(token.as_bytes().to_vec()).await?;
                match server.challenge().await? {
                    None => Ok(()),
                    Some(_) => Err(PluginError::internal("server issued unexpected challenge")),
                }
            }
            Self::Answering(payload) => {
                server.send_payload(payload.as_bytes().to_vec()).await?;
                while let Some(challenge) = server.challenge().await? {
                    server.respond(challenge.into_iter().rev().collect()).await?;
                }
                Ok(())
            }
        }
    }
}
