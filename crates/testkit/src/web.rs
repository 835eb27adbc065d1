//! A web server over TLS: what it has for each path, also what no web server should have.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use steeple_transport::tls::provider;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::Ca;

/// How long its certificate is good.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What is sent at a time of a document without end.
const PIECE: &[u8] = &[b' '; 64 << 10];

/// What a path has.
#[derive(Clone, Debug)]
pub enum Page {
    /// A document.
    Document(Vec<u8>),
    /// Another answer than 200, as in `404 Not Found`, and a document all the same.
    Answer(&'static str, Vec<u8>),
    /// It is at another URL.
    Moved(String),
    /// A document of which there is always more.
    Endless,
    /// Nothing: the question is read, and that is all.
    Silence,
}

/// A web server on a loopback port of its own, for as long as the value lives. Dropped, it goes with its connections.
#[derive(Debug)]
pub struct WebServer {
    scheme: &'static str,
    port: u16,
    asked: watch::Receiver<Vec<String>>,
    accepting: JoinHandle<()>,
}

impl WebServer {
    /// One as `https://localhost`, whose certificate is of `ca`. A path that it does not have is 404.
    pub async fn start(ca: &Ca, now: SystemTime, pages: impl IntoIterator<Item = (&'static str, Page)>) -> Self {
        let (certificate, key) = ca.web("localhost", now..now + DAY);
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let chain = vec![certificate.der().to_vec().into()];
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.to_vec());
        let config = config.with_no_client_auth().with_single_cert(chain, key.into()).unwrap();
        Self::listen("https", Some(TlsAcceptor::from(Arc::new(config))), pages).await
    }

    /// One without TLS.
    pub async fn plain(pages: impl IntoIterator<Item = (&'static str, Page)>) -> Self {
        Self::listen("http", None, pages).await
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.port)
    }

    /// Waits until somebody has asked for a path.
    pub async fn asked(&self, path: &str) {
        // The sender lives as long as the server.
        let _ = self.asked.clone().wait_for(|asked| asked.iter().any(|asked| asked == path)).await;
    }

    async fn listen(
        scheme: &'static str,
        tls: Option<TlsAcceptor>,
        pages: impl IntoIterator<Item = (&'static str, Page)>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, asked) = watch::channel(Vec::new());
        let site = Arc::new(Site { pages: BTreeMap::from_iter(pages), seen });
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, tls.clone(), Arc::clone(&site)));
            }
        });
        Self { scheme, port, asked, accepting }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Site {
    pages: BTreeMap<&'static str, Page>,
    seen: watch::Sender<Vec<String>>,
}

async fn serve(connection: TcpStream, tls: Option<TlsAcceptor>, site: Arc<Site>) {
    // Whoever breaks a connection off has a reason, which its own test knows.
    let _ = match tls {
        None => site.answer(connection).await,
        Some(tls) => match tls.accept(connection).await {
            Ok(connection) => site.answer(connection).await,
            Err(error) => Err(error),
        },
    };
}

impl Site {
    /// One question and its answer; then the connection is closed.
    async fn answer(&self, connection: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut connection = BufReader::new(connection);
        let (mut path, mut line) = (String::new(), String::new());
        while connection.read_line(&mut line).await? > 0 && line != "\r\n" {
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            line.clear();
        }
        let page = self.pages.get(&*path);
        self.seen.send_modify(|seen| seen.push(path));
        let (status, header, body) = match page {
            None => ("404 Not Found", String::new(), &[][..]),
            Some(Page::Document(body)) => ("200 OK", String::new(), &body[..]),
            Some(Page::Answer(status, body)) => (*status, String::new(), &body[..]),
            Some(Page::Moved(url)) => ("302 Found", format!("Location: {url}\r\n"), &[][..]),
            Some(Page::Endless) => {
                connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
                loop {
                    connection.write_all(PIECE).await?;
                }
            }
            Some(Page::Silence) => std::future::pending().await,
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(body).await?;
        connection.shutdown().await
    }
}
