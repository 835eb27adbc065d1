use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use steeple_pki::certificate::svid_subject;
use steeple_pki::{
    ExtraName, Issuer, Kind, LocalSigner, Name, ObjectIdentifier, PrivateKey, Serial, Subject, Template, issue,
    self_signed, ski,
};
use steeple_spiffe::{Certificate, SpiffeId, verify_x509_svid, x509};
use x509_cert::der::Decode;

use super::{Recorded, artifact, facts, hex};

#[tokio::test]
async fn issues_every_recorded_certificate_to_the_byte() {
    let (mut chains, mut certificates, mut differences) = (0, 0, Vec::new());
    for (name, facts) in facts("certificates") {
        let recorded = pem(facts["file"].as_str().unwrap());
        let above = facts["roots_file"].as_str().map(pem).unwrap_or_default();
        let facts = facts["chain"].as_array().unwrap();
        assert_eq!(recorded.len(), facts.len(), "{name}");
        for (certificate, facts) in recorded.iter().zip(facts) {
            let issuer = recorded.iter().chain(&above).find(|c| c.subject_der() == certificate.issuer_der()).unwrap();
            let made = make_again(certificate, facts, issuer).await;
            certificates += 1;
            if made.der() != certificate.der() {
                differences.push(name.clone());
            }
        }
        chains += 1;
    }
    let equal = certificates - differences.len();
    println!("certificates: {equal} of {certificates} equal, in {chains} chains");
    assert_eq!((differences, chains, certificates), (vec![], 63, 71));
}

#[test]
fn reads_every_recorded_certificate_as_its_facts_say() {
    let mut certificates = 0;
    for (name, facts) in facts("certificates") {
        for (certificate, facts) in pem(facts["file"].as_str().unwrap()).iter().zip(facts["chain"].as_array().unwrap())
        {
            let text = |field: &str| facts[field].as_str().unwrap().to_owned();
            assert_eq!(certificate.serial_hex(), text("serial_hex").trim_start_matches("00"), "{name}");
            assert_eq!(certificate.serial_decimal(), text("serial_decimal"), "{name}");
            assert_eq!(certificate.not_before(), unix(&facts["not_before"]), "{name}");
            assert_eq!(certificate.not_after(), unix(&facts["not_after"]), "{name}");
            assert_eq!(certificate.subject(), subject(&facts["subject"]), "{name}");
            assert_eq!(Name::try_from(&certificate.subject()).unwrap().as_der(), certificate.subject_der(), "{name}");
            let identifier = ski(&certificate.public_key().unwrap());
            assert_eq!(certificate.subject_key_id(), Some(identifier.as_slice()), "{name}");
            assert_eq!(
                identifier.as_slice(),
                hex(facts["public_key"]["sha1_of_subject_public_key_bits"].as_str().unwrap()),
                "{name}"
            );
            certificates += 1;
        }
    }
    println!("certificates read: {certificates} of 71");
    assert_eq!(certificates, 71);
}

#[test]
fn verifies_every_recorded_svid_and_no_authority() {
    let (mut svids, mut authorities) = (0, 0);
    for (name, facts) in facts("certificates") {
        let chain = pem(facts["file"].as_str().unwrap());
        let roots = facts["roots_file"].as_str().map_or_else(|| chain.clone(), pem);
        let issued = chain[0].not_before() + Duration::from_secs(10);
        match verify_x509_svid(&chain, &roots, issued) {
            Ok(id) => {
                assert_eq!(id.as_str(), chain[0].uri_sans()[0], "{name}");
                let stranger = pem("subject/jwt-rsa-ca-ec-ca.pem");
                if roots != stranger {
                    let error = verify_x509_svid(&chain, &stranger, issued).unwrap_err();
                    assert_eq!(error, x509::X509Error::UnknownAuthority, "{name}");
                }
                let late = chain[0].not_after() + Duration::from_secs(1);
                let error = verify_x509_svid(&chain, &roots, late).unwrap_err();
                assert!(matches!(error, x509::X509Error::Expired { .. }), "{name}: {error}");
                svids += 1;
            }
            Err(error) => {
                assert_eq!(error, x509::X509Error::LeafIsCa, "{name}");
                assert!(chain[0].is_ca(), "{name}");
                authorities += 1;
            }
        }
    }
    println!("chains: {svids} SVIDs verified, {authorities} authorities refused, of 63");
    assert_eq!(svids + authorities, 63);
}

#[tokio::test]
async fn what_a_recorded_authority_signs_now_verifies_under_its_recorded_certificate() {
    let mut signed = 0;
    for folder in ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"] {
        let root = pem(&format!("{folder}/ca-self-signed.pem")).remove(0);
        let key = super::keys::recorded(&format!("{folder}/server-keys.json"), "x509-CA-A");
        assert_eq!(key.public_key().spki_der(), root.spki_der());
        let signer = LocalSigner(Arc::new(key));
        let workload = PrivateKey::generate(steeple_pki::KeyType::EcP256).unwrap();
        let now = root.not_before() + Duration::from_secs(100);
        let template = Template {
            serial: Serial::random().unwrap(),
            subject: Name::try_from(&svid_subject()).unwrap(),
            uri_san: Some(SpiffeId::parse("spiffe://example.org/new").unwrap()),
            dns_sans: vec![],
            not_before: now,
            not_after: now + Duration::from_secs(60),
            kind: Kind::Svid,
            policies: vec![],
            extra_extensions: vec![],
        };
        let svid = issue(&template, workload.public_key(), &Issuer::new(&root, &signer)).await.unwrap();
        let id = verify_x509_svid(&[svid], &[root], now).unwrap();
        assert_eq!(id.as_str(), "spiffe://example.org/new");
        signed += 1;
    }
    println!("authorities whose new SVIDs verify: {signed} of 4");
}

async fn make_again(recorded: &Certificate, facts: &Value, issuer: &Certificate) -> Certificate {
    let is_ca = facts["extensions"].as_array().unwrap().iter().any(|e| e["value"]["ca"] == true);
    let (dns, uris): (Vec<String>, Vec<String>) = names(facts).into_iter().partition(|name| name.starts_with("DNS:"));
    let stripped = |names: Vec<String>| names.into_iter().map(|name| name[4..].to_owned());
    let template = Template {
        serial: Serial::new(u128::from_str_radix(facts["serial_hex"].as_str().unwrap(), 16).unwrap()).unwrap(),
        subject: Name::try_from(&subject(&facts["subject"])).unwrap(),
        uri_san: stripped(uris).next().map(|uri| SpiffeId::parse(&uri).unwrap()),
        dns_sans: stripped(dns).collect(),
        not_before: unix(&facts["not_before"]),
        not_after: unix(&facts["not_after"]),
        kind: if is_ca { Kind::Ca } else { Kind::Svid },
        policies: vec![],
        extra_extensions: vec![],
    };
    let signer = Recorded { public_key: issuer.public_key().unwrap(), signature: signature(recorded) };
    if issuer == recorded {
        self_signed(&template, &signer).await.unwrap()
    } else {
        issue(&template, &recorded.public_key().unwrap(), &Issuer::new(issuer, &signer)).await.unwrap()
    }
}

fn names(facts: &Value) -> Vec<String> {
    let extensions = facts["extensions"].as_array().unwrap();
    let names = extensions.iter().find(|extension| extension["name"] == "subjectAltName").unwrap();
    names["value"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn signature(certificate: &Certificate) -> Vec<u8> {
    x509_cert::Certificate::from_der(certificate.der()).unwrap().signature().raw_bytes().to_vec()
}

fn unix(time: &Value) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time["unix"].as_u64().unwrap())
}

pub(crate) fn subject(rdns: &Value) -> Subject {
    let mut subject = Subject::default();
    for attribute in rdns.as_array().unwrap().iter().flat_map(|rdn| rdn.as_array().unwrap()) {
        let value = attribute["value"].as_str().unwrap().to_owned();
        match attribute["type"].as_str().unwrap() {
            "C" => subject.countries.push(value),
            "O" => subject.organizations.push(value),
            "OU" => subject.organizational_units.push(value),
            "CN" => subject.common_name = value,
            "serialNumber" => subject.serial_number = value,
            "x500UniqueIdentifier" => {
                subject.extra.push(ExtraName { oid: ObjectIdentifier::new_unwrap("2.5.4.45"), value });
            }
            other => panic!("{other}"),
        }
    }
    subject
}

fn pem(name: &str) -> Vec<Certificate> {
    x509::parse_pem(std::str::from_utf8(&artifact(name)).unwrap()).unwrap()
}
