//! The files of `entry create -data` and `entry delete -file`.

use anyhow::Context;
use serde::Deserialize;
use steeple_proto::spire::api::types;
use steeple_spiffe::TrustDomain;

use crate::cli::go_json::read;
use crate::cli::id;

/// The entries to create.
///
/// # Errors
/// It is no JSON, a member has another type, or an ID is malformed.
pub(super) fn entries(json: &[u8]) -> anyhow::Result<Vec<types::Entry>> {
    let Entries { entries } = read(json)?;
    entries.into_iter().map(Entry::into_wire).collect()
}

/// The IDs of the entries to delete.
///
/// # Errors
/// It is no JSON, or a member has another type.
pub(super) fn ids(json: &[u8]) -> anyhow::Result<Vec<String>> {
    let Ids { ids } = read(json)?;
    Ok(ids)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entries {
    entries: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ids {
    ids: Vec<String>,
}

/// `spire.common.RegistrationEntry`
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    entry_id: String,
    spiffe_id: String,
    parent_id: String,
    selectors: Vec<Selector>,
    x509_svid_ttl: i32,
    jwt_svid_ttl: i32,
    federates_with: Vec<String>,
    admin: bool,
    downstream: bool,
    store_svid: bool,
    /// `entryExpiry`: the one name in camel case.
    #[serde(rename = "entryexpiry", alias = "entryExpiry")]
    entry_expiry: i64,
    dns_names: Vec<String>,
    revision_number: i64,
    created_at: i64,
    hint: String,
    additional_attributes: Option<AdditionalAttributes>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Selector {
    r#type: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AdditionalAttributes {
    disable_x509_svid_prefetch: bool,
    jwt_svid_include_jti: bool,
}

impl Entry {
    fn into_wire(self) -> anyhow::Result<types::Entry> {
        let Self {
            entry_id,
            spiffe_id,
            parent_id,
            selectors,
            x509_svid_ttl,
            jwt_svid_ttl,
            federates_with,
            admin,
            downstream,
            store_svid,
            entry_expiry,
            dns_names,
            revision_number,
            created_at,
            hint,
            additional_attributes,
        } = self;
        let spiffe_id = id::parse("spiffe_id", &spiffe_id).context("invalid SPIFFE ID")?;
        let parent_id = id::parse("parent_id", &parent_id).context("invalid parent ID")?;
        let trust_domain = |text: &String| anyhow::Ok(TrustDomain::parse(text)?.name().to_owned());
        let federates_with = federates_with.iter().map(trust_domain).collect::<Result<_, _>>();
        let selector = |Selector { r#type, value }| types::Selector { r#type, value };
        let attributes = |AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti }| {
            types::entry::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti }
        };
        Ok(types::Entry {
            id: entry_id,
            spiffe_id: Some(spiffe_id),
            parent_id: Some(parent_id),
            selectors: selectors.into_iter().map(selector).collect(),
            x509_svid_ttl,
            federates_with: federates_with.context("invalid federated trust domain")?,
            admin,
            downstream,
            expires_at: entry_expiry,
            dns_names,
            revision_number,
            store_svid,
            jwt_svid_ttl,
            hint,
            created_at,
            additional_attributes: additional_attributes.map(attributes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_any_case_and_unknown_ones_and_null_are_ignored() {
        let json = r#"{"ENTRIES": [{
            "Spiffe_ID": "spiffe://example.org/w", "PARENT_id": "spiffe://example.org/n", "spiffeId": "nope", "hint": null,
            "selectors": [{"TYPE": "unix", "value": "uid:1"}], "entryExpiry": 7, "federates_with": ["spiffe://a.test"],
            "ttl": 5, "additional_attributes": {}
        }]}"#;
        let [entry] = entries(json.as_bytes()).unwrap().try_into().unwrap();
        assert_eq!(id::text(entry.spiffe_id.as_ref()), "spiffe://example.org/w");
        assert_eq!((entry.expires_at, entry.hint.as_str(), entry.selectors.len()), (7, "", 1));
        assert_eq!(entry.federates_with, ["a.test"]);
        assert!(entry.additional_attributes.is_some());
    }

    #[test]
    fn says_which_id_is_malformed() {
        for (json, expected) in [
            (r#"{"entries": [{}]}"#, "invalid SPIFFE ID: cannot be empty"),
            (
                r#"{"entries": [{"spiffe_id": "spiffe://a/b", "parent_id": "x"}]}"#,
                "invalid parent ID: scheme is missing or invalid",
            ),
            (
                r#"{"entries": [{"spiffe_id": "spiffe://a/b", "parent_id": "spiffe://a/c", "federates_with": ["B!"]}]}"#,
                "invalid federated trust domain: trust domain characters are limited to lowercase letters, numbers, dots, \
                 dashes, and underscores",
            ),
        ] {
            assert_eq!(format!("{:#}", entries(json.as_bytes()).unwrap_err()), expected);
        }
    }

    #[test]
    fn refuses_what_is_no_json_or_of_another_type() {
        for json in [
            "",
            "{nope",
            "[]",
            "[1]",
            r#"{"ids": ["a"]} x"#,
            r#"{"ids": "a"}"#,
            r#"{"ids": [1]}"#,
            r#"{"ids": [null]}"#,
        ] {
            assert!(ids(json.as_bytes()).is_err(), "{json}");
        }
        let error = entries(b"{\"entries\": [\n{\"entryExpiry\": \"5\"}]}").unwrap_err();
        assert_eq!(error.to_string(), "invalid type: string \"5\", expected i64 at line 2 column 19");
        assert!(entries(br#"{"entries": [{"x509_svid_ttl": 5000000000}]}"#).is_err());
        assert!(ids(b"null").unwrap().is_empty());
    }
}
