//! Workloads for the tests of whole daemons, with the crate `spiffe`: the same commands, flags and events as those in Go
//! (tests/go/main.go says which).

mod mtls;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use spiffe::bundle::BundleSource;
use spiffe::{JwtBundleSet, JwtSvid, WorkloadApiClient, X509Source, X509Svid};

/// The caller kills a workload that it no longer wants; this is only so that a forgotten one does not stay.
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let run = async {
        let (command, flags) = args.split_first().context("usage: watch|jwt|serve|call FLAGS")?;
        let flags = Flags(flags.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect());
        match command.as_str() {
            "watch" => watch(&flags).await,
            "jwt" => jwt(&flags).await,
            "serve" => mtls::serve(&flags).await,
            "call" => mtls::call(&flags).await,
            _ => bail!("usage: watch|jwt|serve|call FLAGS"),
        }
    };
    let outcome = tokio::time::timeout(LIMIT, run).await.context("it takes too long").flatten();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            event("error", json!({ "error": format!("{error:#}") }));
            ExitCode::FAILURE
        }
    }
}

struct Flags(BTreeMap<String, String>);

impl Flags {
    fn text(&self, name: &str) -> Result<&str> {
        Ok(self.0.get(name).with_context(|| format!("no {name}"))?)
    }

    fn rotations(&self) -> Result<usize> {
        Ok(self.text("-rotations").unwrap_or("1").parse()?)
    }

    async fn source(&self) -> Result<X509Source> {
        Ok(X509Source::builder().endpoint(self.text("-socket")?).build().await?)
    }
}

async fn watch(flags: &Flags) -> Result<()> {
    let source = flags.source().await?;
    let mut updates = source.updated();
    let mut serials = BTreeSet::new();
    loop {
        let svid = source.svid()?;
        // What the agent hands out must hold against the bundle that it hands out.
        let [leaf, between @ ..] = &*mtls::chain(&svid) else { bail!("an empty chain") };
        mtls::verify(&source, leaf, between)?;
        let serial = serial(&svid)?;
        if serials.insert(serial.clone()) {
            event("svid", json!({ "id": svid.spiffe_id().to_string(), "serial": serial }));
        }
        if serials.len() > flags.rotations()? {
            return Ok(());
        }
        updates.changed().await?;
    }
}

async fn jwt(flags: &Flags) -> Result<()> {
    let (socket, audience) = (flags.text("-socket")?, flags.text("-audience")?);
    let client = WorkloadApiClient::connect_to(socket).await?;
    let svid = client.fetch_jwt_svid([audience], None).await?;
    let bundles = client.fetch_jwt_bundles().await?;
    let parsed = JwtSvid::parse_and_validate(svid.token(), &bundles, &[audience])?;
    let validated = client.validate_jwt_token(audience, svid.token()).await?;
    let (id, validated) = (parsed.spiffe_id().to_string(), validated.spiffe_id().to_string());
    event("jwt", json!({ "id": id, "validated": validated, "audience": parsed.audience() }));
    refused("audience", &client, &bundles, svid.token(), &format!("another-{audience}")).await;
    refused("trust_domain", &client, &bundles, flags.text("-foreign")?, audience).await;
    refused("expired", &client, &bundles, flags.text("-expired")?, audience).await;
    Ok(())
}

/// Says why a token is not accepted, by the library and by the agent; an empty text where it is.
async fn refused(why: &str, client: &WorkloadApiClient, bundles: &JwtBundleSet, token: &str, audience: &str) {
    let library = JwtSvid::parse_and_validate(token, bundles, &[audience]);
    let agent = client.validate_jwt_token(audience, token).await;
    let library = library.err().map_or(String::new(), |error| format!("{:#}", anyhow::Error::new(error)));
    let agent = agent.err().map_or(String::new(), |error| format!("{:#}", anyhow::Error::new(error)));
    event("refused", json!({ "why": why, "library": library, "agent": agent }));
}

/// The serial number of an SVID.
fn serial(svid: &X509Svid) -> Result<String> {
    serial_of(mtls::chain(svid).first().context("an empty chain")?)
}

fn serial_of(certificate: &CertificateDer<'_>) -> Result<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)?;
    Ok(parsed.tbs_certificate.serial.to_string())
}

/// Prints a name and its values.
fn event(name: &str, mut values: Value) {
    values["event"] = name.into();
    println!("{values}");
}

/// The X.509 authorities of a trust domain.
fn authorities(source: &X509Source, trust_domain: &spiffe::TrustDomain) -> Result<Vec<CertificateDer<'static>>> {
    let bundle = source.bundle_for_trust_domain(trust_domain)?.context("no bundle for the peer's trust domain")?;
    Ok(bundle.authorities().iter().map(|authority| CertificateDer::from(authority.as_bytes().to_vec())).collect())
}
