//! Agents that come, and come back for a new SVID.

use std::cell::RefCell;
use std::collections::VecDeque;

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use tonic::Status;

use super::attested::{Attested, Site, Token};
use super::pace::Work;
use super::server::AT_ONCE;

/// `AttestAgent`, a new agent each time. Its token was made before: the call has one write of its own, and that is
/// measured alone.
pub(super) struct Attest<'a> {
    site: Site<'a>,
    tokens: RefCell<Vec<Token>>,
}

impl<'a> Attest<'a> {
    /// For so many agents.
    ///
    /// # Errors
    /// The server makes no tokens.
    pub(super) async fn new(site: Site<'a>, count: u64) -> Result<Self> {
        let tokens = stream::iter(0..count).map(|_| site.server.join_token());
        let tokens: Vec<_> = tokens.buffered(AT_ONCE).try_collect().await?;
        Ok(Self { site, tokens: tokens.into() })
    }
}

impl Work for Attest<'_> {
    async fn once(&self, number: u64) -> Result<(), Status> {
        let token = self.tokens.borrow_mut().pop();
        let token = token.ok_or_else(|| Status::out_of_range("no token is left"))?;
        self.site.attest(number, token).await.map(drop)
    }
}

/// `RenewAgent`, and the first call with the new SVID.
pub(super) struct Renew<'a> {
    site: Site<'a>,
    /// The one that has waited longest comes first.
    agents: RefCell<VecDeque<Attested>>,
}

impl<'a> Renew<'a> {
    /// By so many agents in turns.
    ///
    /// # Errors
    /// They cannot attest.
    pub(super) async fn new(site: Site<'a>, count: u64) -> Result<Self> {
        let agents = VecDeque::from(site.several(count).await?);
        Ok(Self { site, agents: agents.into() })
    }
}

impl Work for Renew<'_> {
    async fn once(&self, _: u64) -> Result<(), Status> {
        let agent = self.agents.borrow_mut().pop_front();
        let agent =
            agent.ok_or_else(|| Status::out_of_range("no agent is free: -size must be more than -concurrency"))?;
        let renewed = self.site.renew(agent).await?;
        self.agents.borrow_mut().push_back(renewed);
        Ok(())
    }
}
