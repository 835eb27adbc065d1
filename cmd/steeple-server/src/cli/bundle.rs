//! `bundle show`

use std::time::Duration;

use anyhow::{Context, bail};
use steeple_config::flags::FlagSet;
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::types;
use steeple_runtime::clock::from_unix_seconds;
use steeple_spiffe::bundle::{jwks, pem};
use steeple_spiffe::{Bundle, Certificate, JwtAuthority, PublicKey, TrustDomain, WitAuthority, X509Authority};

use super::client::ServerFlags;
use super::output::{Format, Output, print_json};
use super::{console, json, usage};

/// Prints the bundle of the server's own trust domain.
pub(crate) async fn show(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let mut format = String::from("pem");
    let flags = FlagSet::new("bundle show").flag("output", &mut output, Output::HELP);
    let flags = flags.flag("format", &mut format, "The form of a pretty bundle: pem or spiffe");
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let bundle = BundleClient::new(server.channel()).get_bundle(GetBundleRequest::default()).await;
    let bundle = bundle.map_err(|status| server.failed(&status))?.into_inner();
    match output.format() {
        Format::Json => print_json(&json::bundle(&bundle)),
        Format::Pretty => console::out(&document(bundle, &format)?),
    }
    Ok(())
}

/// The bundle in a document format. Only now is the format looked at, as in the reference.
fn document(bundle: types::Bundle, format: &str) -> anyhow::Result<String> {
    match format.to_lowercase().as_str() {
        "" | "pem" => Ok(pem::marshal(&parsed(bundle)?)),
        "spiffe" => {
            let document = jwks::marshal(&parsed(bundle)?, jwks::Options::default());
            Ok(String::from_utf8(document)? + "\n")
        }
        _ => bail!("invalid format: {format:?}"),
    }
}

fn parsed(bundle: types::Bundle) -> anyhow::Result<Bundle> {
    let types::Bundle {
        trust_domain,
        x509_authorities,
        jwt_authorities,
        refresh_hint,
        sequence_number,
        wit_authorities,
    } = bundle;
    let x509 = x509_authorities.into_iter().map(|types::X509Certificate { asn1, tainted }| {
        let certificate = Certificate::from_der(&asn1).context("unable to parse root CA")?;
        anyhow::Ok(X509Authority { certificate, tainted })
    });
    let jwt = jwt_authorities.into_iter().map(|types::JwtKey { public_key, key_id, expires_at, tainted }| {
        anyhow::Ok(JwtAuthority { public_key: key(&public_key)?, key_id, expires_at: moment(expires_at), tainted })
    });
    let wit = wit_authorities.into_iter().map(|types::WitKey { public_key, key_id, expires_at, tainted }| {
        anyhow::Ok(WitAuthority { public_key: key(&public_key)?, key_id, expires_at: moment(expires_at), tainted })
    });
    Ok(Bundle {
        trust_domain: TrustDomain::parse(&trust_domain)?,
        x509_authorities: x509.collect::<Result<_, _>>()?,
        jwt_authorities: jwt.collect::<Result<_, _>>()?,
        wit_authorities: wit.collect::<Result<_, _>>()?,
        sequence_number,
        refresh_hint: u64::try_from(refresh_hint).ok().filter(|hint| *hint > 0).map(Duration::from_secs),
    })
}

fn key(spki_der: &[u8]) -> anyhow::Result<PublicKey> {
    PublicKey::from_spki_der(spki_der).context("unable to parse public key")
}

fn moment(unix_seconds: i64) -> Option<std::time::SystemTime> {
    (unix_seconds != 0).then(|| from_unix_seconds(unix_seconds))
}
