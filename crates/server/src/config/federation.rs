//! `federation`: it is checked as in the reference, in its words, and has no effect yet.

use std::path::Path;
use std::time::Duration;

use steeple_config::decode::Labelled;
use steeple_config::duration::Duration as GoDuration;
use steeple_config::sections::Warning;
use steeple_runtime::os::unread;
use steeple_spiffe::{SpiffeId, TrustDomain};

use super::file::{
    Acme, BundleEndpoint, EndpointProfile, FederatesWith, Federation, RelationshipProfile, ServingCertFile,
};

const HTTPS: &str = "https://";
const SPIFFE: &str = "https_spiffe";
const WEB: &str = "https_web";

const HIGH: Duration = Duration::from_secs(24 * 60 * 60);
const LOW: Duration = Duration::from_secs(60);

const HIGH_HINT: &str = "Bundle endpoint refresh hint set to a high value. To cover the case of unscheduled trust bundle \
                         updates, it's recommended to have a smaller value, e.g. 5m";
const LOW_HINT: &str = "Bundle endpoint refresh hint set too low. SPIRE will not refresh more often than 1 minute";
const NO_PROFILE: &str = "Bundle endpoint is configured but has no profile set, using https_spiffe as default; please \
                          configure a profile explicitly. This will be fatal in a future release.";
const OLD_ACME: &str = "ACME configuration within the bundle_endpoint is deprecated. Please use ACME configuration as part \
                        of the https_web profile instead.";
const SEVERAL: &str = "exactly one bundle endpoint profile is expected";

/// What the reference looks at before it has a log: whether there are the places that are needed.
pub(super) fn check_places(federation: Option<&Federation>) -> Result<(), String> {
    let Some(Federation { bundle_endpoint, federates_with }) = federation else { return Ok(()) };
    if let Some(acme) = bundle_endpoint.as_ref().and_then(|endpoint| endpoint.acme.as_ref()) {
        let Acme { directory_url: _, domain_name, email, tos_accepted: _ } = acme;
        for (value, name) in [(domain_name, "domain_name"), (email, "email")] {
            if value.is_empty() {
                return Err(format!("federation.bundle_endpoint.acme.{name} must be configured"));
            }
        }
    }
    for (name, FederatesWith { bundle_endpoint_url: url, .. }) in &federates_with.0 {
        let key = format!("federation.federates_with[{name:?}].bundle_endpoint_url");
        if url.is_empty() {
            return Err(format!("{key} must be configured"));
        }
        if !url.get(..HTTPS.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(HTTPS)) {
            return Err(format!("{key} must use the HTTPS protocol; URL found: {url:?}"));
        }
    }
    Ok(())
}

/// All the rest. Returns what the author should think over once more.
pub(super) fn check(federation: Option<&Federation>) -> Result<Vec<Warning>, String> {
    let Some(Federation { bundle_endpoint, federates_with }) = federation else { return Ok(Vec::new()) };
    let warnings = bundle_endpoint.as_ref().map(endpoint).transpose()?.unwrap_or_default();
    federates_with.0.iter().try_for_each(|(name, with)| relationship(name, with))?;
    Ok(warnings)
}

fn endpoint(endpoint: &BundleEndpoint) -> Result<Vec<Warning>, String> {
    // An address that is none means all addresses, and any number is a port, until something listens there.
    let BundleEndpoint { acme, address: _, port: _, profile, refresh_hint } = endpoint;
    let mut warnings = Vec::new();
    if !refresh_hint.is_empty() {
        let hint: GoDuration =
            refresh_hint.parse().map_err(|error| format!("could not parse refresh_hint {refresh_hint:?}: {error}"))?;
        match hint.to_std() {
            Some(hint) if hint >= HIGH => warnings.push(Warning::from(HIGH_HINT)),
            Some(hint) if hint >= LOW => {}
            _ => warnings.push(LOW_HINT.into()),
        }
    }
    match (acme, profile) {
        (Some(_), Some(_)) => return Err("either bundle endpoint 'acme' or 'profile' can be set, but not both".into()),
        (Some(_), None) => warnings.push(Warning::deprecation(OLD_ACME)),
        (None, None) => warnings.push(Warning::deprecation(NO_PROFILE)),
        (None, Some(profiles)) => match the_one(profiles)? {
            (SPIFFE, _) => {}
            (WEB, profile) => web(profile)?,
            _ => {
                // The quotes are the reference's.
                return Err(format!(
                    "unknown bundle endpoint profile configured; current supported profiles are {SPIFFE:?} and '{WEB}\""
                ));
            }
        },
    }
    Ok(warnings)
}

/// With both, the files are not looked at.
fn web(EndpointProfile { acme, serving_cert_file }: &EndpointProfile) -> Result<(), String> {
    match (acme, serving_cert_file) {
        (Some(_), _) => Ok(()),
        (None, Some(ServingCertFile { cert_file_path, file_sync_interval, key_file_path })) => {
            file_sync_interval.parse::<GoDuration>().map_err(|error| error.to_string())?;
            [cert_file_path, key_file_path].into_iter().map(Path::new).try_for_each(|path| match std::fs::read(path) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("failed to load certificate: {}", unread(path, &error))),
            })
        }
        (None, None) => {
            Err("malformed https_web profile configuration: 'acme' or 'serving_cert_file' is required".to_owned())
        }
    }
}

fn relationship(name: &str, with: &FederatesWith) -> Result<(), String> {
    let FederatesWith { bundle_endpoint_profile, bundle_endpoint_url: _ } = with;
    let trust_domain = TrustDomain::parse(name).map_err(|error| error.to_string())?;
    let name = trust_domain.name();
    let profiles = bundle_endpoint_profile.as_ref().ok_or_else(|| {
        format!("federation configuration for trust domain {name:?}: missing bundle endpoint configuration")
    })?;
    let wrong = |why: String| format!("error parsing federation relationship for trust domain {name:?}: {why}");
    match the_one(profiles).map_err(wrong)? {
        (SPIFFE, RelationshipProfile { endpoint_spiffe_id }) => SpiffeId::parse(endpoint_spiffe_id)
            .map(drop)
            .map_err(|error| wrong(format!("could not get endpoint SPIFFE ID: {error}"))),
        (WEB, _) => Ok(()),
        // Likewise.
        _ => Err(wrong(format!(
            "no bundle endpoint profile defined; current supported profiles are {SPIFFE:?} and '{WEB}\""
        ))),
    }
}

fn the_one<T>(profiles: &Labelled<T>) -> Result<(&str, &T), String> {
    let [(name, profile)] = profiles.0.as_slice() else { return Err(SEVERAL.to_owned()) };
    Ok((name, profile))
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    use super::*;

    /// What is told of a block, or why it is refused.
    fn told(federation: &str) -> Result<Vec<Warning>, String> {
        let text = format!(
            "server {{ trust_domain = \"example.org\"\n data_dir = \"data\"\n federation {{\n{federation}\n}} }}\n\
             plugins {{ DataStore \"sql\" {{ plugin_data {{ database_type = \"sqlite3\" connection_string = \"x\" }} }} }}"
        );
        let parsed = Config::parse(&text, "server.conf", Flags::default());
        parsed.map(|config| config.warnings).map_err(|error| error.to_string())
    }

    fn endpoint(keys: &str) -> Result<Vec<Warning>, String> {
        told(&format!("bundle_endpoint {{\n{keys}\n}}"))
    }

    fn with(name: &str, keys: &str) -> Result<Vec<Warning>, String> {
        told(&format!("federates_with {name:?} {{\n{keys}\n}}"))
    }

    #[test]
    fn what_is_wrong_with_an_endpoint_is_told_in_the_references_words_and_order() {
        for (keys, expected) in [
            (
                "refresh_hint = \"x\"\nacme { domain_name = \"d\" email = \"e\" }\nprofile {}",
                "could not parse refresh_hint \"x\": time: invalid duration \"x\"",
            ),
            (
                "refresh_hint = \"x\"\nacme { domain_name = \"d\" }",
                "federation.bundle_endpoint.acme.email must be configured",
            ),
            (
                "acme { domain_name = \"d\" email = \"e\" }\nprofile \"https_web\" {}",
                "either bundle endpoint 'acme' or 'profile' can be set, but not both",
            ),
            ("profile {}", SEVERAL),
            (
                "profile \"zzz\" {}",
                "unknown bundle endpoint profile configured; current supported profiles are \"https_spiffe\" and 'https_web\"",
            ),
            (
                "profile \"https_web\" { serving_cert_file { file_sync_interval = \"1h\" } }",
                "failed to load certificate: open : no such file or directory",
            ),
        ] {
            assert_eq!(endpoint(keys).unwrap_err(), expected, "{keys}");
        }
    }

    #[test]
    fn what_the_author_of_an_endpoint_should_think_over_is_told() {
        let deprecated = Warning::deprecation;
        let spiffe = |hint: &str| format!("refresh_hint = {hint:?}\nprofile \"https_spiffe\" {{}}");
        for (keys, expected) in [
            (String::new(), vec![deprecated(NO_PROFILE)]),
            ("acme { domain_name = \"d\" email = \"e\" }".to_owned(), vec![deprecated(OLD_ACME)]),
            (spiffe(""), vec![]),
            (spiffe("24h"), vec![HIGH_HINT.into()]),
            (spiffe("23h"), vec![]),
            (spiffe("59s"), vec![LOW_HINT.into()]),
            (spiffe("-1h"), vec![LOW_HINT.into()]),
            ("profile \"https_web\" { acme {} serving_cert_file {} }".to_owned(), vec![]),
        ] {
            assert_eq!(endpoint(&keys).unwrap(), expected, "{keys}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_relationship_is_told_in_the_references_words() {
        let wrong = "error parsing federation relationship for trust domain \"other.test\": ";
        let url = "bundle_endpoint_url = \"HTTPS://x\"";
        for (keys, expected) in [
            (
                "bundle_endpoint_profile \"https_spiffe\" {}",
                format!("{wrong}could not get endpoint SPIFFE ID: cannot be empty"),
            ),
            (
                "bundle_endpoint_profile \"https_spiffe\" {}\nbundle_endpoint_profile \"https_web\" {}",
                format!("{wrong}{SEVERAL}"),
            ),
        ] {
            assert_eq!(with("other.test", &format!("{url}\n{keys}")).unwrap_err(), expected, "{keys}");
        }
        let web = format!("{url}\nbundle_endpoint_profile \"https_web\" {{}}");
        for sound in ["other.test", "example.org"] {
            assert_eq!(with(sound, &web), Ok(Vec::new()), "{sound}");
        }
        assert!(with("Other!", &web).unwrap_err().starts_with("trust domain characters are limited"));
    }
}
