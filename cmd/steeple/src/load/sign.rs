//! SVIDs of entries, over mTLS.

use anyhow::{Context, Result};
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams};
use steeple_runtime::Clock;
use tonic::Status;
use tonic::transport::Channel;

use super::attested::{Attested, request};
use super::mint::{audience, svid_in};
use super::pace::Work;
use super::server::{Server, accepted};

/// `BatchNewX509SVID`.
pub(super) struct Batch {
    client: SvidClient<Channel>,
    params: Vec<NewX509svidParams>,
}

impl Batch {
    /// Each call asks for `size` SVIDs, one of each entry.
    pub(super) async fn new(agent: &Attested, server: &Server, size: u64, clock: &Clock) -> Result<Self> {
        Self::of(agent, agent.authorize(server, size, clock).await?)
    }

    /// Each call asks for one SVID of each of these entries, which the agent has.
    pub(super) fn of(agent: &Attested, entries: Vec<String>) -> Result<Self> {
        let param = |entry_id| {
            let csr = request(&PrivateKey::generate(KeyType::EcP256)?)?;
            Ok(NewX509svidParams { entry_id, csr })
        };
        let params = entries.into_iter().map(param).collect::<Result<_>>()?;
        Ok(Self { client: SvidClient::new(agent.channel.clone()), params })
    }
}

impl Work for Batch {
    async fn once(&self, _: u64) -> Result<(), Status> {
        let request = BatchNewX509svidRequest { params: self.params.clone() };
        let results = self.client.clone().batch_new_x509svid(request).await?.into_inner().results;
        if results.len() != self.params.len() {
            return Err(Status::data_loss("the answer has not as many SVIDs as were asked for"));
        }
        for result in results {
            accepted(result.status)?;
            svid_in(result.svid)?;
        }
        Ok(())
    }
}

/// `NewJWTSVID`.
pub(super) struct Jwt {
    client: SvidClient<Channel>,
    entry: String,
}

impl Jwt {
    pub(super) async fn new(agent: &Attested, server: &Server, clock: &Clock) -> Result<Self> {
        let mut entries = agent.authorize(server, 1, clock).await?;
        let entry = entries.pop().context("no entry")?;
        Ok(Self { client: SvidClient::new(agent.channel.clone()), entry })
    }
}

impl Work for Jwt {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let request = NewJwtsvidRequest { entry_id: self.entry.clone(), audience: vec![audience(number)] };
        svid_in(self.client.clone().new_jwtsvid(request).await?.into_inner().svid)
    }
}

/// The same by several agents in turns, each from an address of its own: a server's limits are for one address.
pub(super) struct InTurns<W>(pub(super) Vec<W>);

impl<W: Work> Work for InTurns<W> {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let turn = usize::try_from(number).ok().and_then(|number| number.checked_rem(self.0.len()));
        let next = turn.and_then(|turn| self.0.get(turn)).ok_or_else(|| Status::out_of_range("no agent"))?;
        next.once(number).await
    }
}

/// `GetAuthorizedEntries`.
pub(super) struct Authorized {
    agent: Attested,
    count: u64,
}

impl Authorized {
    /// The agent may have `count` entries.
    pub(super) async fn new(agent: Attested, server: &Server, count: u64, clock: &Clock) -> Result<Self> {
        agent.authorize(server, count, clock).await?;
        Ok(Self { agent, count })
    }
}

impl Work for Authorized {
    async fn once(&self, _: u64) -> Result<(), Status> {
        let count = self.agent.authorized().await?;
        if count == self.count { Ok(()) } else { Err(Status::data_loss(format!("the answer has {count} entries"))) }
    }
}
