//! What a daemon says of its health over HTTP, to whoever supervises it: two paths, and JSON.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use steeple_runtime::health::{Health, Question};
use steeple_runtime::{Clock, Shutdown};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::http1;

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
    let answering = Arc::new(move |uri: &Uri| answer(uri, &place, &health));
    http1::serve(listener, None, answering, clock, shutdown).await;
}

/// Of any method, as the reference answers.
fn answer(uri: &Uri, place: &Place, health: &Health) -> Response<Full<Bytes>> {
    let question = match uri.path() {
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

    use super::*;
    use crate::http1::tests::answered;

    const CHECK: Check = Check { name: "store", field: "store_err" };

    async fn asked(health: &Health, method: &str, path: &str) -> String {
        let place = Place {
            address: "localhost:80".to_owned(),
            live_path: "/live".to_owned(),
            ready_path: "/is/ready".to_owned(),
        };
        let sent = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        answered(|uri: &Uri| answer(uri, &place, health), &sent).await
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
}
