//! One entry as the index keeps it: there may be a million, so that what is seldom asked for stays encoded.

use std::sync::Arc;

use bytes::Bytes;
use prost::{DecodeError, Message};
use steeple_datastore::Entry;
use steeple_proto::spire::api::types;

use super::{Seen, encode};

/// An entry: what the index and the streams look at, and all of it, encoded once.
#[derive(Debug)]
pub struct IndexedEntry {
    /// Its id, shared by all who name it.
    pub id: Arc<str>,
    /// Shared by all entries that name it.
    pub parent_id: Arc<str>,
    /// Shared by all entries that name it.
    pub spiffe_id: Arc<str>,
    /// Names of trust domains, `partner.org`, shared likewise.
    pub federates_with: Box<[Arc<str>]>,
    /// Raised with each update.
    pub revision_number: i64,
    /// In seconds since 1970.
    pub created_at: i64,
    /// SHA-256 of [`Self::for_agents`].
    pub digest: [u8; 32],
    /// The encoded `spire.api.types.Entry`: first the fields that agents use, then the others. One message behind the other
    /// is one message.
    encoded: Bytes,
    /// Where the first part ends.
    end: usize,
    /// Entries are kept in this order, which is that of their creation; an update does not change it.
    pub(super) place: u64,
    /// Of a node alias, the selectors that an agent must have; of others none.
    pub(super) alias_of: Box<[(String, String)]>,
    pub(super) seen: Seen,
}

/// What SVIDs take from an entry: `spire.api.types.Entry` with fewer fields, since one is read for each signature.
#[derive(Clone, PartialEq, Message)]
pub struct Terms {
    /// In seconds; 0 for the server's.
    #[prost(int32, tag = "5")]
    pub x509_svid_ttl: i32,
    /// The names of an X.509-SVID.
    #[prost(string, repeated, tag = "10")]
    pub dns_names: Vec<String>,
    /// Raised with each update.
    #[prost(int64, tag = "11")]
    pub revision_number: i64,
    /// In seconds; 0 for the server's.
    #[prost(int32, tag = "13")]
    pub jwt_svid_ttl: i32,
    /// Whether a JWT-SVID has a `jti`, among others.
    #[prost(message, optional, tag = "16")]
    pub additional_attributes: Option<types::entry::AdditionalAttributes>,
}

/// What is shared between entries, and where an entry stands.
pub(super) struct Surroundings {
    pub(super) parent_id: Arc<str>,
    pub(super) spiffe_id: Arc<str>,
    pub(super) federates_with: Box<[Arc<str>]>,
    pub(super) alias_of: Box<[(String, String)]>,
    pub(super) place: u64,
    /// The comparison in which it is read.
    pub(super) round: u32,
}

impl IndexedEntry {
    pub(super) fn new(whole: types::Entry, surroundings: Surroundings) -> Self {
        let Surroundings { parent_id, spiffe_id, federates_with, alias_of, place, round } = surroundings;
        let (id, revision_number, created_at) = (whole.id.as_str().into(), whole.revision_number, whole.created_at);
        let (encoded, end) = encoded(whole);
        let digest = steeple_pki::sha256(&encoded[..end]);
        let encoded = encoded.into();
        Self {
            id,
            parent_id,
            spiffe_id,
            federates_with,
            revision_number,
            created_at,
            digest,
            encoded,
            end,
            place,
            alias_of,
            seen: Seen::new(round),
        }
    }

    /// Whether it gives the same to the same.
    pub(super) fn stands_as(&self, other: &Self) -> bool {
        (&self.parent_id, &self.spiffe_id, &self.alias_of) == (&other.parent_id, &other.spiffe_id, &other.alias_of)
    }

    /// Whether the row says the same.
    pub(super) fn is_of(&self, row: &Entry) -> bool {
        encode::entry(row).is_some_and(|whole| self.encoded == encoded(whole).0)
    }

    /// The encoded `spire.api.types.Entry` with the fields that agents use ([`FOR_AGENTS`](super::FOR_AGENTS)).
    pub fn for_agents(&self) -> Bytes {
        self.encoded.slice(..self.end)
    }

    /// What SVIDs take from it.
    ///
    /// # Errors
    /// None: it is what was encoded here.
    pub fn terms(&self) -> Result<Terms, DecodeError> {
        Terms::decode(self.encoded.clone())
    }

    /// All of it.
    ///
    /// # Errors
    /// None: it is what was encoded here.
    pub fn whole(&self) -> Result<types::Entry, DecodeError> {
        types::Entry::decode(self.encoded.clone())
    }
}

/// The encoded message, and where the part for agents ends.
fn encoded(whole: types::Entry) -> (Vec<u8>, usize) {
    let (for_agents, others) = parted(whole);
    let mut encoded = for_agents.encode_to_vec();
    let end = encoded.len();
    encoded.reserve_exact(others.encoded_len());
    encoded.extend(others.encode_to_vec());
    (encoded, end)
}

/// What agents use, and the rest.
fn parted(whole: types::Entry) -> (types::Entry, types::Entry) {
    let types::Entry { parent_id, x509_svid_ttl, jwt_svid_ttl, dns_names, expires_at, .. } = whole;
    let others =
        types::Entry { parent_id, x509_svid_ttl, jwt_svid_ttl, dns_names, expires_at, ..types::Entry::default() };
    let for_agents = types::Entry {
        parent_id: None,
        x509_svid_ttl: 0,
        jwt_svid_ttl: 0,
        dns_names: Vec::new(),
        expires_at: 0,
        ..whole
    };
    (for_agents, others)
}
