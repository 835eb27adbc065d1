//! The file of `federation create -data` and `federation update -data`.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use steeple_config::quote::Quoted;
use steeple_proto::spire::api::types;

use super::relationship::{Description, labelled};
use crate::cli::bundle::DocumentFormat;
use crate::cli::go_json;

/// The relationships to write.
///
/// # Errors
/// It is no JSON, a member has another type, or something in a relationship is missing or malformed.
pub(super) fn relationships(json: &[u8]) -> anyhow::Result<Vec<types::FederationRelationship>> {
    let Relationships { relationships } = go_json::read(json).context("failed to parse JSON")?;
    let numbered = relationships.into_iter().enumerate();
    numbered.map(|(i, it)| it.into_wire().with_context(|| format!("could not parse item {i}"))).collect()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Relationships {
    #[serde(rename = "federationrelationships", alias = "federationRelationships")]
    relationships: Vec<Relationship>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Relationship {
    #[serde(rename = "trustdomain", alias = "trustDomain")]
    trust_domain: String,
    #[serde(rename = "bundleendpointurl", alias = "bundleEndpointURL")]
    bundle_endpoint_url: String,
    #[serde(rename = "bundleendpointprofile", alias = "bundleEndpointProfile")]
    bundle_endpoint_profile: String,
    #[serde(rename = "endpointspiffeid", alias = "endpointSPIFFEID")]
    endpoint_spiffe_id: String,
    /// PEM as text, or the standard's document as it is.
    #[serde(rename = "trustdomainbundle", alias = "trustDomainBundle")]
    bundle: Option<Value>,
    /// There is no default.
    #[serde(rename = "trustdomainbundleformat", alias = "trustDomainBundleFormat")]
    bundle_format: String,
}

impl Relationship {
    fn into_wire(self) -> anyhow::Result<types::FederationRelationship> {
        let Self {
            trust_domain,
            bundle_endpoint_url,
            bundle_endpoint_profile,
            endpoint_spiffe_id,
            bundle,
            bundle_format,
        } = self;
        let description =
            Description { trust_domain, bundle_endpoint_url, bundle_endpoint_profile, endpoint_spiffe_id };
        let mut relationship = description.relationship()?;
        if let Some(bundle) = bundle {
            let bundle = read_bundle(&labelled(&relationship)?, &bundle, &bundle_format);
            relationship.trust_domain_bundle = Some(bundle.context("cannot parse bundle raw message")?);
        }
        Ok(relationship)
    }
}

fn read_bundle(trust_domain: &str, bundle: &Value, format: &str) -> anyhow::Result<types::Bundle> {
    match (format, bundle) {
        ("pem", Value::String(text)) => DocumentFormat::Pem.read(trust_domain, text.as_bytes()),
        ("pem", _) => bail!("failed to unmarshal json: a bundle in PEM is text"),
        ("spiffe", document) => DocumentFormat::Spiffe.read(trust_domain, &serde_json::to_vec(document)?),
        (other, _) => bail!("bundle format {} is unsupported", Quoted(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(more: &str) -> String {
        let known =
            r#""trustDomain": "a.test", "bundleEndpointURL": "https://a.test", "bundleEndpointProfile": "https_web""#;
        format!(r#"{{"federationRelationships": [{{{known}{more}}}]}}"#)
    }

    #[test]
    fn names_come_in_any_case_and_unknown_ones_and_null_are_ignored() {
        let json = r#"{"FEDERATIONrelationships": [{"TrustDOMAIN": "a.test", "bundleendpointurl": "https://a.test",
            "BundleEndpointProfile": "https_spiffe", "endpointSpiffeId": "spiffe://a.test/e", "trustDomainBundle": null,
            "more": {}}], "other": 1}"#;
        let [relationship] = relationships(json.as_bytes()).unwrap().try_into().unwrap();
        assert_eq!(relationship.trust_domain, "a.test");
        assert_eq!(labelled(&relationship).unwrap(), "a.test");
        assert!(relationship.trust_domain_bundle.is_none());
        assert!(relationships(b"null").unwrap().is_empty());
    }

    #[test]
    fn a_bundle_is_the_standards_document_as_it_is() {
        let json =
            item(r#", "trustDomainBundleFormat": "spiffe", "trustDomainBundle": {"keys": [], "spiffe_sequence": 7}"#);
        let [relationship] = relationships(json.as_bytes()).unwrap().try_into().unwrap();
        let bundle = relationship.trust_domain_bundle.unwrap();
        assert_eq!((bundle.trust_domain.as_str(), bundle.sequence_number), ("a.test", 7));
    }

    #[test]
    fn says_what_is_wrong_with_which_item() {
        for (more, told) in [
            (r#", "trustDomainBundle": "x""#, "cannot parse bundle raw message: bundle format \"\" is unsupported"),
            (
                r#", "trustDomainBundle": "x", "trustDomainBundleFormat": "pem""#,
                "cannot parse bundle raw message: unable to parse bundle data: no PEM blocks",
            ),
            (
                r#", "trustDomainBundle": {}, "trustDomainBundleFormat": "pem""#,
                "cannot parse bundle raw message: failed to unmarshal json: a bundle in PEM is text",
            ),
            (r#", "bundleEndpointProfile": """#, "unknown bundle endpoint profile type: \"\""),
            (r#", "bundleEndpointURL": """#, "bundle endpoint URL is required"),
            (r#", "trustDomain": """#, "trust domain is required"),
        ] {
            let error = relationships(item(more).as_bytes()).unwrap_err();
            assert_eq!(format!("{error:#}"), format!("could not parse item 0: {told}"));
        }
        assert!(format!("{:#}", relationships(b"[]").unwrap_err()).starts_with("failed to parse JSON: "));
    }
}
