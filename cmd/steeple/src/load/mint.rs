//! SVIDs without an entry, over the server's administrative socket.

use anyhow::Result;
use steeple_pki::{KeyType, Name, PrivateKey, certificate, csr};
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{MintJwtsvidRequest, MintX509svidRequest};
use steeple_proto::spire::api::types::Spiffeid;
use steeple_transport::id::on_wire;
use tonic::Status;
use tonic::transport::Channel;

use super::pace::Work;
use super::server::Server;

/// `MintX509SVID`.
pub(super) struct Mint {
    client: SvidClient<Channel>,
    /// Made before, so that the load's own work is small.
    requests: Vec<Vec<u8>>,
}

impl Mint {
    pub(super) fn new(server: &Server) -> Result<Self> {
        let subject = Name::try_from(&certificate::svid_subject())?;
        let request = |number: usize| {
            let key = PrivateKey::generate(KeyType::EcP256)?;
            Ok(csr::build(&subject, Some(&server.id(&number.to_string())?), &[], &key)?)
        };
        let requests = (0..REQUESTS).map(request).collect::<Result<_>>()?;
        Ok(Self { client: SvidClient::new(server.channel.clone()), requests })
    }
}

impl Work for Mint {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let csr = self.requests[usize::try_from(number).unwrap_or(0) % REQUESTS].clone();
        let answer = self.client.clone().mint_x509svid(MintX509svidRequest { csr, ttl: 0 }).await?.into_inner();
        svid_in(answer.svid)
    }
}

/// `MintJWTSVID`.
pub(super) struct MintJwt {
    client: SvidClient<Channel>,
    id: Spiffeid,
}

impl MintJwt {
    pub(super) fn new(server: &Server) -> Result<Self> {
        Ok(Self { client: SvidClient::new(server.channel.clone()), id: on_wire(&server.id("jwt")?) })
    }
}

impl Work for MintJwt {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let request = MintJwtsvidRequest { id: Some(self.id.clone()), audience: vec![audience(number)], ttl: 0 };
        svid_in(self.client.clone().mint_jwtsvid(request).await?.into_inner().svid)
    }
}

/// A different one for each operation.
pub(super) fn audience(number: u64) -> String {
    format!("steeple-load-{number}")
}

/// An answer without what was asked for is a failure.
pub(super) fn svid_in<T>(svid: Option<T>) -> Result<(), Status> {
    svid.map(drop).ok_or_else(|| Status::data_loss("the answer has no SVID"))
}

const REQUESTS: usize = 64;
