//! What audit records say of the items of batches, in the reference's fields.

use serde_json::{Value as Json, json};
use steeple_datastore::entries::EntryMask;
use steeple_datastore::federation::FederationRelationshipMask;
use steeple_pki::{CertificateRequest, Name};
use steeple_proto::spire::api::server::agent::v1::list_agents_request;
use steeple_proto::spire::api::server::entry::v1::list_entries_request;
use steeple_proto::spire::api::server::svid::v1::NewX509svidParams;
use steeple_proto::spire::api::types;
use steeple_proto::spire::api::types::federation_relationship::BundleEndpointProfile;
use steeple_runtime::logging::{Field, Value};
use steeple_spiffe::x509::{Certificate, hex};
use steeple_transport::rpc::{Call, Fields};

use crate::ca::sign::expires_at;

/// An entry as a caller sent it: the fields that are to be written.
pub(super) fn entry(entry: &types::Entry, written: EntryMask) -> Fields {
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
        revision_number,
        store_svid,
        jwt_svid_ttl,
        hint,
        created_at,
        additional_attributes: _,
    } = entry;
    let id_of = |id: &Option<types::Spiffeid>| id.as_ref().map(id_text).unwrap_or_default();
    let selectors: Vec<_> = selectors.iter().map(|it| format!("{}:{}", it.r#type, it.value)).collect();
    let said = field::<Value>;
    let fields = [
        (!id.is_empty(), said("entry_id", id.into())),
        (written.spiffe_id, said("spiffe_id", id_of(spiffe_id).into())),
        (written.parent_id, said("parent_id", id_of(parent_id).into())),
        (written.selectors, said("selectors", selectors.join(",").into())),
        (written.x509_svid_ttl, said("x509_svid_ttl", (*x509_svid_ttl).into())),
        (written.jwt_svid_ttl, said("jwt_svid_ttl", (*jwt_svid_ttl).into())),
        (written.federates_with && !federates_with.is_empty(), said("federates_with", federates_with.join(",").into())),
        (written.admin, said("admin", (*admin).into())),
        (written.downstream, said("downstream", (*downstream).into())),
        (written.expires_at, said("expires_at", (*expires_at).into())),
        (written.dns_names && !dns_names.is_empty(), said("dns_name", dns_names.join(",").into())),
        (true, said("revision_number", (*revision_number).into())),
        (written.store_svid, said("store_svid", (*store_svid).into())),
        (written.hint, said("hint", hint.into())),
        (true, said("created_at", (*created_at).into())),
    ];
    fields.into_iter().filter(|(is_said, _)| *is_said).map(|(_, field)| field).collect()
}

/// A bundle as a caller sent it.
pub(super) fn bundle(bundle: &types::Bundle) -> Fields {
    let types::Bundle {
        trust_domain,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities: _,
    } = bundle;
    let mut fields = vec![
        field("trust_domain_id", trust_domain),
        field("refresh_hint", *refresh_hint),
        field("sequence_number", *sequence_number),
    ];
    fields.extend(authorities(x509_authorities, jwt_authorities));
    fields
}

/// A federation relationship as a caller sent it: the fields that are to be written.
pub(super) fn federation_relationship(
    relationship: &types::FederationRelationship,
    written: FederationRelationshipMask,
) -> Fields {
    let types::FederationRelationship {
        trust_domain,
        bundle_endpoint_url,
        trust_domain_bundle,
        bundle_endpoint_profile,
    } = relationship;
    let mut fields = vec![field("trust_domain_id", trust_domain)];
    if written.bundle_endpoint_url {
        fields.push(field("bundle_endpoint_url", bundle_endpoint_url));
    }
    match bundle_endpoint_profile.as_ref().filter(|_| written.bundle_endpoint_profile) {
        Some(BundleEndpointProfile::HttpsWeb(_)) => fields.push(field("bundle_endpoint_profile", "https_web")),
        Some(BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile { endpoint_spiffe_id })) => {
            fields.push(field("bundle_endpoint_profile", "https_spiffe"));
            fields.push(field("endpoint_spiffe_id", endpoint_spiffe_id));
        }
        None => {}
    }
    let of_bundle = trust_domain_bundle.as_ref().filter(|_| written.bundle).map(bundle).unwrap_or_default();
    fields.extend(of_bundle.into_iter().map(|(name, value)| (format!("bundle_{name}").into(), value)));
    fields
}

/// Authorities, by their digests.
pub(super) fn authorities(x509: &[types::X509Certificate], jwt: &[types::JwtKey]) -> Fields {
    let x509 = x509.iter().enumerate().map(|(i, authority)| {
        let digest = hex(&steeple_pki::sha256(&authority.asn1));
        (format!("x509_authorities_asn1_sha256.{i}").into(), digest.into())
    });
    x509.chain(jwt.iter().enumerate().flat_map(|(i, key)| jwt_authority(&format!(".{i}"), key))).collect()
}

/// A JWT authority; its fields' names end in `place`.
pub(super) fn jwt_authority(place: &str, key: &types::JwtKey) -> [Field; 3] {
    let types::JwtKey { public_key, key_id, expires_at, tainted: _ } = key;
    [
        (format!("jwt_authority_expires_at{place}").into(), (*expires_at).into()),
        (format!("jwt_authority_key_id{place}").into(), key_id.into()),
        (format!("jwt_authority_public_key_sha256{place}").into(), hex(&steeple_pki::sha256(public_key)).into()),
    ]
}

/// An X.509-SVID that is asked for.
pub(super) fn x509_request(call: &Call, params: &NewX509svidParams) -> Fields {
    if !call.audit_is_on() {
        return Fields::new();
    }
    let NewX509svidParams { entry_id, csr } = params;
    vec![field("entry_id", entry_id), request(csr)]
}

/// A certificate request, by its digest.
pub(super) fn request(csr: &[u8]) -> Field {
    field("csr", hex(&steeple_pki::sha256(csr)))
}

/// What a certificate that was minted says beside its SPIFFE ID.
pub(super) fn minted(csr: &CertificateRequest, chain: &[Certificate]) -> Fields {
    let names = field("dns_name", csr.dns_sans.join(","));
    vec![names, subject(&csr.subject), moment("expires_at", expires_at(chain))]
}

/// The name that a request asks for. In JSON it is the object that Go's encoder makes of a name.
pub(super) fn subject(name: &Name) -> Field {
    let name = name.to_subject();
    let list = |values: &[String]| if values.is_empty() { Json::Null } else { values.into() };
    // The last number of each type's OID, below 2.5.4, in the order in which Go writes them.
    let (common, serial) = ([name.common_name.clone()], [name.serial_number.clone()]);
    let attributes: [(u8, &[String]); 9] = [
        (6, &name.countries),
        (10, &name.organizations),
        (11, &name.organizational_units),
        (7, &name.localities),
        (8, &name.provinces),
        (9, &name.street_addresses),
        (17, &name.postal_codes),
        (3, &common),
        (5, &serial),
    ];
    let named = |(kind, values): (u8, &[String])| {
        let values: Vec<_> = values.iter().filter(|value| !value.is_empty()).cloned().collect();
        values.into_iter().map(move |value| json!({ "Type": [2, 5, 4, kind], "Value": value }))
    };
    let names: Vec<Json> = attributes.into_iter().flat_map(named).collect();
    let json = json!({
        "Country": list(&name.countries),
        "Organization": list(&name.organizations),
        "OrganizationalUnit": list(&name.organizational_units),
        "Locality": list(&name.localities),
        "Province": list(&name.provinces),
        "StreetAddress": list(&name.street_addresses),
        "PostalCode": list(&name.postal_codes),
        "SerialNumber": name.serial_number,
        "CommonName": name.common_name,
        "Names": if names.is_empty() { Json::Null } else { names.into() },
        "ExtraNames": Json::Null,
    });
    field("subject", Value::Twofold { text: name.to_string(), json })
}

/// An X.509-SVID that was made.
pub(super) fn x509_svid(svid: &types::X509svid) -> Fields {
    let id = svid.id.as_ref().map(id_text);
    vec![field("spiffe_id", id.unwrap_or_default()), field("expires_at", svid.expires_at)]
}

/// A filter by selectors.
pub(super) fn selector_match(filter: Option<&types::SelectorMatch>) -> Fields {
    let Some(types::SelectorMatch { selectors, r#match }) = filter else { return Fields::new() };
    let selectors: Vec<_> = selectors.iter().map(|it| format!("{}:{}", it.r#type, it.value)).collect();
    let behavior = types::selector_match::MatchBehavior::try_from(*r#match);
    let behavior = behavior.map_or_else(|_| r#match.to_string(), |behavior| behavior.as_str_name().to_owned());
    vec![field("by_selector_match", behavior), field("by_selectors", selectors.join(","))]
}

/// A filter of agents.
pub(super) fn agent_filter(filter: Option<&list_agents_request::Filter>) -> Fields {
    let Some(filter) = filter else { return Fields::new() };
    let kind =
        (!filter.by_attestation_type.is_empty()).then(|| field("node_attestor_type", &filter.by_attestation_type));
    let banned = filter.by_banned.map(|banned| field("by_banned", banned));
    let reattests = filter.by_can_reattest.map(|reattests| field("by_can_reattest", reattests));
    let fields = kind.into_iter().chain(banned).chain(reattests);
    fields.chain(selector_match(filter.by_selector_match.as_ref())).collect()
}

/// A filter of entries. One that says nothing is told as one by `downstream=false`, as the reference tells it.
pub(super) fn entry_filter(filter: Option<&list_entries_request::Filter>) -> Fields {
    let none = list_entries_request::Filter::default();
    let list_entries_request::Filter {
        by_spiffe_id,
        by_parent_id,
        by_selectors,
        by_federates_with,
        by_hint,
        by_downstream,
    } = filter.unwrap_or(&none);
    let id = |name, id: &Option<types::Spiffeid>| id.as_ref().map(|id| field(name, id_text(id)));
    let federates = by_federates_with.iter().flat_map(|types::FederatesWithMatch { trust_domains, r#match }| {
        let behavior = types::federates_with_match::MatchBehavior::try_from(*r#match);
        let behavior = behavior.map_or_else(|_| r#match.to_string(), |behavior| behavior.as_str_name().to_owned());
        [field("federates_with_match", behavior), field("federates_with", trust_domains.join(","))]
    });
    let hint = by_hint.as_ref().map(|hint| field("hint", hint));
    let fields = [field("downstream", by_downstream.unwrap_or_default())].into_iter().chain(hint);
    fields
        .chain(id("spiffe_id", by_spiffe_id))
        .chain(id("parent_id", by_parent_id))
        .chain(selector_match(by_selectors.as_ref()))
        .chain(federates)
        .collect()
}

/// An ID as it was sent, sound or not.
fn id_text(id: &types::Spiffeid) -> String {
    let types::Spiffeid { trust_domain, path } = id;
    format!("spiffe://{trust_domain}{path}")
}

/// A moment, Unix seconds, as RFC 3339.
pub(super) fn moment(name: &'static str, seconds: i64) -> Field {
    let text = jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string());
    field(name, text)
}

/// One field.
pub(super) fn field<V: Into<Value>>(name: &'static str, value: V) -> Field {
    (name.into(), value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: Fields) -> Vec<String> {
        fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn an_entry_is_told_by_the_fields_that_are_written() {
        let sent = types::Entry {
            id: "e".to_owned(),
            spiffe_id: Some(types::Spiffeid { trust_domain: "example.org".to_owned(), path: "/w".to_owned() }),
            selectors: vec![types::Selector { r#type: "unix".to_owned(), value: "uid:1".to_owned() }; 2],
            hint: "h".to_owned(),
            ..types::Entry::default()
        };
        let mask = EntryMask { spiffe_id: true, selectors: true, federates_with: true, ..EntryMask::default() };
        assert_eq!(
            told(entry(&sent, mask)),
            [
                "entry_id=e",
                "spiffe_id=spiffe://example.org/w",
                "selectors=unix:uid:1,unix:uid:1",
                "revision_number=0",
                "created_at=0"
            ]
        );
        assert!(told(entry(&sent, EntryMask::ALL)).contains(&"hint=h".to_owned()));
    }

    #[test]
    fn a_bundle_is_told_by_digests_of_its_authorities() {
        let sent = types::Bundle {
            trust_domain: "a.test".to_owned(),
            x509_authorities: vec![types::X509Certificate { asn1: b"abc".to_vec(), tainted: false }],
            jwt_authorities: vec![types::JwtKey { key_id: "k".to_owned(), expires_at: 7, ..types::JwtKey::default() }],
            ..types::Bundle::default()
        };
        let fields = told(bundle(&sent));
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            fields[..4],
            [
                "trust_domain_id=a.test".to_owned(),
                "refresh_hint=0".to_owned(),
                "sequence_number=0".to_owned(),
                format!("x509_authorities_asn1_sha256.0={digest}"),
            ]
        );
        assert_eq!(fields[4..6], ["jwt_authority_expires_at.0=7", "jwt_authority_key_id.0=k"]);
    }
}
