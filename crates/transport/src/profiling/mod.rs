//! Profiles of the running daemon, in the form that `go tool pprof` reads, under the reference's keys, paths and names of
//! files (`profiling_*`): on a port of this host, and as a file each every now and then.

mod kind;
mod pprof;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use steeple_config::sections::Profiling;
use steeple_runtime::clock::stamp;
use steeple_runtime::{Clock, Shutdown};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::http1;
use kind::Kind;

/// Where files are written, from the working directory on.
const DIRECTORY: &str = ".profiles";
const PATH: &str = "/debug/pprof/";
/// How long the processors are looked at if nobody says so, and at the longest.
const USUAL: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);

/// Answers, and writes files, until it is told to stop. `daemon` is what the names of files have: `server`. A place that is not
/// to be had is told in the log: a daemon serves also those who do not profile it.
pub async fn run(profiling: Profiling, daemon: &'static str, clock: Clock, shutdown: Shutdown) {
    let Profiling { port, every, names } = profiling;
    let answering = async {
        if let Some(port) = port {
            serve(port, clock.clone(), shutdown.clone()).await;
        }
    };
    let writing = async {
        if let Some(every) = every {
            let kinds = kinds(&names);
            shutdown.unless_stopped(write(Path::new(DIRECTORY), &kinds, every, daemon, &clock)).await;
        }
    };
    tokio::join!(answering, writing);
}

/// Those that this program makes; the log tells of others.
fn kinds(names: &[String]) -> Vec<Kind> {
    let kinds: Vec<_> = names.iter().filter_map(|name| Kind::named(name)).collect();
    let unknown: Vec<_> = names.iter().filter(|name| Kind::named(name).is_none()).map(String::as_str).collect();
    if !unknown.is_empty() {
        warn!(target: "profiling", names = unknown.join(","), "There are no profiles of these names");
    }
    if kinds.is_empty() {
        warn!(target: "profiling", "No profile is to be written");
    }
    kinds
}

async fn write(directory: &Path, kinds: &[Kind], every: Duration, daemon: &str, clock: &Clock) {
    while !kinds.is_empty() {
        // That of the processors is of all the time between.
        let others = kinds.iter().filter(|kind| **kind != Kind::Cpu);
        let of_cpu = if kinds.contains(&Kind::Cpu) { Some(Kind::Cpu.make(every, clock).await) } else { None };
        if !matches!(of_cpu, Some(Ok(_))) {
            clock.sleep(every).await;
        }
        let mut made: Vec<_> = of_cpu.into_iter().map(|profile| (Kind::Cpu, profile)).collect();
        for kind in others {
            made.push((*kind, kind.make(Duration::ZERO, clock).await));
        }
        for (kind, profile) in made {
            let path = directory.join(format!("{}_{daemon}_{}.pb.gz", stamp(clock.now()), kind.name()));
            let written = match profile {
                Ok(profile) => match tokio::fs::create_dir_all(directory).await {
                    Ok(()) => tokio::fs::write(&path, profile).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                warn!(target: "profiling", path = %path.display(), error, "A profile was not written");
            }
        }
    }
}

async fn serve(port: i64, clock: Clock, shutdown: Shutdown) {
    let address = format!("localhost:{port}");
    let listener = match TcpListener::bind(&address).await {
        Ok(listener) => listener,
        Err(error) => {
            warn!(target: "profiling", address, error = %error, "Profiles cannot be asked for");
            return;
        }
    };
    info!(target: "profiling", address, "Serving profiles");
    http1::serve(listener, None, Arc::new(Profiles { clock: clock.clone() }), clock, shutdown).await;
}

struct Profiles {
    clock: Clock,
}

impl http1::Answer for Profiles {
    fn limit(&self) -> Duration {
        LONGEST + http1::LIMIT
    }

    async fn answer(&self, uri: Uri) -> Response<Full<Bytes>> {
        let Some(name) = uri.path().strip_prefix(PATH) else {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        let kind = match name {
            "" => return text(StatusCode::OK, &index()),
            "cmdline" => return text(StatusCode::OK, &arguments()),
            "profile" => Kind::Cpu,
            // It is under another name here.
            name => match Kind::named(name).filter(|kind| *kind != Kind::Cpu) {
                Some(kind) => kind,
                None => return text(StatusCode::NOT_FOUND, "Unknown profile\n"),
            },
        };
        let Some(length) = length(&uri) else {
            let why = format!("seconds must be a number from 1 to {}\n", LONGEST.as_secs());
            return text(StatusCode::BAD_REQUEST, &why);
        };
        match kind.make(length, &self.clock).await {
            Ok(profile) => of(StatusCode::OK, "application/octet-stream", profile.into()),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("Could not make the profile: {error}\n")),
        }
    }
}

/// Of this process.
fn arguments() -> String {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\0")
}

fn index() -> String {
    let lines = Kind::ALL.map(|kind| match kind {
        Kind::Cpu => format!("{PATH}profile?seconds={}\n", USUAL.as_secs()),
        kind => format!("{PATH}{}\n", kind.name()),
    });
    format!("{PATH}cmdline\n{}", lines.concat())
}

/// How long is asked for; None where that makes no sense.
fn length(uri: &Uri) -> Option<Duration> {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    match parameters.find_map(|parameter| parameter.strip_prefix("seconds=")) {
        None => Some(USUAL),
        Some(seconds) => {
            let length = Duration::from_secs(seconds.parse().ok()?);
            (!length.is_zero() && length <= LONGEST).then_some(length)
        }
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    of(status, "text/plain; charset=utf-8", text.to_owned().into())
}

fn of(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Answer;

    async fn status(path: &str) -> StatusCode {
        Profiles { clock: Clock::system() }.answer(path.parse().unwrap()).await.status()
    }

    #[tokio::test]
    async fn each_path_of_the_index_is_one_and_others_are_none() {
        for path in index().lines().filter(|path| !path.contains("seconds")) {
            assert_eq!(status(path).await, StatusCode::OK, "{path}");
        }
        for path in ["/", "/debug/pprof", "/debug/pprof/mutex", "/debug/pprof/cpu", "/debug/requests"] {
            assert_eq!(status(path).await, StatusCode::NOT_FOUND, "{path}");
        }
        for seconds in ["", "0", "-1", "601", "x"] {
            let path = format!("/debug/pprof/profile?seconds={seconds}");
            assert_eq!(status(&path).await, StatusCode::BAD_REQUEST, "{path}");
        }
    }

    #[tokio::test]
    async fn files_have_the_references_names_and_come_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let (kinds, clock) = (kinds(&["heap".to_owned(), "goroutine".to_owned(), "mutex".to_owned()]), Clock::system());
        assert_eq!(kinds, [Kind::Heap, Kind::Goroutine]);
        let files = || {
            let found =
                std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            found.collect::<Vec<_>>()
        };
        let writing = write(dir.path(), &kinds, Duration::from_millis(10), "server", &clock);
        let written = async {
            while files().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = writing => panic!("it has stopped"),
            () = written => {}
        }
        for name in files() {
            let (stamp, rest) = name.split_at("2026-11-30_222500".len());
            assert!(stamp.bytes().all(|byte| byte.is_ascii_digit() || b"-_".contains(&byte)), "{name}");
            assert!(["_server_heap.pb.gz", "_server_goroutine.pb.gz"].contains(&rest), "{name}");
        }
    }
}
