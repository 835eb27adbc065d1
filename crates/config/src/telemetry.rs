//! `telemetry`: where measurements go, the same section in both daemons' files. Whether an address is one, and whether TLS
//! can be had, shows when the daemon starts, as in the reference.

use serde::Deserialize;

/// `telemetry`; keys that are not here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// Scraped over HTTP.
    #[serde(rename = "Prometheus")]
    pub prometheus: Option<Prometheus>,
    /// Sent to DogStatsD daemons.
    #[serde(rename = "DogStatsd")]
    pub dog_statsd: Vec<Address>,
    /// Sent to statsd daemons.
    #[serde(rename = "Statsd")]
    pub statsd: Vec<Address>,
    /// Sent to M3 collectors.
    #[serde(rename = "M3")]
    pub m3: Vec<M3>,
    /// Kept in memory and written to the log on SIGUSR1.
    #[serde(rename = "InMem")]
    pub in_mem: Option<InMem>,
    /// What names begin with, in place of the daemon's own name. Empty: not said.
    #[serde(rename = "MetricPrefix")]
    pub metric_prefix: String,
    /// Whether each series names the trust domain. None: no.
    #[serde(rename = "EnableTrustDomainLabel")]
    pub enable_trust_domain_label: Option<bool>,
    /// Whether each series names the host. None: yes.
    #[serde(rename = "EnableHostnameLabel")]
    pub enable_hostname_label: Option<bool>,
    /// Beginnings of names that are measured although a shorter one is blocked.
    #[serde(rename = "AllowedPrefixes")]
    pub allowed_prefixes: Vec<String>,
    /// Beginnings of names that are not measured.
    #[serde(rename = "BlockedPrefixes")]
    pub blocked_prefixes: Vec<String>,
    /// Names of labels that are given; without any, all.
    #[serde(rename = "AllowedLabels")]
    pub allowed_labels: Vec<String>,
    /// Names of labels that are not given.
    #[serde(rename = "BlockedLabels")]
    pub blocked_labels: Vec<String>,
}

/// `telemetry.Prometheus`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Prometheus {
    /// Where to listen. Empty: this host alone.
    pub host: String,
    /// On which port; 0 is any.
    pub port: i64,
    /// Served over TLS.
    pub tls: Option<Tls>,
}

/// `telemetry.Prometheus.tls`; keys that are not here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// The certificate, with those between it and its authority.
    pub cert_file: String,
    /// Its key.
    pub key_file: String,
    /// Authorities below which clients must have a certificate.
    pub client_ca_file: String,
    /// Shows the daemon's own SVID.
    pub use_spire_svid: bool,
    /// SPIFFE IDs one of which clients must have.
    pub authorized_spiffe_ids: Vec<String>,
}

/// An element of `telemetry.Statsd` or `telemetry.DogStatsd`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Address {
    /// Where to send.
    pub address: String,
}

/// An element of `telemetry.M3`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct M3 {
    /// Where to send.
    pub address: String,
    /// The tag `env`.
    pub env: String,
}

/// `telemetry.InMem`, which has no keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct InMem {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Telemetry {
        crate::decode::decode(&crate::hcl::parse(text).unwrap()).unwrap().value
    }

    #[test]
    fn each_key_is_read() {
        let text = r#"
            Prometheus {
                host = "0.0.0.0"
                port = 9988
                tls {
                    cert_file = "c"
                    key_file = "k"
                    client_ca_file = "ca"
                    use_spire_svid = true
                    authorized_spiffe_ids = ["spiffe://example.org/prometheus"]
                }
            }
            DogStatsd = [{ address = "a:1" }]
            Statsd = [{ address = "b:2" }, { address = "c:3" }]
            M3 = [{ address = "d:4", env = "prod" }]
            InMem {}
            MetricPrefix = "p"
            EnableTrustDomainLabel = true
            EnableHostnameLabel = false
            AllowedPrefixes = ["ap"]
            BlockedPrefixes = ["bp"]
            AllowedLabels = ["al"]
            BlockedLabels = ["bl"]
        "#;
        let address = |address: &str| Address { address: address.to_owned() };
        let expected = Telemetry {
            prometheus: Some(Prometheus {
                host: "0.0.0.0".to_owned(),
                port: 9988,
                tls: Some(Tls {
                    cert_file: "c".to_owned(),
                    key_file: "k".to_owned(),
                    client_ca_file: "ca".to_owned(),
                    use_spire_svid: true,
                    authorized_spiffe_ids: vec!["spiffe://example.org/prometheus".to_owned()],
                }),
            }),
            dog_statsd: vec![address("a:1")],
            statsd: vec![address("b:2"), address("c:3")],
            m3: vec![M3 { address: "d:4".to_owned(), env: "prod".to_owned() }],
            in_mem: Some(InMem {}),
            metric_prefix: "p".to_owned(),
            enable_trust_domain_label: Some(true),
            enable_hostname_label: Some(false),
            allowed_prefixes: vec!["ap".to_owned()],
            blocked_prefixes: vec!["bp".to_owned()],
            allowed_labels: vec!["al".to_owned()],
            blocked_labels: vec!["bl".to_owned()],
        };
        assert_eq!(read(text), expected);
        assert_eq!(read(""), Telemetry::default());
    }
}
