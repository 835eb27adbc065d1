//! HTTP/1 for those who look after a daemon: one request and one answer on a connection, with or without TLS.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use steeple_runtime::{Clock, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

/// From a connection to the end of its one answer, where that takes no time of its own.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// Connections at a time. Further ones wait.
const CONNECTIONS: usize = 64;
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;

/// Makes the answers, to requests of any method.
pub(crate) trait Answer: Send + Sync {
    /// From a connection to the end of its answer.
    fn limit(&self) -> Duration {
        LIMIT
    }

    /// What is at this place.
    fn answer(&self, uri: Uri) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

impl<F: Fn(&Uri) -> Response<Full<Bytes>> + Send + Sync> Answer for F {
    async fn answer(&self, uri: Uri) -> Response<Full<Bytes>> {
        self(&uri)
    }
}

/// TLS as it is at the moment, asked for each connection.
pub(crate) type Tls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Answers until it is told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    answer: Arc<impl Answer + 'static>,
    clock: Clock,
    shutdown: Shutdown,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let accepting = async {
        loop {
            // Never closed.
            let Ok(held) = Arc::clone(&free).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, most likely: trying again at once would only burn a core.
                clock.sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (tls, answer, clock) = (tls.clone(), Arc::clone(&answer), clock.clone());
            tokio::spawn(async move {
                let served = clock.within(answer.limit(), connection(stream, tls, &*answer)).await;
                if let Some(Err(error)) = served {
                    debug!(target: "endpoints", error = %error, "An HTTP request was not answered");
                }
                drop(held);
            });
        }
    };
    shutdown.unless_stopped(accepting).await;
}

async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    answer: &impl Answer,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Some(tls) = tls else { return Ok(one(stream, answer).await?) };
    Ok(one(TlsAcceptor::from(tls()).accept(stream).await?, answer).await?)
}

/// One request and its answer.
pub(crate) async fn one(stream: impl AsyncRead + AsyncWrite + Unpin, answer: &impl Answer) -> Result<(), hyper::Error> {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer.answer(request.into_parts().0.uri).await)
    });
    http1::Builder::new().keep_alive(false).max_buf_size(HEAD).serve_connection(TokioIo::new(stream), service).await
}

#[cfg(test)]
pub(crate) mod tests {
    use http::header::CONTENT_TYPE;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What is answered to bytes on a connection of their own.
    pub(crate) async fn answered(answer: impl Answer, sent: &str) -> String {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        client.write_all(sent.as_bytes()).await.unwrap();
        // Bytes that make no sense end the connection with an error, which is the caller's.
        let _ = one(server, &answer).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn hello(_: &Uri) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from("hello")));
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        response
    }

    #[tokio::test]
    async fn what_is_no_request_or_too_long_is_refused() {
        let refused = answered(hello, "\u{16}\u{3}\u{1}\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{refused}");
        let endless = format!("GET /live HTTP/1.1\r\nA: {}", "a".repeat(HEAD));
        let refused = answered(hello, &endless).await;
        assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    }
}
