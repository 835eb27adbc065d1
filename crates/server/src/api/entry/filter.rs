//! Filters of the entry listings.

use std::fmt::Display;

use steeple_datastore::MatchSet;
use steeple_datastore::entries::EntryFilter;
use steeple_proto::spire::api::server::entry::v1::count_entries_request::Filter as CountFilter;
use steeple_proto::spire::api::server::entry::v1::list_entries_request::Filter as ListFilter;
use steeple_proto::spire::api::types;
use steeple_spiffe::TrustDomain;
use tonic::Status;

use super::convert::{selectors_of, trust_domains_of};
use crate::api::{ids, status};

/// Both requests' filters have the same form, but are of different types.
pub(super) fn as_of_list(filter: CountFilter) -> ListFilter {
    let CountFilter { by_spiffe_id, by_parent_id, by_selectors, by_federates_with, by_hint, by_downstream } = filter;
    ListFilter { by_spiffe_id, by_parent_id, by_selectors, by_federates_with, by_hint, by_downstream }
}

/// As the datastore takes it. `failed` begins the refusal of what it does not know.
pub(super) fn checked(
    filter: Option<ListFilter>,
    trust_domain: &TrustDomain,
    failed: &str,
) -> Result<EntryFilter, Status> {
    let ListFilter { by_spiffe_id, by_parent_id, by_selectors, by_federates_with, by_hint, by_downstream } =
        filter.unwrap_or_default();
    let malformed = |what: &str, error: &dyn Display| status::invalid(&format!("malformed {what} filter"), error);
    let unhandled = |error: steeple_datastore::Error| status::internal(failed, error);
    Ok(EntryFilter {
        by_parent_id: by_parent_id
            .map(|id| ids::member(Some(&id), trust_domain))
            .transpose()
            .map_err(|error| malformed("parent ID", &error))?
            .map(|id| id.to_string()),
        by_spiffe_id: by_spiffe_id
            .map(|id| ids::workload(Some(&id), trust_domain))
            .transpose()
            .map_err(|error| malformed("SPIFFE ID", &error))?
            .map(|id| id.to_string()),
        by_selectors: by_selectors
            .map(|types::SelectorMatch { selectors, r#match }| {
                if selectors.is_empty() {
                    return Err(malformed("selectors", &"empty selector set"));
                }
                let items = selectors_of(selectors).map_err(|error| malformed("selectors", &error))?;
                let behavior = steeple_datastore::Match::of_entry_selectors(r#match).map_err(unhandled)?;
                Ok(MatchSet { items, behavior })
            })
            .transpose()?,
        by_federates_with: by_federates_with
            .map(|types::FederatesWithMatch { trust_domains, r#match }| {
                if trust_domains.is_empty() {
                    return Err(malformed("federates with", &"empty trust domain set"));
                }
                let items = trust_domains_of(&trust_domains).map_err(|error| malformed("federates with", &error))?;
                let behavior = steeple_datastore::Match::of_federates_with(r#match).map_err(unhandled)?;
                Ok(MatchSet { items, behavior })
            })
            .transpose()?,
        by_hint: by_hint.filter(|hint| !hint.is_empty()),
        by_downstream,
    })
}
