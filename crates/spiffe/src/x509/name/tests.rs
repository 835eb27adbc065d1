use proptest::prelude::*;

use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn prints_the_last_attribute_first() {
    let name = DistinguishedName {
        countries: words(&["US", "DE"]),
        organizations: words(&["SPIRE"]),
        common_name: "a".into(),
        serial_number: "7".into(),
        ..DistinguishedName::default()
    };
    assert_eq!(name.to_string(), "SERIALNUMBER=7,CN=a,O=SPIRE,C=US+C=DE");
    assert_eq!(DistinguishedName::default().to_string(), "");
}

#[test]
fn prints_unknown_attributes_by_number_behind_all_others() {
    let extra = vec![ExtraName { oid: ObjectIdentifier::new_unwrap("2.5.4.45"), value: "ab".into() }];
    let name = DistinguishedName { common_name: "x".into(), extra, ..DistinguishedName::default() };
    assert_eq!(name.to_string(), "CN=x,2.5.4.45=#13026162");
    assert_eq!(name.without_extra().to_string(), "CN=x");
}

#[test]
fn escapes_what_would_be_misread() {
    for (value, printed) in [
        ("a,b+c", "CN=a\\,b\\+c"),
        ("\"<>;\\", "CN=\\\"\\<\\>\\;\\\\"),
        (" a b ", "CN=\\ a b\\ "),
        (" ", "CN=\\ "),
        ("#a#", "CN=\\#a#"),
        ("café", "CN=café"),
    ] {
        let name = DistinguishedName { common_name: value.into(), ..DistinguishedName::default() };
        assert_eq!(name.to_string(), printed);
    }
}

#[test]
fn reads_the_subject_of_a_recorded_authority() {
    let pem = include_str!("../../../tests/data/all-fields-ca.pem");
    let subject = crate::x509::parse_pem(pem).unwrap()[0].subject();
    assert_eq!(subject.countries, ["DE", "US"]);
    assert_eq!(subject.organizations, ["Beta", "Alpha"]);
    assert_eq!(subject.common_name, "café * root");
    assert!(subject.to_string().ends_with(",CN=café * root,O=Beta+O=Alpha,C=DE+C=US"));
}

#[test]
fn reads_the_strings_of_old_authorities() {
    let attribute = |tag, bytes: &[u8]| {
        let value = Any::new(tag, bytes).unwrap();
        let attribute = Attribute { oid: rfc4519::CN, value }.to_der().unwrap();
        let name = asn1::wrap(Tag::Sequence, asn1::set_of(vec![attribute]).unwrap()).unwrap();
        DistinguishedName::from_der(&name).map(|name| name.common_name)
    };
    assert_eq!(attribute(Tag::TeletexString, b"caf\xe9").unwrap(), "café");
    assert_eq!(attribute(Tag::BmpString, b"\0c\0a\0f\0\xe9").unwrap(), "café");
    assert_eq!(attribute(Tag::Ia5String, b"cafe").unwrap(), "cafe");
    assert_eq!(attribute(Tag::Integer, b"\x01").unwrap(), "");
    assert!(attribute(Tag::Utf8String, b"\xff").is_err());
}

#[test]
fn an_extra_attribute_takes_the_place_of_the_usual_one() {
    let extra = vec![ExtraName { oid: rfc4519::CN, value: "extra".into() }];
    let name = DistinguishedName { common_name: "usual".into(), extra, ..DistinguishedName::default() };
    let read = DistinguishedName::from_der(&name.to_der().unwrap()).unwrap();
    assert_eq!(read.common_name, "extra");
    assert_eq!(read.extra, []);
}

#[test]
fn the_empty_name_is_the_empty_sequence() {
    assert_eq!(DistinguishedName::default().to_der().unwrap(), [0x30, 0x00]);
    assert!(DistinguishedName::from_der(&[0x30, 0x00]).unwrap().is_empty());
}

prop_compose! {
    fn name()(
        lists in prop::collection::vec(prop::collection::vec(".{1,8}", 0..2), 7),
        common_name in ".{0,8}",
        serial_number in "[0-9]{0,8}",
        extra in prop::option::of(".{1,8}"),
    ) -> DistinguishedName {
        let mut lists = lists.into_iter();
        let mut next = || lists.next().unwrap();
        DistinguishedName {
            countries: next(),
            provinces: next(),
            localities: next(),
            street_addresses: next(),
            postal_codes: next(),
            organizations: next(),
            organizational_units: next(),
            common_name,
            serial_number,
            extra: extra
                .map(|value| ExtraName { oid: ObjectIdentifier::new_unwrap("2.5.4.45"), value })
                .into_iter()
                .collect(),
        }
    }
}

proptest! {
    #[test]
    fn names_survive_the_round_trip(name in name()) {
        prop_assert_eq!(DistinguishedName::from_der(&name.to_der().unwrap()).unwrap(), name);
    }

    #[test]
    fn reading_answers_any_bytes(bytes: Vec<u8>) {
        let _ = DistinguishedName::from_der(&bytes).map(|name| name.to_string());
    }
}
