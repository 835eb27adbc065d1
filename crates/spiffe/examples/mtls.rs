//! A server and a client that know each other by their SPIFFE IDs alone.
//!
//! ```sh
//! export SPIFFE_ENDPOINT_SOCKET=unix:///tmp/spire-agent/public/api.sock
//! cargo run -p steeple-spiffe --features workload-api,rustls --example mtls -- serve 127.0.0.1:8443 example.org
//! cargo run -p steeple-spiffe --features workload-api,rustls --example mtls -- call 127.0.0.1:8443 spiffe://example.org/web
//! ```
//!
//! The server greets members of the trust domain; the client takes the one server. Neither has to be started again when
//! an identity or a bundle rotates.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::error::Error;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use steeple_spiffe::Certificate;
use steeple_spiffe::tls::{self, Authorize};
use steeple_spiffe::workload_api::X509Source;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address, trust_domain] => serve(address, Authorize::member_of(trust_domain.parse()?)).await,
        ["call", address, id] => call(address, Authorize::one(id.parse()?)).await,
        _ => Err("serve ADDRESS TRUST_DOMAIN, or call ADDRESS SPIFFE_ID".into()),
    }
}

async fn serve(address: &str, clients: Authorize) -> Result<(), Box<dyn Error>> {
    let source = X509Source::new().await?;
    println!("{} listens on {address}", source.svid()?.id);
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&source, clients)?));
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = greet(&acceptor, stream).await {
                println!("refused: {error}");
            }
        });
    }
}

async fn greet(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut stream = acceptor.accept(stream).await.map_err(tls::in_words)?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = Certificate::from_der(chain.first().ok_or("the client shows nothing")?)?;
    let client = leaf.spiffe_id()?;
    println!("greets {client}");
    stream.write_all(format!("hello, {client}\n").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn call(address: &str, server: Authorize) -> Result<(), Box<dyn Error>> {
    let source = X509Source::new().await?;
    let connector = TlsConnector::from(Arc::new(tls::client_config(&source, server)?));
    // TLS wants a name; nobody looks at this one.
    let name = ServerName::try_from("spiffe")?;
    let mut stream = connector.connect(name, TcpStream::connect(address).await?).await.map_err(tls::in_words)?;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).await?;
    print!("{greeting}");
    Ok(())
}
