//! `experimental.steeple.otlp`: where traces and measurements are sent by OpenTelemetry's protocol, the same section in both
//! daemons' files.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::duration::Duration as GoDuration;

/// What the file says; keys that are not here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Section {
    /// `https://host:port`, or `http://host:port` without TLS.
    pub endpoint: String,
    /// A file with the authorities that the receiver's certificate is below. Empty: those of the system.
    pub ca_file: String,
    /// Traces, if they are wanted.
    pub traces: Option<Traces>,
    /// Measurements, if they are wanted.
    pub metrics: Option<Metrics>,
}

/// `traces`
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Traces {
    /// How many of all calls begin a trace, from 0 to 1.
    pub ratio: f64,
}

/// `metrics`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// How often they are sent.
    pub interval: String,
}

/// What is sent, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// The receiver's name or IP.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether over TLS.
    pub tls: bool,
    /// `ca_file`
    pub ca_file: Option<PathBuf>,
    /// `traces.ratio`, where traces are sent.
    pub ratio: Option<f64>,
    /// `metrics.interval`, where measurements are sent.
    pub interval: Option<Duration>,
}

/// OpenTelemetry's port for gRPC.
const PORT: u16 = 4317;
const INTERVAL: Duration = Duration::from_secs(60);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

impl Section {
    /// Where and what, checked.
    ///
    /// # Errors
    /// What cannot be meant, by the key.
    pub fn checked(&self) -> Result<Otlp, String> {
        let Self { endpoint, ca_file, traces, metrics } = self;
        let (tls, authority) = match endpoint.split_once("://") {
            Some(("https", authority)) => (true, authority),
            Some(("http", authority)) => (false, authority),
            _ => return Err(format!("endpoint must be https://host:port or http://host:port, not {endpoint:?}")),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, port.ok_or_else(|| format!("endpoint: there is no such port: {endpoint:?}"))?)
            }
            _ => (authority, PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['/', '?', '#', '@', '[', ' ']) {
            return Err(format!("endpoint must be https://host:port or http://host:port, not {endpoint:?}"));
        }
        if !tls && !ca_file.is_empty() {
            return Err("ca_file is of no use without https:// in endpoint".to_owned());
        }
        if traces.is_none() && metrics.is_none() {
            return Err("nothing is sent without traces or metrics".to_owned());
        }
        let ratio = match traces {
            Some(Traces { ratio }) if !(0.0..=1.0).contains(ratio) => {
                return Err(format!("traces.ratio must be from 0 to 1, not {ratio}"));
            }
            traces => traces.map(|traces| traces.ratio),
        };
        Ok(Otlp {
            host: host.to_owned(),
            port,
            tls,
            ca_file: Some(ca_file).filter(|file| !file.is_empty()).map(PathBuf::from),
            ratio,
            interval: metrics.as_ref().map(interval).transpose()?,
        })
    }
}

fn interval(Metrics { interval }: &Metrics) -> Result<Duration, String> {
    if interval.is_empty() {
        return Ok(INTERVAL);
    }
    let parsed: GoDuration = interval.parse().map_err(|error| format!("metrics.interval: {error}"))?;
    let parsed = parsed.to_std().filter(|length| *length >= LEAST_INTERVAL);
    parsed.ok_or_else(|| format!("metrics.interval must be at least {}s", LEAST_INTERVAL.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Otlp, String> {
        let body = crate::hcl::parse(text).unwrap();
        crate::decode::decode::<Section>(&body).unwrap().value.checked()
    }

    #[test]
    fn each_key_has_its_effect() {
        let expected = Otlp {
            host: "collector.test".to_owned(),
            port: 4317,
            tls: true,
            ca_file: None,
            ratio: Some(0.0),
            interval: None,
        };
        assert_eq!(read("endpoint = \"https://collector.test\"\ntraces {}"), Ok(expected.clone()));
        let text = "endpoint = \"https://[::1]:1/\"\nca_file = \"roots.pem\"\ntraces { ratio = 0.25 }\n\
                    metrics { interval = \"90s\" }";
        let every_key = Otlp {
            host: "::1".to_owned(),
            port: 1,
            ca_file: Some("roots.pem".into()),
            ratio: Some(0.25),
            interval: Some(Duration::from_secs(90)),
            ..expected
        };
        assert_eq!(read(text), Ok(every_key));
        let plain = read("endpoint = \"http://127.0.0.1:4317\"\ntraces { ratio = 1 }\nmetrics {}").unwrap();
        assert_eq!((plain.tls, plain.ratio, plain.interval), (false, Some(1.0), Some(INTERVAL)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        const NO_URL: &str = "endpoint must be https://host:port or http://host:port, not ";
        for (text, why) in [
            ("traces {}", format!("{NO_URL}\"\"")),
            ("endpoint = \"collector:4317\"", format!("{NO_URL}\"collector:4317\"")),
            ("endpoint = \"grpc://collector:4317\"", format!("{NO_URL}\"grpc://collector:4317\"")),
            ("endpoint = \"http://:1\"", format!("{NO_URL}\"http://:1\"")),
            ("endpoint = \"http://a/v1/traces\"", format!("{NO_URL}\"http://a/v1/traces\"")),
            ("endpoint = \"http://a:0\"", "endpoint: there is no such port: \"http://a:0\"".to_owned()),
            ("endpoint = \"http://a:x\"", "endpoint: there is no such port: \"http://a:x\"".to_owned()),
            ("endpoint = \"http://a\"", "nothing is sent without traces or metrics".to_owned()),
            (
                "endpoint = \"http://a\"\nca_file = \"b\"",
                "ca_file is of no use without https:// in endpoint".to_owned(),
            ),
            ("endpoint = \"http://a\"\ntraces { ratio = 1.5 }", "traces.ratio must be from 0 to 1, not 1.5".to_owned()),
            ("endpoint = \"http://a\"\ntraces { ratio = -1 }", "traces.ratio must be from 0 to 1, not -1".to_owned()),
            (
                "endpoint = \"http://a\"\nmetrics { interval = \"10ms\" }",
                "metrics.interval must be at least 1s".to_owned(),
            ),
            (
                "endpoint = \"http://a\"\nmetrics { interval = \"x\" }",
                "metrics.interval: time: invalid duration \"x\"".to_owned(),
            ),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
    }
}
