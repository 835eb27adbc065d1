//! The flags of `entry create` and `entry update` that describe an entry.

use anyhow::ensure;
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::entry::AdditionalAttributes;

use crate::cli::id;

/// The flags that describe an entry.
#[derive(Default)]
pub(super) struct EntryFlags {
    pub(super) entry_id: String,
    parent_id: String,
    spiffe_id: String,
    selectors: Vec<String>,
    x509_svid_ttl: i64,
    jwt_svid_ttl: i64,
    federates_with: Vec<String>,
    admin: bool,
    store_svid: bool,
    downstream: bool,
    entry_expiry: i64,
    dns_names: Vec<String>,
    hint: String,
    pub(super) attributes: Attributes,
}

/// The flags of an entry's seldom used attributes; None when one is not given.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    disable_x509_svid_prefetch: Option<bool>,
    jwt_svid_include_jti: Option<bool>,
}

/// Whose child an entry is.
#[derive(Clone, Copy)]
pub(super) enum Parent {
    /// Of the server: it gives agents another identity.
    Server,
    /// Of whom the flag names. If it names nobody, this is the error.
    Named(&'static str),
}

impl Attributes {
    /// The attributes that were there, with those that are given in place of them. All off is none.
    pub(super) fn over(self, stored: Option<AdditionalAttributes>) -> Option<AdditionalAttributes> {
        let Self { disable_x509_svid_prefetch, jwt_svid_include_jti } = self;
        let stored = stored.unwrap_or_default();
        let attributes = AdditionalAttributes {
            disable_x509_svid_prefetch: disable_x509_svid_prefetch.unwrap_or(stored.disable_x509_svid_prefetch),
            jwt_svid_include_jti: jwt_svid_include_jti.unwrap_or(stored.jwt_svid_include_jti),
        };
        Some(attributes).filter(|attributes| *attributes != AdditionalAttributes::default())
    }
}

impl EntryFlags {
    pub(super) fn add_to<'a>(&'a mut self, flags: FlagSet<'a>) -> FlagSet<'a> {
        let Self {
            entry_id,
            parent_id,
            spiffe_id,
            selectors,
            x509_svid_ttl,
            jwt_svid_ttl,
            federates_with,
            admin,
            store_svid,
            downstream,
            entry_expiry,
            dns_names,
            hint,
            attributes,
        } = self;
        let Attributes { disable_x509_svid_prefetch, jwt_svid_include_jti } = attributes;
        flags
            .flag("entryID", entry_id, "The entry's own ID; a new entry gets one if there is none")
            .flag("parentID", parent_id, "The SPIFFE ID of the agent or server that may hold the SVID")
            .flag("spiffeID", spiffe_id, "The SPIFFE ID that the entry gives")
            .flag("selector", selectors, "A selector, `type:value`, of the workload; repeatable")
            .flag("x509SVIDTTL", x509_svid_ttl, "How many seconds an X509-SVID lives; 0: the server's default")
            .flag("jwtSVIDTTL", jwt_svid_ttl, "How many seconds a JWT-SVID lives; 0: the server's default")
            .flag("federatesWith", federates_with, "A `domain` whose bundle the workload needs; repeatable")
            .flag("admin", admin, "Let the SPIFFE ID use the server's administrative APIs")
            .flag("storeSVID", store_svid, "Have the SVID stored by a plugin of the agent")
            .flag("downstream", downstream, "The SPIFFE ID is that of a server below this one")
            .flag("entryExpiry", entry_expiry, "When the entry ends, in seconds since 1970; 0: never")
            .flag("dns", dns_names, "A DNS `name` in X509-SVIDs; repeatable")
            .flag("hint", hint, "What tells this entry from others of the same SPIFFE ID")
            .flag("disableX509SVIDPrefetch", disable_x509_svid_prefetch, "Sign X509-SVIDs on demand")
            .flag("jwtSVIDIncludeJTI", jwt_svid_include_jti, "Put a unique jti in JWT-SVIDs")
    }

    /// The entry. What is missing is told in this order, and before what is malformed.
    pub(super) fn entry(self, parent: Parent) -> anyhow::Result<types::Entry> {
        let Self {
            entry_id,
            parent_id,
            spiffe_id,
            selectors,
            x509_svid_ttl,
            jwt_svid_ttl,
            federates_with,
            admin,
            store_svid,
            downstream,
            entry_expiry,
            dns_names,
            hint,
            attributes,
        } = self;
        ensure!(!selectors.is_empty(), "at least one selector is required");
        if let Parent::Named(missing) = parent {
            ensure!(!parent_id.is_empty(), missing);
        }
        ensure!(!spiffe_id.is_empty(), "a SPIFFE ID is required");
        if let Parent::Server = parent {
            ensure!(federates_with.is_empty(), "node entries can not federate");
        }
        ensure!(x509_svid_ttl >= 0, "a positive x509-SVID TTL is required");
        ensure!(jwt_svid_ttl >= 0, "a positive JWT-SVID TTL is required");

        let spiffe_id = id::parse("-spiffeID", &spiffe_id)?;
        let parent_id = match parent {
            Parent::Server => {
                types::Spiffeid { trust_domain: spiffe_id.trust_domain.clone(), path: "/spire/server".into() }
            }
            Parent::Named(_) => id::parse("-parentID", &parent_id)?,
        };
        let x509_svid_ttl = id::int32("X509 SVID TTL", x509_svid_ttl)?;
        let jwt_svid_ttl = id::int32("JWT SVID TTL", jwt_svid_ttl)?;
        let selectors = selectors.iter().map(|text| id::selector(text)).collect::<Result<_, _>>()?;
        Ok(types::Entry {
            id: entry_id,
            spiffe_id: Some(spiffe_id),
            parent_id: Some(parent_id),
            selectors,
            x509_svid_ttl,
            federates_with,
            admin,
            downstream,
            expires_at: entry_expiry,
            dns_names,
            revision_number: 0,
            store_svid,
            jwt_svid_ttl,
            hint,
            created_at: 0,
            additional_attributes: attributes.over(None),
        })
    }
}
