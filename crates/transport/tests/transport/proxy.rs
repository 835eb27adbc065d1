//! The way to a server through a proxy.

use std::sync::Arc;

use futures::StreamExt;
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_transport::dial::{self, Proxy};
use steeple_transport::tls::{Expect, client_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::listen::{Network, network};

/// A proxy for one connection, which knows where `server.test` is. It returns what it was asked.
async fn proxy(answer: &'static str, server: u16) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
        if answer.starts_with("200") {
            let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            // Either end may hang up as it likes.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        String::from_utf8(head).unwrap()
    });
    (port, task)
}

impl Network {
    /// Calls `server.test`, a name that only the proxy knows. There is nobody behind TLS who would answer.
    fn call(&self, proxy: Proxy) -> impl Future<Output = Status> + Send + use<> {
        let authorities = watch::channel(self.ca.authorities()).1;
        let expect = Expect::Verified { id: self.ca.id("/spire/server"), authorities };
        let tls = client_config(None, expect, self.manual.clock()).unwrap();
        let channel =
            dial::server("server.test", self.listener.address().port(), Arc::new(tls), proxy, self.manual.clock());
        async move { BundleClient::new(channel).get_bundle(GetBundleRequest { output_mask: None }).await.unwrap_err() }
    }
}

#[tokio::test]
async fn tls_goes_through_the_proxy_to_the_server_that_was_named() {
    let mut network = network().await;
    let server = network.listener.address().port();
    let (port, asked) = proxy("200 Connection established", server).await;
    let through = Proxy::new(format!("http://user:secret@127.0.0.1:{port}"), "");
    let call = tokio::spawn(network.call(through));
    // The handshake is complete: each has seen the other's certificate.
    drop(network.listener.next().await.unwrap().unwrap());
    call.await.unwrap();
    let asked = asked.await.unwrap();
    assert!(asked.starts_with(&format!("CONNECT server.test:{server} HTTP/1.1\r\n")), "{asked}");
    assert!(asked.contains("\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{asked}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let network = network().await;
    for (answer, why) in [("407 Authentication required", "authorization required"), ("403 Forbidden", "unsuccessful")]
    {
        let (port, asked) = proxy(answer, 0).await;
        let status = network.call(Proxy::new(format!("http://user:secret@127.0.0.1:{port}"), "")).await;
        let told = format!("{:?}", std::error::Error::source(&status));
        assert_eq!(status.code(), Code::Unavailable);
        assert!(told.contains(&format!("proxy http://127.0.0.1:{port}/: ")) && told.contains(why), "{told}");
        assert!(!told.contains("secret"), "{told}");
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_something_else_is_refused_by_name() {
    let network = network().await;
    let status = network.call(Proxy::new("socks5://127.0.0.1:1080".to_owned(), "")).await;
    let told = format!("{:?}", std::error::Error::source(&status));
    assert!(told.contains("only http:// is supported"), "{told}");
}
