//! What audit records say of the items of batches, in the reference's fields.

use std::borrow::Cow;

use steeple_datastore::entries::EntryMask;
use steeple_proto::spire::api::types;
use steeple_spiffe::x509::hex;
use steeple_transport::rpc::Fields;

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
    let id_of = |id: &Option<types::Spiffeid>| {
        id.as_ref().map_or_else(String::new, |id| format!("spiffe://{}{}", id.trust_domain, id.path))
    };
    let selectors: Vec<_> = selectors.iter().map(|it| format!("{}:{}", it.r#type, it.value)).collect();
    let said = |field: &'static str, value: String| (Cow::from(field), value);
    let fields = [
        (!id.is_empty(), said("entry_id", id.clone())),
        (written.spiffe_id, said("spiffe_id", id_of(spiffe_id))),
        (written.parent_id, said("parent_id", id_of(parent_id))),
        (written.selectors, said("selectors", selectors.join(","))),
        (written.x509_svid_ttl, said("x509_svid_ttl", x509_svid_ttl.to_string())),
        (written.jwt_svid_ttl, said("jwt_svid_ttl", jwt_svid_ttl.to_string())),
        (written.federates_with && !federates_with.is_empty(), said("federates_with", federates_with.join(","))),
        (written.admin, said("admin", admin.to_string())),
        (written.downstream, said("downstream", downstream.to_string())),
        (written.expires_at, said("expires_at", expires_at.to_string())),
        (written.dns_names && !dns_names.is_empty(), said("dns_name", dns_names.join(","))),
        (true, said("revision_number", revision_number.to_string())),
        (written.store_svid, said("store_svid", store_svid.to_string())),
        (written.hint, said("hint", hint.clone())),
        (true, said("created_at", created_at.to_string())),
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
    let sha256 = |bytes: &[u8]| hex(&steeple_pki::sha256(bytes));
    let mut fields = vec![
        ("trust_domain_id".into(), trust_domain.clone()),
        ("refresh_hint".into(), refresh_hint.to_string()),
        ("sequence_number".into(), sequence_number.to_string()),
    ];
    for (i, authority) in x509_authorities.iter().enumerate() {
        fields.push((format!("x509_authorities_asn1_sha256.{i}").into(), sha256(&authority.asn1)));
    }
    for (i, key) in jwt_authorities.iter().enumerate() {
        fields.push((format!("jwt_authority_expires_at.{i}").into(), key.expires_at.to_string()));
        fields.push((format!("jwt_authority_key_id.{i}").into(), key.key_id.clone()));
        fields.push((format!("jwt_authority_public_key_sha256.{i}").into(), sha256(&key.public_key)));
    }
    fields
}

/// One field.
pub(super) fn field(name: &'static str, value: impl ToString) -> (Cow<'static, str>, String) {
    (name.into(), value.to_string())
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
