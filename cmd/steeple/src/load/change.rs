//! A change, until the stream of the agent that it concerns has it.

use anyhow::{Context, Result};
use steeple_proto::spire::api::server::entry::v1::BatchUpdateEntryRequest;
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::types::{Entry, EntryMask};
use tokio::sync::Mutex;
use tonic::Status;

use super::attested::Site;
use super::follow::Follow;
use super::pace::Work;
use super::server::{Server, accepted};

/// `BatchUpdateEntry` of one entry, one after the other.
pub(super) struct Change<'a> {
    server: &'a Server,
    entry_id: String,
    stream: Mutex<Follow>,
}

impl<'a> Change<'a> {
    /// The agent may have `count` entries.
    ///
    /// # Errors
    /// It cannot attest, or the server does not let it follow.
    pub(super) async fn new(site: Site<'a>, count: u64) -> Result<Self> {
        let agent = site.attested(0).await?;
        let entries = agent.authorize(site.server, count, site.clock).await?;
        let entry_id = entries.into_iter().next().context("no entry")?;
        let stream = Follow::open(agent).await?;
        Ok(Self { server: site.server, entry_id, stream: stream.into() })
    }
}

impl Work for Change<'_> {
    async fn once(&self, _: u64) -> Result<(), Status> {
        // One at a time: it could not be told whose change has come.
        let mut stream = self.stream.lock().await;
        let entry = Entry {
            id: self.entry_id.clone(),
            hint: steeple_pki::random_key_id().unwrap_or_default(),
            ..Entry::default()
        };
        let input_mask = Some(EntryMask { hint: true, ..EntryMask::default() });
        let output_mask = Some(EntryMask::default());
        let request = BatchUpdateEntryRequest { entries: vec![entry.clone()], input_mask, output_mask };
        let mut client = EntryClient::new(self.server.channel.clone());
        // At the same time: a push can be there before the call is answered.
        let update = async {
            let results = client.batch_update_entry(request).await?.into_inner().results;
            accepted(results.into_iter().filter_map(|result| result.status))
        };
        let arrive = stream.until(|come| come.id == entry.id && come.hint == entry.hint);
        tokio::try_join!(update, arrive).map(drop)
    }
}
