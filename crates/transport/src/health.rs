//! What a daemon says of its health over HTTP, to whoever supervises it: two paths, and JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use steeple_runtime::health::{Health, Question};
use steeple_runtime::{Clock, Shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

/// From a connection to the end of its one answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Connections at a time. Further ones wait.
const CONNECTIONS: usize = 64;
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;

/// Where health is told, and under which paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `bind_address` and `bind_port`: `host:port`.
    pub address: String,
    /// `live_path`
    pub live_path: String,
    /// `ready_path`
    pub ready_path: String,
}

/// Answers until it is told to stop. A place that is not to be had is told in the log, as in the reference: a daemon serves
/// also those who do not ask for its health.
pub async fn serve(place: Place, health: Health, clock: Clock, shutdown: Shutdown) {
    let listener = match TcpListener::bind(&place.address).await {
        Ok(listener) => listener,
        Err(error) => {
            warn!(target: "health", address = place.address, error = %error, "Error serving health checks");
            return;
        }
    };
    info!(target: "health", address = place.address, "Serving health checks");
    let (place, free) = (Arc::new(place), Arc::new(Semaphore::new(CONNECTIONS)));
    let accepting = async {
        loop {
            // Never closed.
            let Ok(held) = Arc::clone(&free).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, most likely: trying again at once would only burn a core.
                clock.sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (place, health, clock) = (Arc::clone(&place), health.clone(), clock.clone());
            tokio::spawn(async move {
                let served = clock.within(LIMIT, connection(stream, &place, &health)).await;
                if let Some(Err(error)) = served {
                    debug!(target: "health", error = %error, "Health check was not answered");
                }
                drop(held);
            });
        }
    };
    shutdown.unless_stopped(accepting).await;
}

/// One question and its answer.
async fn connection(stream: TcpStream, place: &Place, health: &Health) -> Result<(), hyper::Error> {
    let service = service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(answer(&request, place, health)));
    http1::Builder::new().keep_alive(false).max_buf_size(HEAD).serve_connection(TokioIo::new(stream), service).await
}

/// Of any method, as the reference answers.
fn answer(request: &Request<Incoming>, place: &Place, health: &Health) -> Response<Full<Bytes>> {
    let question = match request.uri().path() {
        path if path == place.live_path => Question::Live,
        path if path == place.ready_path => Question::Ready,
        _ => {
            let mut response =
                of(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".to_owned());
            let header = HeaderName::from_static("x-content-type-options");
            response.headers_mut().insert(header, HeaderValue::from_static("nosniff"));
            return response;
        }
    };
    let (is_yes, told) = health.answer(question);
    let status = if is_yes { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    of(status, "application/json", format!("{told}\n"))
}

fn of(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use steeple_runtime::health::{Check, Found};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const CHECK: Check = Check { name: "store", field: "store_err" };

    /// What is answered to bytes on a connection of their own.
    async fn answered(health: &Health, sent: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place =
            Place { address: address.to_string(), live_path: "/live".to_owned(), ready_path: "/is/ready".to_owned() };
        let mut client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(sent.as_bytes()).await.unwrap();
        // Bytes that make no sense end the connection with an error, which is the caller's.
        let _ = connection(server, &place, health).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn asked(health: &Health, method: &str, path: &str) -> String {
        answered(health, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    #[tokio::test]
    async fn each_path_has_its_answer_and_any_other_has_none() {
        let health = Health::new(&[CHECK], Clock::system());
        health.report(CHECK, Found::unready("gone"));
        let live = asked(&health, "GET", "/live?verbose=1").await;
        assert!(live.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"), "{live}");
        assert!(live.ends_with("\r\n\r\n{\"store\":{}}\n"), "{live}");
        let ready = asked(&health, "POST", "/is/ready").await;
        assert!(ready.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{ready}");
        assert!(ready.ends_with("\r\n\r\n{\"store\":{\"store_err\":\"gone\"}}\n"), "{ready}");
        let head = asked(&health, "HEAD", "/live").await;
        assert!(head.contains("content-length: 13\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        for path in ["/", "/ready", "/live/"] {
            let none = asked(&health, "GET", path).await;
            assert!(none.starts_with("HTTP/1.1 404 Not Found\r\n"), "{none}");
            assert!(none.ends_with("\r\n\r\n404 page not found\n"), "{none}");
        }
    }

    #[tokio::test]
    async fn what_is_no_request_or_too_long_is_refused() {
        let health = Health::new(&[], Clock::system());
        let refused = answered(&health, "\u{16}\u{3}\u{1}\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{refused}");
        let endless = format!("GET /live HTTP/1.1\r\nA: {}", "a".repeat(HEAD));
        let refused = answered(&health, &endless).await;
        assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    }
}
