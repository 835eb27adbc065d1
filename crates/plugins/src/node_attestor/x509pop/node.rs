//! What a verified certificate says about its node: the agent's ID, by a template, and selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use steeple_catalog::PluginError;
use steeple_pki::{PublicKeyKind, sha1};
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::x509::{Certificate, DistinguishedName, hex};
use steeple_spiffe::{SpiffeId, TrustDomain};
use tracing::warn;

use crate::node_attestor::template::{Template, Value};

/// A node, by its certificate.
pub(super) struct Node<'a> {
    leaf: &'a Certificate,
    paths: &'a [Vec<Certificate>],
    trust_domain: &'a TrustDomain,
    svid_path: Option<&'a str>,
    /// Of the URI SANs that are selectors, key and value.
    sans: Vec<(String, String)>,
}

impl<'a> Node<'a> {
    /// With all paths from the leaf to authorities and, of an SVID, what stands behind the prefix of its path.
    pub(super) fn new(
        leaf: &'a Certificate,
        paths: &'a [Vec<Certificate>],
        trust_domain: &'a TrustDomain,
        svid_path: Option<&'a str>,
    ) -> Self {
        Self { leaf, paths, trust_domain, svid_path, sans: uri_san_selectors(leaf, trust_domain) }
    }

    pub(super) fn agent_id(&self, template: &Template) -> Result<String, PluginError> {
        let failed =
            |error: &dyn std::fmt::Display| PluginError::internal(format!("failed to make spiffe id: {error}"));
        let path = template.render(&self.data()).map_err(|error| failed(&error))?;
        let id = SpiffeId::new(self.trust_domain, &format!("/spire/agent{path}")).map_err(|error| failed(&error))?;
        if path.starts_with('/') { Ok(id.to_string()) } else { Err(failed(&"path must have a leading slash")) }
    }

    pub(super) fn selectors(&self) -> Vec<String> {
        let mut selectors = Vec::new();
        let common_name = self.leaf.subject().common_name;
        if !common_name.is_empty() {
            selectors.push(format!("subject:cn:{common_name}"));
        }
        let authorities: BTreeSet<_> = self.paths.iter().flat_map(|path| &path[1..]).map(fingerprint).collect();
        selectors.extend(authorities.into_iter().map(|fingerprint| format!("ca:fingerprint:{fingerprint}")));
        selectors.push(format!("serialnumber:{}", self.serial_number()));
        selectors.extend(self.sans.iter().map(|(key, value)| format!("san:{key}:{value}")));
        selectors
    }

    fn serial_number(&self) -> String {
        let serial = self.leaf.serial_hex();
        if serial.is_empty() { "00".to_owned() } else { serial }
    }

    /// What a template can name.
    fn data(&self) -> Value {
        let mut fields = certificate(self.leaf);
        let sans = self.sans.iter().cloned().collect();
        fields.extend(
            [
                ("SerialNumberHex", Value::Text(self.serial_number())),
                ("Fingerprint", Value::Text(fingerprint(self.leaf))),
                ("PluginName", Value::from("x509pop")),
                ("TrustDomain", Value::from(self.trust_domain.name())),
                ("SVIDPathTrimmed", Value::from(self.svid_path.unwrap_or_default())),
                ("URISanSelectors", Value::Texts(sans)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        // Printed as a whole it makes no path, here as there.
        Value::Struct { text: "map[...]".to_owned(), fields }
    }
}

/// `x509pop://TRUST DOMAIN/KEY/VALUE`, where the value is all that is left.
fn uri_san_selectors(leaf: &Certificate, trust_domain: &TrustDomain) -> Vec<(String, String)> {
    let own = format!("x509pop://{}/", trust_domain.name());
    let mut selectors = Vec::new();
    for uri in leaf.uri_sans() {
        let Some(rest) = uri.strip_prefix(&own) else { continue };
        match rest.split_once('/') {
            Some((key, value)) => selectors.push((key.to_owned(), value.to_owned())),
            None => warn!(
                target: "catalog",
                plugin_name = "x509pop",
                plugin_type = "NodeAttestor",
                external = false,
                "cannot extract x509pop san selectors from {uri}"
            ),
        }
    }
    selectors
}

fn fingerprint(certificate: &Certificate) -> String {
    hex(&sha1(certificate.der()))
}

/// The fields of Go's `x509.Certificate` that IDs are made of.
fn certificate(leaf: &Certificate) -> BTreeMap<String, Value> {
    let texts = |texts: &[String]| Value::List(texts.iter().map(|text| Value::from(text.as_str())).collect());
    let serial = Value::structure(&leaf.serial_decimal(), [("String", Value::Text(leaf.serial_decimal()))]);
    [
        ("Subject", name(leaf.subject())),
        ("Issuer", name(leaf.issuer())),
        ("SerialNumber", serial),
        ("DNSNames", texts(leaf.dns_sans())),
        ("EmailAddresses", texts(leaf.email_sans())),
        ("IPAddresses", Value::List(leaf.ip_sans().iter().map(|ip| Value::Text(ip.to_string())).collect())),
        ("URIs", Value::List(leaf.uri_sans().iter().map(|uri| url(uri)).collect())),
        ("IsCA", Value::Bool(leaf.is_ca())),
        ("NotBefore", time(leaf.not_before())),
        ("NotAfter", time(leaf.not_after())),
        ("PublicKeyAlgorithm", Value::from(key_algorithm(leaf))),
        ("SubjectKeyId", Value::Bytes(leaf.subject_key_id().unwrap_or_default().into())),
        ("AuthorityKeyId", Value::Bytes(leaf.authority_key_id().unwrap_or_default().into())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Go's `time.Time`.
fn time(at: SystemTime) -> Value {
    let seconds = unix_seconds(at);
    let text =
        jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string());
    Value::structure(&text.unwrap_or_default(), [("Unix", Value::Int(seconds))])
}

fn key_algorithm(leaf: &Certificate) -> &'static str {
    match leaf.public_key().map(|key| key.kind()) {
        Ok(PublicKeyKind::Rsa(_)) => "RSA",
        Ok(PublicKeyKind::Ed25519) => "Ed25519",
        _ => "ECDSA",
    }
}

/// Go's `pkix.Name`.
fn name(name: DistinguishedName) -> Value {
    let text = name.to_string();
    let DistinguishedName {
        countries,
        provinces,
        localities,
        street_addresses,
        postal_codes,
        organizations,
        organizational_units,
        common_name,
        serial_number,
        extra: _,
    } = name;
    let texts = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::Text).collect());
    let fields = [
        ("Country", texts(countries)),
        ("Province", texts(provinces)),
        ("Locality", texts(localities)),
        ("StreetAddress", texts(street_addresses)),
        ("PostalCode", texts(postal_codes)),
        ("Organization", texts(organizations)),
        ("OrganizationalUnit", texts(organizational_units)),
        ("CommonName", Value::Text(common_name)),
        ("SerialNumber", Value::Text(serial_number)),
        ("String", Value::Text(text.clone())),
    ];
    Value::structure(&text, fields)
}

/// Go's `url.URL`, as far as URIs of certificates have its parts.
fn url(uri: &str) -> Value {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let fields = [
        ("Scheme", Value::from(scheme)),
        ("Host", Value::from(host)),
        ("Path", Value::from(path)),
        ("String", Value::from(uri)),
    ];
    Value::structure(uri, fields)
}
