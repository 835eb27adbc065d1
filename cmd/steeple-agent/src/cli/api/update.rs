//! What the Workload API sends on the stream of X509-SVIDs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use steeple_config::duration::Duration as GoDuration;
use steeple_console::time;
use steeple_runtime::clock::unix_seconds;
use steeple_spiffe::workload_api::X509Context;
use steeple_spiffe::{Bundle, Certificate, X509Error, X509Svid, verify_x509_svid};

/// An answer, in the order in which it is shown.
pub(super) struct Update {
    pub(super) svids: Vec<Identity>,
    /// By the trust domain's SPIFFE ID.
    pub(super) federated_bundles: BTreeMap<String, Vec<Certificate>>,
}

/// An SVID, and the authorities of its trust domain.
pub(super) struct Identity {
    pub(super) svid: Arc<X509Svid>,
    pub(super) bundle: Vec<Certificate>,
}

/// What the two commands print differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// With hints, and trust domains as SPIFFE IDs.
    Fetch,
    /// Without hints, and trust domains as names.
    Watch,
}

impl From<X509Context> for Update {
    fn from(context: X509Context) -> Self {
        // Nothing is revoked by lists: SVIDs are short-lived.
        let X509Context { svids, mut bundles, crls: _ } = context;
        let certificates = |bundle: &Arc<Bundle>| bundle.x509_certificates().cloned().collect();
        let identity = |svid: Arc<X509Svid>| {
            let bundle = bundles.get(&svid.id.trust_domain()).map(certificates).unwrap_or_default();
            Identity { svid, bundle }
        };
        let svids: Vec<Identity> = svids.into_iter().map(identity).collect();
        for Identity { svid, bundle: _ } in &svids {
            bundles.remove(&svid.id.trust_domain());
        }
        let federated = bundles.iter().map(|bundle| (bundle.trust_domain.id().to_string(), certificates(bundle)));
        Self { svids, federated_bundles: federated.collect() }
    }
}

impl Update {
    /// Whether each SVID is signed by an authority of its own bundle, now.
    ///
    /// # Errors
    /// One is not.
    pub(super) fn verify(&self, now: SystemTime) -> Result<(), X509Error> {
        self.svids.iter().try_for_each(|Identity { svid, bundle }| verify_x509_svid(&svid.chain, bundle, now).map(drop))
    }

    /// For people. `waited` is the time until it came.
    pub(super) fn pretty(&self, waited: Duration, style: Style) -> String {
        let Self { svids, federated_bundles } = self;
        let mut text = String::new();
        // Writing to a string does not fail.
        let noun = if svids.len() == 1 { "svid" } else { "svids" };
        let waited = GoDuration::try_from(waited).unwrap_or_default();
        let _ = writeln!(text, "Received {} {noun} after {waited}", svids.len());
        for Identity { svid, bundle } in svids {
            let X509Svid { id, chain, key_pkcs8: _, hint } = &**svid;
            let _ = writeln!(text, "\nSPIFFE ID:\t\t{id}");
            if style == Style::Fetch && !hint.is_empty() {
                let _ = writeln!(text, "Hint:\t\t\t{hint}");
            }
            for (index, certificate) in chain.iter().enumerate() {
                let what = if index == 0 { "SVID".into() } else { format!("Intermediate #{index}") };
                validity(&mut text, &what, certificate);
            }
            authorities(&mut text, "", bundle);
            for (trust_domain, bundle) in federated_bundles {
                let name = trust_domain.strip_prefix("spiffe://").filter(|_| style == Style::Watch);
                authorities(&mut text, &format!("[{}] ", name.unwrap_or(trust_domain)), bundle);
            }
        }
        text.push('\n');
        text
    }
}

fn authorities(text: &mut String, prefix: &str, bundle: &[Certificate]) {
    for (index, certificate) in bundle.iter().enumerate() {
        validity(text, &format!("{prefix}CA #{}", index + 1), certificate);
    }
}

fn validity(text: &mut String, what: &str, certificate: &Certificate) {
    let _ = writeln!(text, "{what} Valid After:\t{}", utc(certificate.not_before()));
    let _ = writeln!(text, "{what} Valid Until:\t{}", utc(certificate.not_after()));
}

/// As Go prints a moment by default.
fn utc(moment: SystemTime) -> String {
    time::utc(unix_seconds(moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_moment_as_go_does() {
        assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(4_070_908_800)), "2099-01-01 00:00:00 +0000 UTC");
        // How a certificate says that it has no end (RFC 5280, section 4.1.2.5).
        let endless = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        assert_eq!(utc(endless), "9999-12-31 23:59:59 +0000 UTC");
    }

    #[test]
    fn counts_svids_in_words() {
        let update = Update { svids: Vec::new(), federated_bundles: BTreeMap::new() };
        let text = update.pretty(Duration::from_micros(2_850), Style::Fetch);
        assert_eq!(text, "Received 0 svids after 2.85ms\n\n");
    }
}
