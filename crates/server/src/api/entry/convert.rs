//! Between entries of the API and rows.

use std::collections::HashSet;
use std::fmt::Display;

use bytes::Bytes;
use prost::Message;
use steeple_datastore as datastore;
use steeple_datastore::entries::EntryMask;
use steeple_proto::spire::api::types;
use steeple_spiffe::TrustDomain;
use tonic::Status;

use crate::api::{ids, keep, status};
use crate::dns_name;
use crate::entries::{FOR_AGENTS, IndexedEntry};

/// The longest hint, in bytes.
const HINT: usize = 1024;

/// An entry that a caller sent. The fields that `fields` names are checked; the others are left empty.
pub(super) fn stored(
    entry: types::Entry,
    fields: EntryMask,
    trust_domain: &TrustDomain,
) -> Result<datastore::Entry, Status> {
    let types::Entry {
        id,
        spiffe_id,
        parent_id,
        selectors,
        x509_svid_ttl,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number: _,
        store_svid,
        jwt_svid_ttl,
        hint,
        created_at: _,
        additional_attributes,
    } = entry;
    let mut stored = datastore::Entry { entry_id: id, ..datastore::Entry::default() };
    if fields.parent_id {
        let parent_id = ids::member(parent_id.as_ref(), trust_domain);
        stored.parent_id = parent_id.map_err(|error| refuse("invalid parent ID: ", error))?.to_string();
    }
    if fields.spiffe_id {
        let spiffe_id = ids::workload(spiffe_id.as_ref(), trust_domain);
        stored.spiffe_id = spiffe_id.map_err(|error| refuse("invalid spiffe ID: ", error))?.to_string();
    }
    if fields.selectors {
        if selectors.is_empty() {
            return Err(refuse("", "selector list is empty"));
        }
        stored.selectors = selectors_of(selectors).map_err(|error| refuse("", error))?;
    }
    if fields.dns_names {
        for name in &dns_names {
            dns_name::check(name).map_err(|error| refuse("invalid DNS name: ", error))?;
        }
        stored.dns_names = dns_names;
    }
    if fields.hint {
        if hint.len() > HINT {
            return Err(refuse("", "hint is too long, max length is 1024 characters"));
        }
        stored.hint = hint;
    }
    if fields.federates_with {
        let trust_domains = trust_domains_of(&federates_with);
        stored.federates_with = trust_domains.map_err(|error| refuse("invalid federated trust domain: ", error))?;
    }
    let additional_attributes = additional_attributes.map(|attributes| {
        let types::entry::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti } = attributes;
        datastore::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti }
    });
    // What any value will do for here; the datastore refuses negative lifetimes.
    Ok(datastore::Entry {
        x509_svid_ttl: keep(fields.x509_svid_ttl, x509_svid_ttl),
        jwt_svid_ttl: keep(fields.jwt_svid_ttl, jwt_svid_ttl),
        admin: keep(fields.admin, admin),
        downstream: keep(fields.downstream, downstream),
        expires_at: keep(fields.expires_at, expires_at),
        store_svid: keep(fields.store_svid, store_svid),
        additional_attributes: keep(fields.additional_attributes, additional_attributes),
        ..stored
    })
}

/// The fields that an input mask names; without a mask all. The revision number and the time of creation are the
/// server's, whatever the mask says.
pub(super) fn fields_of(mask: Option<types::EntryMask>) -> EntryMask {
    let Some(mask) = mask else { return EntryMask::ALL };
    let types::EntryMask {
        spiffe_id,
        parent_id,
        selectors,
        x509_svid_ttl,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number: _,
        store_svid,
        jwt_svid_ttl,
        hint,
        created_at: _,
        additional_attributes,
    } = mask;
    EntryMask {
        spiffe_id,
        parent_id,
        selectors,
        federates_with,
        x509_svid_ttl,
        jwt_svid_ttl,
        admin,
        downstream,
        expires_at,
        dns_names,
        store_svid,
        hint,
        additional_attributes,
    }
}

fn refuse(what: &str, error: impl Display) -> Status {
    status::invalid("failed to convert entry", format!("{what}{error}"))
}

/// Selectors of a request. Duplicates stay: the datastore refuses them.
pub(in crate::api) fn selectors_of(selectors: Vec<types::Selector>) -> Result<Vec<datastore::Selector>, &'static str> {
    selectors
        .into_iter()
        .map(|types::Selector { r#type, value }| {
            if r#type.is_empty() {
                return Err("missing selector type");
            }
            if r#type.contains(':') {
                return Err("selector type contains ':'");
            }
            if value.is_empty() {
                return Err("missing selector value");
            }
            Ok(datastore::Selector::new(r#type, value))
        })
        .collect()
}

/// Names or IDs of trust domains as they are stored, each once.
pub(super) fn trust_domains_of(names: &[String]) -> Result<Vec<String>, steeple_spiffe::IdError> {
    let (mut ids, mut seen) = (Vec::with_capacity(names.len()), HashSet::new());
    for name in names {
        let trust_domain = TrustDomain::parse(name)?;
        ids.extend(seen.insert(trust_domain.clone()).then(|| trust_domain.id().to_string()));
    }
    Ok(ids)
}

/// The entry with what a mask asks for, encoded.
pub(super) fn encoded(entry: &IndexedEntry, mask: Option<&types::EntryMask>) -> Option<Bytes> {
    if mask == Some(&FOR_AGENTS) {
        return Some(entry.for_agents());
    }
    Some(masked(entry.whole().ok()?, mask).encode_to_vec().into())
}

/// The entry with what a mask asks for; the id always. Without a mask, all.
pub(super) fn masked(entry: types::Entry, mask: Option<&types::EntryMask>) -> types::Entry {
    let Some(mask) = mask else { return entry };
    let types::EntryMask {
        spiffe_id,
        parent_id,
        selectors,
        x509_svid_ttl,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number,
        store_svid,
        jwt_svid_ttl,
        hint,
        created_at,
        additional_attributes,
    } = *mask;
    types::Entry {
        id: entry.id,
        spiffe_id: keep(spiffe_id, entry.spiffe_id),
        parent_id: keep(parent_id, entry.parent_id),
        selectors: keep(selectors, entry.selectors),
        x509_svid_ttl: keep(x509_svid_ttl, entry.x509_svid_ttl),
        federates_with: keep(federates_with, entry.federates_with),
        admin: keep(admin, entry.admin),
        downstream: keep(downstream, entry.downstream),
        expires_at: keep(expires_at, entry.expires_at),
        dns_names: keep(dns_names, entry.dns_names),
        revision_number: keep(revision_number, entry.revision_number),
        store_svid: keep(store_svid, entry.store_svid),
        jwt_svid_ttl: keep(jwt_svid_ttl, entry.jwt_svid_ttl),
        hint: keep(hint, entry.hint),
        created_at: keep(created_at, entry.created_at),
        additional_attributes: keep(additional_attributes, entry.additional_attributes),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use steeple_datastore::{AdditionalAttributes, Part, Selector};

    use super::*;
    use crate::entries::{Index, Loading, Terms, api_entry};

    const AGENT: &str = "spiffe://example.org/spire/agent/a";

    /// An entry in which no field is empty, as the index keeps it.
    fn indexed() -> Arc<IndexedEntry> {
        let row = datastore::Entry {
            entry_id: "id".into(),
            spiffe_id: "spiffe://example.org/workload".into(),
            parent_id: AGENT.into(),
            selectors: vec![Selector::new("unix", "uid:0"), Selector::new("unix", "gid:0")],
            federates_with: vec!["spiffe://partner.org".into()],
            x509_svid_ttl: 1,
            jwt_svid_ttl: 2,
            admin: true,
            downstream: true,
            expires_at: 3,
            dns_names: vec!["name".into()],
            revision_number: 4,
            store_svid: true,
            hint: "hint".into(),
            additional_attributes: Some(AdditionalAttributes {
                disable_x509_svid_prefetch: true,
                jwt_svid_include_jti: true,
            }),
            created_at: 5,
        };
        let whole = api_entry(&row).unwrap();
        let mut loading = Loading::new(&TrustDomain::parse("example.org").unwrap());
        loading.add(Part::Entries(vec![row]));
        let entry = Index::new(loading).authorized(AGENT).remove(0);
        assert_eq!(entry.whole().unwrap(), whole);
        let terms = Terms {
            x509_svid_ttl: whole.x509_svid_ttl,
            dns_names: whole.dns_names,
            revision_number: whole.revision_number,
            jwt_svid_ttl: whole.jwt_svid_ttl,
            additional_attributes: whole.additional_attributes,
        };
        assert_eq!(entry.terms().unwrap(), terms);
        entry
    }

    #[test]
    fn what_is_copied_for_agents_is_what_their_mask_leaves() {
        let entry = indexed();
        let answer = encoded(&entry, Some(&FOR_AGENTS)).unwrap();
        assert_eq!(answer, masked(entry.whole().unwrap(), Some(&FOR_AGENTS)).encode_to_vec());
        assert_eq!(answer.as_ptr(), entry.for_agents().as_ptr(), "made anew");
    }

    #[test]
    fn other_masks_and_none_are_answered_too() {
        let entry = indexed();
        let whole = entry.whole().unwrap();
        assert_eq!(types::Entry::decode(encoded(&entry, None).unwrap()).unwrap(), whole);
        let mask = types::EntryMask { dns_names: true, ..FOR_AGENTS };
        let some = types::Entry { parent_id: None, x509_svid_ttl: 0, jwt_svid_ttl: 0, expires_at: 0, ..whole };
        assert_eq!(types::Entry::decode(encoded(&entry, Some(&mask)).unwrap()).unwrap(), some);
    }
}
