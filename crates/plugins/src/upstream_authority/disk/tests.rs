use std::fs;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use steeple_catalog::upstream_authority::MintedX509Ca;
use steeple_catalog::{Host, UpstreamAuthority};
use steeple_config::hcl;
use steeple_config::plugins::PluginData;
use steeple_pki::{
    Issuer, KeyType, Kind, LocalSigner, Name, PrivateKey, Serial, Signer, Subject, Template, csr, issue, self_signed,
};
use steeple_spiffe::{Certificate, SpiffeId, TrustDomain};
use steeple_testkit::ManualClock;
use tempfile::TempDir;

use super::files::BACKDATE;
use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Files of authorities, and a moment at which these are valid.
struct Place {
    dir: TempDir,
    clock: ManualClock,
}

/// An authority that files can hold.
struct Made {
    certificate: Certificate,
    signer: LocalSigner,
}

impl Place {
    fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self { dir: tempfile::tempdir().unwrap(), clock: ManualClock::new(now) }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn template(&self, name: &str, kind: Kind) -> Template {
        let subject = Subject { common_name: name.to_owned(), ..Subject::default() };
        let validity = self.clock.now() - HOUR..self.clock.now() + 24 * HOUR;
        Template::new(Serial::random().unwrap(), Name::try_from(&subject).unwrap(), validity, kind)
    }

    fn root(&self, name: &str) -> Made {
        let signer = signer();
        let certificate = self_signed(&self.template(name, Kind::Ca), &signer).now_or_never().unwrap().unwrap();
        Made { certificate, signer }
    }

    fn below(&self, above: &Made, name: &str, kind: Kind) -> Made {
        let signer = signer();
        let (template, issuer) = (self.template(name, kind), Issuer::new(&above.certificate, &above.signer));
        let certificate = issue(&template, signer.public_key(), &issuer).now_or_never().unwrap().unwrap();
        Made { certificate, signer }
    }

    /// Files `NAME.pem`, with these certificates, and `NAME.key`.
    fn put(&self, name: &str, chain: &[&Made]) {
        let pem: String = chain.iter().map(|made| made.certificate.to_pem()).collect();
        fs::write(self.path(&format!("{name}.pem")), pem).unwrap();
        fs::write(self.path(&format!("{name}.key")), &*chain[0].signer.0.to_pkcs8_pem().unwrap()).unwrap();
    }

    fn configuration(&self, text: &str) -> Configuration {
        let text = text.replace("DIR", self.dir.path().to_str().unwrap());
        let data = PluginData::Fixed(hcl::parse(text).unwrap());
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        Configuration { trust_domain, data, host: Host::new(self.clock.clock()) }
    }

    fn of(&self, text: &str) -> Result<UpstreamAuthority, PluginError> {
        build(&self.configuration(text)).map(|plugin| UpstreamAuthority::new("disk", plugin))
    }

    fn refusal(&self, text: &str) -> String {
        self.of(text).unwrap_err().message.replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

fn signer() -> LocalSigner {
    LocalSigner(Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()))
}

/// A request of a server of this trust domain.
fn request(id: &str) -> Vec<u8> {
    let key = PrivateKey::generate(KeyType::EcP384).unwrap();
    let subject = Subject { organizations: vec!["SPIFFE".to_owned()], ..Subject::default() };
    csr::build(&Name::try_from(&subject).unwrap(), Some(&SpiffeId::parse(id).unwrap()), &[], &key).unwrap()
}

const ROOT: &str = "cert_file_path = \"DIR/root.pem\"\nkey_file_path = \"DIR/root.key\"";
const BELOW: &str =
    "cert_file_path = \"DIR/below.pem\"\nkey_file_path = \"DIR/below.key\"\nbundle_file_path = \"DIR/root.pem\"";

#[tokio::test]
async fn a_root_signs_for_as_long_as_is_asked_and_it_lasts() {
    let place = Place::new();
    let root = place.root("root");
    place.put("root", &[&root]);
    let disk = place.of(ROOT).unwrap();
    for (asked, lasts) in [(2 * HOUR, 2 * HOUR), (Duration::ZERO, HOUR), (100 * HOUR, 24 * HOUR)] {
        let MintedX509Ca { chain, roots } = disk.mint_x509_ca(&request("spiffe://example.org"), asked).await.unwrap();
        let [signed] = &chain[..] else { panic!("{chain:?}") };
        assert_eq!(roots, *std::slice::from_ref(&root.certificate));
        assert_eq!(signed.not_before(), place.clock.now() - BACKDATE);
        assert_eq!(signed.not_after(), place.clock.now() + lasts);
        assert!(signed.is_ca());
        assert_eq!(signed.uri_sans(), ["spiffe://example.org"]);
        assert_eq!(signed.subject_string(), "O=SPIFFE");
        assert_eq!(signed.authority_key_id(), root.certificate.subject_key_id());
    }
}

#[tokio::test]
async fn an_authority_below_a_root_comes_with_what_is_between() {
    let place = Place::new();
    let root = place.root("root");
    let middle = place.below(&root, "middle", Kind::Ca);
    let below = place.below(&middle, "below", Kind::Ca);
    place.put("root", &[&root]);
    place.put("below", &[&below, &middle]);
    let disk = place.of(BELOW).unwrap();
    let MintedX509Ca { chain, roots } = disk.mint_x509_ca(&request("spiffe://example.org"), HOUR).await.unwrap();
    assert_eq!(chain[1..], [below.certificate, middle.certificate]);
    assert_eq!(roots, [root.certificate]);
}

#[tokio::test]
async fn a_request_must_be_one_of_the_trust_domain() {
    let place = Place::new();
    place.put("root", &[&place.root("root")]);
    let disk = place.of(ROOT).unwrap();
    for (csr, told) in [
        (request("spiffe://other.test"), "invalid SPIFFE ID \"spiffe://other.test\" in CSR: must be that of the trust"),
        (vec![1, 2], "asn1: "),
    ] {
        let error = disk.mint_x509_ca(&csr, HOUR).await.unwrap_err();
        let told = format!("upstreamauthority(disk): unable to sign CSR: {told}");
        assert!(error.message.starts_with(&told), "{error}");
    }
}

#[tokio::test]
async fn files_are_read_again_and_what_they_held_signs_on_when_they_make_no_sense() {
    let place = Place::new();
    let (first, second) = (place.root("first"), place.root("second"));
    place.put("root", &[&first]);
    let disk = place.of(ROOT).unwrap();
    let root = async || disk.mint_x509_ca(&request("spiffe://example.org"), HOUR).await.unwrap().roots.remove(0);
    assert_eq!(root().await, first.certificate);
    place.put("root", &[&second]);
    assert_eq!(root().await, second.certificate);
    fs::write(place.path("root.key"), "nonsense").unwrap();
    assert_eq!(root().await, second.certificate);
    place.put("root", &[&first]);
    assert_eq!(root().await, first.certificate);
}

#[test]
fn files_that_do_not_fit_are_refused_in_the_references_words() {
    let place = Place::new();
    let (root, other) = (place.root("root"), place.root("other"));
    place.put("root", &[&root]);
    place.put("other", &[&other]);
    place.put("below", &[&place.below(&root, "below", Kind::Ca)]);
    place.put("leaf", &[&place.below(&root, "leaf", Kind::Svid)]);
    fs::write(place.path("nonsense"), "nonsense").unwrap();
    let files = |cert: &str, key: &str| format!("cert_file_path = \"DIR/{cert}\"\nkey_file_path = \"DIR/{key}\"\n");
    let with_bundle =
        |cert: &str, key: &str, bundle: &str| files(cert, key) + &format!("bundle_file_path = \"DIR/{bundle}\"");
    const NOT_BELOW: &str =
        "unable to load upstream CA: certificate cannot be validated with the provided bundle or is not self-signed";
    for (text, told) in [
        (String::new(), "'cert_file_path' and 'key_file_path' must be set and not empty"),
        (files("root.pem", "no.key"), "unable to load upstream CA key: open DIR/no.key: no such file or directory"),
        (files("no.pem", "root.key"), "unable to load upstream CA cert: open DIR/no.pem: no such file or directory"),
        (files("nonsense", "root.key"), "unable to load upstream CA cert: no PEM blocks"),
        (files("root.pem", "nonsense"), "unable to load upstream CA key: no PEM blocks"),
        (files("root.pem", "other.key"), "unable to load upstream CA: certificate and private key do not match"),
        (
            with_bundle("below.pem", "below.key", "no.pem"),
            "unable to load upstream CA bundle: open DIR/no.pem: no such file or directory",
        ),
        (with_bundle("below.pem", "below.key", "nonsense"), "unable to load upstream CA bundle: no PEM blocks"),
        (with_bundle("below.pem", "below.key", "other.pem"), NOT_BELOW),
        (with_bundle("leaf.pem", "leaf.key", "root.pem"), NOT_BELOW),
    ] {
        assert_eq!(place.refusal(&text), told);
    }
    place.put("two", &[&root, &other]);
    let alone = "with no bundle_file_path configured only self-signed CAs are supported";
    assert_eq!(place.refusal(&files("two.pem", "two.key")), alone);
    place.clock.advance(25 * HOUR);
    assert_eq!(place.refusal(ROOT), NOT_BELOW);
}

#[test]
fn a_check_asks_for_no_file() {
    let place = Place::new();
    check(&place.configuration(ROOT)).unwrap();
    assert!(check(&place.configuration("key_file_path = \"DIR/root.key\"")).is_err());
}
