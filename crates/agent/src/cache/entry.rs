//! Entries, and the selectors that decide who may have them.

use std::sync::Arc;

use prost::Message;
use steeple_proto::spire::api::types;
use steeple_spiffe::{IdError, SpiffeId, TrustDomain};

/// One selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Selector {
    /// Its type: the name of the attestor that found it.
    pub kind: Arc<str>,
    /// Its value.
    pub value: Arc<str>,
}

impl Selector {
    /// Whether `prefix` is the selector itself, or ends where one of its parts does.
    pub(crate) fn is_below(&self, prefix: &str) -> bool {
        let text = self.to_string();
        text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }
}

/// `unix:uid:1000`
impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// A set of selectors, sorted, each once. Cheap to clone, and equal sets are equal keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Selectors(Arc<[Selector]>);

impl Selectors {
    /// The set of these.
    pub(crate) fn new(mut selectors: Vec<Selector>) -> Self {
        selectors.sort();
        selectors.dedup();
        Self(selectors.into())
    }

    /// Whether every one of `these` is in the set.
    pub(crate) fn contain(&self, these: &Self) -> bool {
        these.0.iter().all(|selector| self.0.binary_search(selector).is_ok())
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Selector> {
        self.0.iter()
    }
}

/// An entry that the agent was authorized for.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its id.
    pub id: Arc<str>,
    /// What its workloads are.
    pub spiffe_id: SpiffeId,
    /// Whom it is for: processes that have all of these. Never empty.
    pub selectors: Selectors,
    /// Whose bundles its workloads get besides the own one.
    pub federates_with: Vec<TrustDomain>,
    /// Told to the workload.
    pub hint: String,
    /// When it was created, Unix seconds; decides between equal hints.
    pub created_at: i64,
    /// Raised with each change.
    pub revision_number: i64,
    /// For SVID stores alone: no workload gets it.
    pub store_svid: bool,
    /// Whether its SVID is made before a workload asks.
    pub prefetch: bool,
    /// SHA-256 of its encoded form.
    pub digest: [u8; 32],
}

/// Why an entry that the server sent is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadEntry {
    /// The bytes are no entry.
    #[error("malformed entry: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It has no id.
    #[error("missing entry ID")]
    NoId,
    /// Its SPIFFE ID is none.
    #[error("invalid SPIFFE ID: {0}")]
    SpiffeId(IdError),
    /// It has no SPIFFE ID.
    #[error("missing SPIFFE ID")]
    NoSpiffeId,
    /// One of its trust domains is none.
    #[error("invalid federated trust domain: {0}")]
    TrustDomain(IdError),
    /// It is for nobody, or for everybody.
    #[error("missing selectors")]
    NoSelectors,
    /// A selector that cannot be.
    #[error("malformed selector {0:?}")]
    Selector(String),
}

impl Entry {
    /// An entry as the server encoded it.
    ///
    /// # Errors
    /// See [`BadEntry`].
    pub(crate) fn decode(encoded: &[u8]) -> Result<Self, BadEntry> {
        Self::new(types::Entry::decode(encoded)?, steeple_pki::sha256(encoded))
    }

    /// An entry as the server's other API sends it.
    ///
    /// # Errors
    /// See [`BadEntry`].
    pub(crate) fn from_api(entry: types::Entry) -> Result<Self, BadEntry> {
        let digest = steeple_pki::sha256(&entry.encode_to_vec());
        Self::new(entry, digest)
    }

    fn new(entry: types::Entry, digest: [u8; 32]) -> Result<Self, BadEntry> {
        if entry.id.is_empty() {
            return Err(BadEntry::NoId);
        }
        let types::Spiffeid { trust_domain, path } = entry.spiffe_id.ok_or(BadEntry::NoSpiffeId)?;
        let trust_domain = TrustDomain::parse(&trust_domain).map_err(BadEntry::SpiffeId)?;
        let spiffe_id = SpiffeId::new(&trust_domain, &path).map_err(BadEntry::SpiffeId)?;
        if entry.selectors.is_empty() {
            return Err(BadEntry::NoSelectors);
        }
        let selectors = entry.selectors.into_iter().map(|types::Selector { r#type, value }| {
            if r#type.is_empty() || r#type.contains(':') || value.is_empty() {
                return Err(BadEntry::Selector(format!("{}:{value}", r#type)));
            }
            Ok(Selector { kind: r#type.into(), value: value.into() })
        });
        let selectors = Selectors::new(selectors.collect::<Result<_, _>>()?);
        let federates_with =
            entry.federates_with.iter().map(|name| TrustDomain::parse(name).map_err(BadEntry::TrustDomain));
        Ok(Self {
            id: entry.id.into(),
            spiffe_id,
            selectors,
            federates_with: federates_with.collect::<Result<_, _>>()?,
            hint: entry.hint,
            created_at: entry.created_at,
            revision_number: entry.revision_number,
            store_svid: entry.store_svid,
            prefetch: !entry.additional_attributes.is_some_and(|attributes| attributes.disable_x509_svid_prefetch),
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(values: &[&str]) -> Selectors {
        Selectors::new(values.iter().map(|value| Selector { kind: "unix".into(), value: (*value).into() }).collect())
    }

    #[test]
    fn a_set_contains_its_subsets_whatever_their_order() {
        let all = selectors(&["uid:1", "gid:2", "uid:1"]);
        assert_eq!(all, selectors(&["gid:2", "uid:1"]));
        assert!(all.contain(&selectors(&["gid:2"])));
        assert!(all.contain(&selectors(&[])));
        assert!(!all.contain(&selectors(&["gid:2", "gid:3"])));
    }

    #[test]
    fn an_entry_without_selectors_is_for_nobody() {
        let entry = types::Entry {
            id: "a".into(),
            spiffe_id: Some(types::Spiffeid { trust_domain: "example.org".into(), path: "/a".into() }),
            ..types::Entry::default()
        };
        assert!(matches!(Entry::from_api(entry), Err(BadEntry::NoSelectors)));
    }
}
