use std::io;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use steeple_spiffe::pem;
use steeple_spiffe::tls::{KeyExchange, PeerError, Peers};
use steeple_testkit::ca::Svid;
use steeple_testkit::{Ca, ManualClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A client looks at what it is shown, and believes it.
struct Anybody;

impl Peers for Anybody {
    fn accept(&self, _: &[Certificate], _: SystemTime) -> Result<(), PeerError> {
        Ok(())
    }
}

/// A daemon with an SVID, and a directory for files.
struct Case {
    manual: ManualClock,
    ca: Ca,
    own: Svid,
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH + HOUR * 24 * 365 * 50;
        let ca = Ca::new("example.org", now);
        let own = ca.svid("/spire/server", now..now + HOUR);
        Self { manual: ManualClock::new(now), ca, own, dir: tempfile::tempdir().unwrap() }
    }

    fn svid(&self, path: &str) -> Svid {
        self.ca.svid(path, self.manual.now()..self.manual.now() + HOUR)
    }

    fn spiffe(&self) -> Spiffe {
        let (_, credential) = watch::channel(Some(self.own.credential()));
        let ca = self.ca.clone();
        let authorities = move |of: &TrustDomain| (of == ca.trust_domain()).then(|| ca.authorities());
        Spiffe { credential, authorities: Arc::new(authorities), key_exchange: KeyExchange::default() }
    }

    fn plan(&self, tls: &Tls) -> Result<http1::Tls, ScrapeError> {
        of(tls, self.spiffe(), self.manual.clock())
    }

    /// Writes a file, and returns its path.
    fn file(&self, name: &str, label: &str, der: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, pem::encode(label, der).as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Certificate and key of a web server. Returns the certificate as well.
    fn files(&self, tls: &Tls) -> (Tls, Certificate) {
        let (certificate, key) = self.ca.web("localhost", self.manual.now()..self.manual.now() + HOUR);
        let cert_file = self.file("web.crt", "CERTIFICATE", certificate.der());
        let key_file = self.file("web.key", "PRIVATE KEY", &key);
        (Tls { cert_file, key_file, ..tls.clone() }, certificate)
    }

    /// A client that shows this, or nothing.
    fn client(&self, shown: Option<&Svid>) -> ClientConfig {
        let config = Config::new(Anybody).with_time(Arc::new(Time(self.manual.clock())));
        match shown {
            Some(svid) => config.with_identity(svid.credential()),
            None => config,
        }
        .client()
        .unwrap()
    }

    /// The leaf that a client is shown, once the server has let it in.
    async fn connect(&self, tls: &http1::Tls, shown: Option<&Svid>) -> io::Result<Vec<u8>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let server = async {
            let mut stream = TlsAcceptor::from(tls()).accept(far).await?;
            stream.write_all(b"x").await?;
            stream.flush().await
        };
        let client = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(self.client(shown))).connect(name, near).await?;
            stream.read_exact(&mut [0]).await?;
            Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
        };
        let (server, client) = tokio::join!(server, client);
        server.and(client)
    }
}

fn with_svid() -> Tls {
    Tls { use_spire_svid: true, ..Tls::default() }
}

fn for_ids(tls: Tls) -> Tls {
    Tls { authorized_spiffe_ids: vec!["spiffe://example.org/prometheus".to_owned()], ..tls }
}

#[tokio::test]
async fn the_daemons_svid_is_shown_to_anybody_or_to_those_who_are_named() {
    let case = Case::new();
    let (prometheus, other) = (case.svid("/prometheus"), case.svid("/other"));
    let open = case.plan(&with_svid()).unwrap();
    assert_eq!(case.connect(&open, None).await.unwrap(), case.own.leaf().der());
    let named = case.plan(&for_ids(with_svid())).unwrap();
    assert_eq!(case.connect(&named, Some(&prometheus)).await.unwrap(), case.own.leaf().der());
    assert!(case.connect(&named, Some(&other)).await.is_err());
    assert!(case.connect(&named, None).await.is_err());
    let foreign = Ca::new("foreign.test", case.manual.now());
    let pretender = foreign.svid_of(&case.ca.id("/prometheus"), case.manual.now()..case.manual.now() + HOUR);
    assert!(case.connect(&named, Some(&pretender)).await.is_err());
}

#[tokio::test]
async fn a_certificate_of_files_is_shown_and_clients_are_asked_for_what_the_section_says() {
    let case = Case::new();
    let foreign = Ca::new("foreign.test", case.manual.now());
    let below = foreign.svid("/any", case.manual.now()..case.manual.now() + HOUR);
    let (open, web) = case.files(&Tls::default());
    assert_eq!(case.connect(&case.plan(&open).unwrap(), None).await.unwrap(), web.der());

    let (named, web) = case.files(&for_ids(Tls::default()));
    let named = case.plan(&named).unwrap();
    assert_eq!(case.connect(&named, Some(&case.svid("/prometheus"))).await.unwrap(), web.der());
    assert!(case.connect(&named, Some(&below)).await.is_err());

    let client_ca_file = case.file("ca.crt", "CERTIFICATE", foreign.root().der());
    let (below_ca, web) = case.files(&Tls { client_ca_file, ..Tls::default() });
    let below_ca = case.plan(&below_ca).unwrap();
    assert_eq!(case.connect(&below_ca, Some(&below)).await.unwrap(), web.der());
    assert!(case.connect(&below_ca, Some(&case.svid("/prometheus"))).await.is_err());
    assert!(case.connect(&below_ca, None).await.is_err());
}

#[tokio::test]
async fn files_are_read_anew_and_bad_ones_change_nothing() {
    let case = Case::new();
    let (files, first) = case.files(&Tls::default());
    let tls = case.plan(&files).unwrap();
    assert_eq!(case.connect(&tls, None).await.unwrap(), first.der());
    let (_, second) = case.files(&Tls::default());
    assert_ne!(first, second);
    assert_eq!(case.connect(&tls, None).await.unwrap(), second.der());
    std::fs::write(&files.key_file, "no key").unwrap();
    assert_eq!(case.connect(&tls, None).await.unwrap(), second.der());
    let (_, third) = case.files(&Tls::default());
    assert_eq!(case.connect(&tls, None).await.unwrap(), third.der());
}

#[test]
fn what_does_not_go_together_is_refused_in_the_references_words() {
    let case = Case::new();
    let refusal = |tls: &Tls| case.plan(tls).err().unwrap().to_string();
    let (files, _) = case.files(&Tls::default());
    let some = |text: &str| text.to_owned();
    let with_both = Tls { use_spire_svid: true, ..files.clone() };
    let without_key = Tls { key_file: String::new(), ..files.clone() };
    let two_ways = Tls { client_ca_file: some("ca"), ..for_ids(files.clone()) };
    let no_id = Tls { authorized_spiffe_ids: vec![some("example.org/a")], ..files.clone() };
    let no_file = Tls { cert_file: some("/none"), ..files };
    for (tls, told) in [
        (&with_both, "cert_file and key_file cannot be configured when use_spire_svid is enabled"),
        (&without_key, "cert_file and key_file must both be configured unless use_spire_svid is enabled"),
        (&two_ways, "client_ca_file cannot be configured with authorized_spiffe_ids"),
        (&no_id, "invalid authorized SPIFFE ID \"example.org/a\": scheme is missing or invalid"),
        (&no_file, "open /none: no such file or directory"),
    ] {
        assert_eq!(refusal(tls), format!("failed to create TLS config for Prometheus: {told}"));
    }
}
