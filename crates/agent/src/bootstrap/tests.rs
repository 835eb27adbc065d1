use std::time::SystemTime;

use steeple_proto::workload::X509BundlesResponse;
use steeple_testkit::web::Page;
use steeple_testkit::{Ca, FakeEndpoint, ManualClock, WebServer};

use super::*;

/// A web server, and the authority that an agent knows it by.
struct Web {
    /// The certificates of the web end by the wall clock, which the TLS of the web reads.
    ca: Ca,
    manual: ManualClock,
    server: WebServer,
}

impl Web {
    async fn new(pages: impl IntoIterator<Item = (&'static str, Page)>) -> Self {
        let now = Clock::system().now();
        let ca = Ca::new("web.test", now);
        let server = WebServer::start(&ca, now, pages).await;
        Self { ca, manual: ManualClock::new(SystemTime::UNIX_EPOCH), server }
    }

    async fn fetch(&self, path: &str) -> Result<Vec<u8>, BootstrapError> {
        self.fetch_knowing(path, &self.ca).await
    }

    async fn fetch_knowing(&self, path: &str, ca: &Ca) -> Result<Vec<u8>, BootstrapError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.root().der().to_vec().into()).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls_of(roots).unwrap()).https_only(true);
        fetch(&self.server.url(path), client, &self.manual.clock()).await
    }

    fn refused(&self, path: &str, why: &str) -> String {
        format!("unable to fetch trust bundle URL {}: {why}", self.server.url(path))
    }
}

#[tokio::test]
async fn a_document_is_taken_whole_and_also_from_where_it_moved() {
    let mut web = Web::new([("/bundle", Page::Document(vec![b'x'; LONGEST]))]).await;
    assert!(web.fetch("/bundle").await.unwrap() == vec![b'x'; LONGEST], "not the whole document");
    let moved = [("/old", Page::Moved(web.server.url("/bundle")))];
    let first = std::mem::replace(&mut web.server, WebServer::start(&web.ca, Clock::system().now(), moved).await);
    assert!(web.fetch("/old").await.unwrap() == vec![b'x'; LONGEST], "not what the redirect led to");
    drop(first);
}

#[tokio::test]
async fn only_a_web_server_of_a_known_authority_is_believed() {
    let web = Web::new([("/bundle", Page::Document(b"bundle".to_vec()))]).await;
    let stranger = Ca::new("web.test", Clock::system().now());
    let error = web.fetch_knowing("/bundle", &stranger).await.unwrap_err().to_string();
    assert!(error.starts_with(&web.refused("/bundle", "")) && error.contains("certificate"), "{error}");
    assert_eq!(web.fetch("/bundle").await.unwrap(), b"bundle");
}

#[tokio::test]
async fn an_answer_other_than_200_is_none() {
    let accepted = Page::Answer("202 Accepted", b"bundle".to_vec());
    let web = Web::new([("/later", accepted)]).await;
    for (path, status) in [("/missing", "404 Not Found"), ("/later", "202 Accepted")] {
        let error = web.fetch(path).await.unwrap_err().to_string();
        assert_eq!(error, format!("error downloading trust bundle: {status} ({})", web.server.url(path)));
    }
}

#[tokio::test]
async fn a_redirect_away_from_tls_is_not_followed() {
    let plain = WebServer::plain([("/bundle", Page::Document(b"bundle".to_vec()))]).await;
    let web = Web::new([("/bundle", Page::Moved(plain.url("/bundle")))]).await;
    let error = web.fetch("/bundle").await.unwrap_err().to_string();
    assert!(error.starts_with(&web.refused("/bundle", "")) && error.contains("scheme"), "{error}");
}

#[tokio::test]
async fn a_document_that_is_too_long_is_refused_before_its_end() {
    let too_long = Page::Document(vec![b'x'; LONGEST + 1]);
    let web = Web::new([("/endless", Page::Endless), ("/long", too_long)]).await;
    for path in ["/endless", "/long"] {
        let error = web.fetch(path).await.unwrap_err().to_string();
        assert_eq!(error, web.refused(path, "the document is longer than 8388608 bytes"));
    }
}

#[tokio::test]
async fn a_web_server_that_says_nothing_is_given_up() {
    let web = Web::new([("/bundle", Page::Silence)]).await;
    let (fetched, ()) = tokio::join!(web.fetch("/bundle"), web.manual.wake(FETCH_LIMIT..=FETCH_LIMIT));
    assert_eq!(fetched.unwrap_err().to_string(), web.refused("/bundle", "no answer in full within 30 s"));
}

#[tokio::test]
async fn whoever_listens_on_the_socket_is_told_how_far_the_agent_is() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (dir, now) = (tempfile::tempdir().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800));
    let ca = Ca::new("example.org", now);
    let socket = dir.path().join("s");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let pem = ca.root().to_pem();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{pem}", pem.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    let bootstrap = Bootstrap::UrlOnSocket {
        url: "http://any.test/bundle?z=last&a=fir%20st".to_owned(),
        socket,
        format: BundleFormat::Pem,
        told: vec![
            ("spire-server-address", "server.test".to_owned()),
            ("spire-server-port", "8081".to_owned()),
            ("spiffe-trust-domain", "spiffe://example.org".to_owned()),
        ],
    };
    let so_far = Bootstrapping { again: true, since: Some(now), attempts: 3 };
    let clock = ManualClock::new(now).clock();
    let authorities = load(&bootstrap, ca.trust_domain(), so_far, &clock).await.unwrap().unwrap();
    assert_eq!(authorities, [ca.root().clone()]);
    let asked = asked.await.unwrap();
    assert_eq!(
        asked.lines().next().unwrap(),
        "GET /bundle?a=fir+st&spiffe-trust-domain=spiffe%3A%2F%2Fexample.org&spire-attest-mode=rebootstrap\
         &spire-attest-start-time=2020-01-01T00%3A00%3A00Z&spire-connection-attempts=3\
         &spire-server-address=server.test&spire-server-port=8081&z=last HTTP/1.1"
    );
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_told_with_its_url() {
    let dir = tempfile::tempdir().unwrap();
    let bootstrap = Bootstrap::UrlOnSocket {
        url: "http://any.test/bundle".to_owned(),
        socket: dir.path().join("s"),
        format: BundleFormat::Pem,
        told: Vec::new(),
    };
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH).clock();
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let error = load(&bootstrap, &trust_domain, Bootstrapping::default(), &clock).await.unwrap_err().to_string();
    assert!(
        error.starts_with("unable to fetch trust bundle URL http://any.test/bundle?spire-attest-mode=bootstrap"),
        "{error}"
    );
    assert!(error.contains("No such file or directory"), "{error}");
}

/// What an agent that begins so makes of a Workload API that answers with these bundles.
async fn fetched(bundles: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Result<Vec<Certificate>, String> {
    let upper = FakeEndpoint::start();
    let bundles = bundles.into_iter().map(|(name, der)| (name.to_owned(), der.into())).collect();
    let answering = async {
        let call = upper.x509_bundles.next().await;
        call.answer(X509BundlesResponse { bundles, ..X509BundlesResponse::default() }).gone().await;
    };
    let bootstrap = Bootstrap::WorkloadApi(upper.uri().parse().unwrap());
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH).clock();
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let (loaded, ()) = tokio::join!(load(&bootstrap, &trust_domain, Bootstrapping::default(), &clock), answering);
    loaded.map(Option::unwrap).map_err(|error| error.to_string().replace(upper.uri(), "unix:///s"))
}

#[tokio::test]
async fn another_agent_gives_the_bundle_of_this_trust_domain_and_no_other() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    let (own, other) = (Ca::new("example.org", now), Ca::new("upper.test", now));
    let der = |ca: &Ca| ca.root().der().to_vec();
    let both = [("spiffe://upper.test", der(&other)), ("spiffe://example.org", der(&own))];
    assert_eq!(fetched(both).await, Ok(vec![own.root().clone()]));
    let text = "SPIFFE Workload API unix:///s did not provide a trust bundle for trust domain \"example.org\"";
    assert_eq!(fetched([("spiffe://upper.test", der(&other))]).await, Err(text.to_owned()));
    let text = "no certificates found in trust bundle: unix:///s";
    assert_eq!(fetched([("spiffe://example.org", Vec::new())]).await, Err(text.to_owned()));
    let text = "unable to fetch trust bundle from SPIFFE Workload API unix:///s: ";
    let error = fetched([("spiffe://example.org", vec![0])]).await.unwrap_err();
    assert!(error.starts_with(text) && error.contains("what it must not send"), "{error}");
}

#[tokio::test]
async fn another_agent_that_is_away_or_says_nothing_is_told_by_its_socket() {
    let upper = FakeEndpoint::start();
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH);
    let bootstrap = Bootstrap::WorkloadApi(upper.uri().parse().unwrap());
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let clock = manual.clock();
    let loading = || load(&bootstrap, &trust_domain, Bootstrapping::default(), &clock);
    let text = format!("unable to fetch trust bundle from SPIFFE Workload API {}: ", upper.uri());
    let waking = manual.wake(WORKLOAD_API_LIMIT..=WORKLOAD_API_LIMIT);
    let (late, ()) = tokio::join!(loading(), waking);
    assert_eq!(late.unwrap_err().to_string(), format!("{text}no answer of the Workload API within 60 s"));
    drop(upper);
    let error = loading().await.unwrap_err().to_string();
    assert!(error.starts_with(&text) && error.contains("No such file or directory"), "{error}");
}
