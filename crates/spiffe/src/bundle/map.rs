//! The SPIFFE bundle map (SPIFFE Trust Domain and Bundle, section 5): the bundles of several trust domains in one JSON
//! document.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::jwks::{self, Document, Mode, Options, Unread, from_json, to_json};
use super::{BundleError, BundleSet};
use crate::TrustDomain;

/// Writes the map with all authorities of each bundle. Refresh hints are left out: they are about one bundle, not about
/// all of them (section 5.1.1).
pub fn marshal(bundles: &BundleSet) -> Vec<u8> {
    let written = bundles.iter().map(|bundle| {
        let options = Options { refresh_hint: None, wit_authorities: true };
        (bundle.trust_domain.name(), jwks::write(bundle, options).without_refresh_hint())
    });
    to_json(&Map { trust_domains: written.collect() })
}

/// Reads a map, each bundle as [`jwks::parse`] does by the standard. Refresh hints are ignored (section 5.1.1). An empty
/// map is a map.
///
/// # Errors
/// [`BundleError`]; one bad name or bundle refuses the whole map, and so does a trust domain that occurs twice.
pub fn parse(document: &[u8]) -> Result<BundleSet, BundleError> {
    let UnreadMap { trust_domains } = from_json(document)?;
    let mut bundles = BundleSet::new();
    for (name, document) in trust_domains.ok_or(BundleError::NoTrustDomains)?.0 {
        let in_map = |reason| BundleError::InMap { name: name.clone(), reason: Box::new(reason) };
        // A name, not an ID that could be reduced to one: two spellings would be a way around the next check.
        let trust_domain = TrustDomain::from_name(&name).map_err(|error| in_map(error.into()))?;
        let mut bundle = jwks::read(&trust_domain, document, Mode::Standard).map_err(in_map)?;
        bundle.refresh_hint = None;
        if bundles.insert(bundle).is_some() {
            return Err(BundleError::DuplicateTrustDomain(name));
        }
    }
    Ok(bundles)
}

#[derive(Serialize)]
struct Map<'a> {
    trust_domains: BTreeMap<&'a str, Document>,
}

#[derive(Deserialize)]
struct UnreadMap {
    trust_domains: Option<Members>,
}

/// The members of an object in their order, those of one name each: a map of the JSON library would keep the last one.
struct Members(Vec<(String, Unread)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of bundles")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
