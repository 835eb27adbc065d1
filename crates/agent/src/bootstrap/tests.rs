use std::time::SystemTime;

use steeple_testkit::web::Page;
use steeple_testkit::{Ca, ManualClock, WebServer};

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
        fetch(&self.server.url(path), tls_of(roots).unwrap(), &self.manual.clock()).await
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
