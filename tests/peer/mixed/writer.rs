//! One side's writes.

use anyhow::{Context, Result, bail};
use steeple_proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::bundle::v1::{
    BatchDeleteFederatedBundleRequest, BatchSetFederatedBundleRequest,
};
use steeple_proto::spire::api::server::entry::v1::entry_client::EntryClient;
use steeple_proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest,
};
use steeple_proto::spire::api::types::{Entry, Selector, Spiffeid, Status};
use steeple_runtime::Clock;
use steeple_testkit::Ca;
use steeple_tests::Random;
use tonic::Code;
use tonic::transport::Channel;

use super::Side;
use super::views::{Store, own_selectors};

/// Of these trust domains there is a bundle or not.
const FEDERATED: [&str; 3] = ["one.test", "two.test", "three.test"];
/// How the paths of its entries begin.
const OWN: &str = "/n";
/// With more entries than these, some go.
const ENTRIES: usize = 50;

/// Writes by way of one server.
pub(crate) struct Writer {
    side: Side,
    trust_domain: String,
    channel: Channel,
    parents: Vec<String>,
    /// Whether this side deletes bundles.
    deletes_bundles: bool,
    random: Random,
    written: usize,
    too_late: usize,
    collided: usize,
}

impl Writer {
    /// By way of the server at the other end of an administrative socket; entries get these parents.
    pub(crate) fn new(side: Side, channel: Channel, trust_domain: &str, parents: Vec<String>, random: Random) -> Self {
        let trust_domain = trust_domain.to_owned();
        Self {
            side,
            trust_domain,
            channel,
            parents,
            deletes_bundles: true,
            random,
            written: 0,
            too_late: 0,
            collided: 0,
        }
    }

    /// Leaves it to others to delete bundles.
    pub(super) fn without_deleting_bundles(self) -> Self {
        Self { deletes_bundles: false, ..self }
    }

    /// What it has done.
    pub(crate) fn told(&self) -> String {
        let Self { side, written, too_late, collided, .. } = self;
        format!("{side:?}: {written} writes, {too_late} came too late, {collided} collided with the other side's")
    }

    /// Writes so often.
    pub(crate) async fn write(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            let (what, status) = self.write_once().await?;
            let message = &status.message;
            match Code::from_i32(status.code) {
                Code::Ok => self.written += 1,
                // The other side was faster.
                Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => self.too_late += 1,
                _ if message.contains("unable to find federated bundle") => self.too_late += 1,
                // The reference does not try again what our side was in the way of.
                _ if self.side == Side::Theirs && is_collision(message) => self.collided += 1,
                code => bail!("{:?}: {what}: {code:?}: {message}", self.side),
            }
        }
        Ok(())
    }

    async fn write_once(&mut self) -> Result<(&'static str, Status)> {
        let store = Store::at(self.channel.clone()).await?;
        // Entries of others stay as they are.
        let is_own = |entry: &Entry| entry.spiffe_id.as_ref().is_some_and(|id| id.path.starts_with(OWN));
        let ids: Vec<String> = store.entries.into_values().filter(is_own).map(|entry| entry.id).collect();
        let mut entries = EntryClient::new(self.channel.clone());
        let bundles: Vec<String> = store.bundles.into_keys().collect();
        let kind = self.random.below(10);
        let status = match kind {
            8 => return Ok(("set bundle", self.set_bundle().await?)),
            9 if self.deletes_bundles => return Ok(("delete bundle", self.delete_bundle().await?)),
            4..=6 if !ids.is_empty() => {
                let entry = Entry { id: self.random.one_of(&ids).clone(), ..self.entry(&bundles) };
                let request = BatchUpdateEntryRequest { entries: vec![entry], ..BatchUpdateEntryRequest::default() };
                let results = entries.batch_update_entry(request).await?.into_inner().results;
                ("update", results.into_iter().next().and_then(|result| result.status))
            }
            kind if !ids.is_empty() && (kind == 7 || ids.len() > ENTRIES) => {
                let request = BatchDeleteEntryRequest { ids: vec![self.random.one_of(&ids).clone()] };
                let results = entries.batch_delete_entry(request).await?.into_inner().results;
                ("delete", results.into_iter().next().and_then(|result| result.status))
            }
            _ => {
                let entry = self.entry(&bundles);
                let request = BatchCreateEntryRequest { entries: vec![entry], output_mask: None };
                let results = entries.batch_create_entry(request).await?.into_inner().results;
                ("create", results.into_iter().next().and_then(|result| result.status))
            }
        };
        Ok((status.0, status.1.context("no result")?))
    }

    async fn set_bundle(&mut self) -> Result<Status> {
        let trust_domain = *self.random.one_of(&FEDERATED);
        let ca = Ca::new(trust_domain, Clock::system().now());
        let request = BatchSetFederatedBundleRequest { bundle: vec![ca.api_bundle()], output_mask: None };
        let results = BundleClient::new(self.channel.clone()).batch_set_federated_bundle(request).await?;
        results.into_inner().results.into_iter().next().and_then(|result| result.status).context("no result")
    }

    async fn delete_bundle(&mut self) -> Result<Status> {
        let mode = *self.random.one_of(&[Mode::Restrict, Mode::Delete, Mode::Dissociate]);
        let trust_domains = vec![(*self.random.one_of(&FEDERATED)).to_owned()];
        let request = BatchDeleteFederatedBundleRequest { trust_domains, mode: mode.into() };
        let results = BundleClient::new(self.channel.clone()).batch_delete_federated_bundle(request).await?;
        results.into_inner().results.into_iter().next().and_then(|result| result.status).context("no result")
    }

    /// An entry in which everything but its ID is random.
    fn entry(&mut self, bundles: &[String]) -> Entry {
        let random = &mut self.random;
        let trust_domain = self.trust_domain.clone();
        let parent = random.one_of(&self.parents);
        let path = parent.trim_start_matches("spiffe://").trim_start_matches(&trust_domain).to_owned();
        let [uid, gid] = own_selectors();
        let stranger = Selector { value: "uid:4242".to_owned(), ..uid.clone() };
        let selectors = [vec![uid.clone()], vec![gid.clone()], vec![uid.clone(), gid], vec![stranger, uid]];
        let federates_with = bundles.iter().filter(|_| random.below(3) == 0).cloned().collect();
        Entry {
            spiffe_id: Some(Spiffeid {
                trust_domain: trust_domain.clone(),
                path: format!("{OWN}{}", random.below(20)),
            }),
            parent_id: Some(Spiffeid { trust_domain, path }),
            selectors: random.one_of(&selectors).clone(),
            federates_with,
            x509_svid_ttl: *random.one_of(&[0, 600, 3600]),
            jwt_svid_ttl: *random.one_of(&[0, 120]),
            admin: random.below(8) == 0,
            downstream: random.below(8) == 0,
            expires_at: *random.one_of(&[0, 4_000_000_000]),
            dns_names: (0..random.below(3)).map(|number| format!("d{number}.test")).collect(),
            // Of those with one hint an agent shows the oldest alone.
            hint: format!("{}", random.below(usize::MAX)),
            ..Entry::default()
        }
    }
}

/// Whether a database ended a transaction because of another one, or found that another one had just made the same row.
fn is_collision(message: &str) -> bool {
    let message = message.to_lowercase();
    ["deadlock", "duplicate entry", "duplicate key"].iter().any(|text| message.contains(text))
}
