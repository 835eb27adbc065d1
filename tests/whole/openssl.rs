//! Certificates in the eyes of openssl, which is stricter than most and which nobody here has written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_pki::certificate::svid_subject;
use steeple_pki::{
    Issuer, KeyType, Kind, LocalSigner, Name, PrivateKey, Serial, Signer, Subject, Template, csr, issue, self_signed,
};
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{
    MintX509svidRequest, NewDownstreamX509caRequest, NewDownstreamX509caResponse,
};
use steeple_runtime::Clock;
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::{Certificate, X509Svid, verify_x509_svid};
use steeple_tests::{Agent, AgentByHand, Domain, Port, Scratch, cannot_run_here, case, say, until, within};
use steeple_transport::dial;
use tokio::process::Command;

use crate::hostile::callers::workload_svid;

const WEB: &str = "spiffe://example.org/web";
const KEYS: [KeyType; 4] = [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048, KeyType::Rsa4096];

#[test]
fn openssl_accepts_every_kind_of_certificate_below_every_kind_of_authority() -> Result<()> {
    with_openssl("certificates in the eyes of openssl", async |scratch| {
        let mut accepted = 0;
        let stranger = Domain::builder().name("other.test").start(scratch).await?;
        let foreign = write(scratch, "other.test.pem", &stranger.server.bundle_pem().await?)?;
        for authority in ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"] {
            let domain = Domain::builder().server_key("ca_key_type", authority).start(scratch).await?;
            let pem = domain.server.bundle_pem().await?;
            let bundle = write(scratch, &format!("{authority}.pem"), &pem)?;
            let context = |kind: &str| format!("{kind} below {authority}");
            let mut all = vec![("authority".to_owned(), pem)];
            for key in ["ec-p256", "ec-p384", "rsa-2048"] {
                let agent = agent(&domain, key).await?;
                domain.entry(&agent.id, "/web", &["-dns", "web.example.org"]).await?;
                all.push((format!("workload-{key}"), workload(&agent, key.parse()?).await?));
                all.push((format!("agent-{key}"), chain_of_agent(&agent)?));
            }
            for key in KEYS {
                all.push((format!("minted-{key:?}"), minted(&domain, key).await?));
            }
            for (kind, chain) in &all {
                let file = write(scratch, &format!("{authority}-{kind}.pem"), chain)?;
                for purpose in ["sslserver", "sslclient"] {
                    // An authority is nobody's server or client.
                    let purpose = if kind == "authority" { "any" } else { purpose };
                    let verified = verify(&bundle, &file, purpose).await?;
                    ensure!(verified.0, "{}: {}", context(kind), verified.1);
                }
                // And not what it must not.
                ensure!(!verify(&foreign, &file, "any").await?.0, "{} below another's", context(kind));
                accepted += 1;
            }
            let (shown, text) = server(&domain, &bundle).await?;
            ensure!(shown, "{}: {text}", context("the server"));
            ensure!(!server(&domain, &foreign).await?.0, "the server below another's authority");
            accepted += 1;
        }
        say(&format!("openssl: {accepted} of {accepted} kinds of certificates accepted, and refused below another's"));
        Ok(())
    })
}

#[test]
fn openssl_accepts_svids_below_an_intermediate_of_an_upstream_root_and_misses_the_intermediate() -> Result<()> {
    with_openssl("chains in the eyes of openssl", async |scratch| {
        let signer = |key| anyhow::Ok(LocalSigner(Arc::new(PrivateKey::generate(key)?)));
        let roots = KEYS.map(signer).into_iter().collect::<Result<Vec<_>>>()?;
        let lower = KEYS.map(signer).into_iter().collect::<Result<Vec<_>>>()?;
        let foreign = self_signed(&template("another root", Kind::Ca)?, &roots[0]).await?;
        let foreign = write(scratch, "foreign.pem", &foreign.to_pem())?;
        let mut accepted = 0;
        for (root_key, intermediate_key) in roots.iter().flat_map(|root| lower.iter().map(move |key| (root, key))) {
            let root = self_signed(&template("root", Kind::Ca)?, root_key).await?;
            let issuer = Issuer::new(&root, root_key);
            let intermediate =
                issue(&template("intermediate", Kind::Ca)?, intermediate_key.public_key(), &issuer).await?;
            let issuer = Issuer::new(&intermediate, intermediate_key);
            let bundle = write(scratch, "root.pem", &root.to_pem())?;
            for key in &lower {
                let leaf = issue(&template("SVID", Kind::Svid)?, key.public_key(), &issuer).await?;
                let alone = write(scratch, "alone.pem", &leaf.to_pem())?;
                let chain = write(scratch, "chain.pem", &pem(&[leaf, intermediate.clone()]))?;
                let kinds = [key, intermediate_key, root_key].map(|signer| signer.0.key_type());
                for purpose in ["sslserver", "sslclient"] {
                    let (good, text) = verify(&bundle, &chain, purpose).await?;
                    ensure!(good, "{kinds:?}: {text}");
                }
                ensure!(!verify(&bundle, &alone, "any").await?.0, "{kinds:?}: nothing between SVID and root");
                ensure!(!verify(&foreign, &chain, "any").await?.0, "{kinds:?}: below another root");
                accepted += 1;
            }
        }
        say(&format!("openssl: {accepted} of {accepted} chains with an intermediate accepted, and refused without it"));
        Ok(())
    })
}

#[test]
fn openssl_accepts_svids_of_a_server_below_a_server_with_the_bundle_of_the_upper_one() -> Result<()> {
    with_openssl("an authority below a server's", async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let stranger = Domain::builder().start(scratch).await?;
        let bundle = write(scratch, "bundle.pem", &domain.server.bundle_pem().await?)?;
        let foreign = write(scratch, "foreign.pem", &stranger.server.bundle_pem().await?)?;
        domain.entry(&domain.id("/node"), "/lower", &["-downstream"]).await?;
        let port = Port::of(&domain).await?;
        let mut upper = SvidClient::new(port.channel(Some(workload_svid(&domain, "/lower").await?))?);
        let trust_domain = SpiffeId::parse(&domain.id(""))?;
        let mut accepted = 0;
        for kind in KEYS {
            let key = PrivateKey::generate(kind)?;
            let csr = AgentByHand::request(&key, Some(&trust_domain))?;
            // Until the server knows the entry.
            let signed = until("an authority of the lower server", async || {
                let request = NewDownstreamX509caRequest { csr: csr.clone(), preferred_ttl: 0 };
                upper.new_downstream_x509ca(request).await.ok()
            });
            let NewDownstreamX509caResponse { ca_cert_chain, x509_authorities } = signed.await?.into_inner();
            ensure!(pem(&certificates(&x509_authorities)?) == domain.server.bundle_pem().await?, "another bundle");
            let (chain, signer) = (certificates(&ca_cert_chain)?, LocalSigner(Arc::new(key)));
            let issuer = Issuer::new(chain.first().context("no authority")?, &signer);
            for svid in KEYS {
                let (template, svid_key) = (template("SVID", Kind::Svid)?, PrivateKey::generate(svid)?);
                let leaf = issue(&template, svid_key.public_key(), &issuer).await?;
                let with_all = [std::slice::from_ref(&leaf), &*chain].concat();
                verify_x509_svid(&with_all, &certificates(&x509_authorities)?, Clock::system().now())?;
                let alone = write(scratch, "alone.pem", &leaf.to_pem())?;
                let whole = write(scratch, "whole.pem", &pem(&with_all))?;
                for purpose in ["sslserver", "sslclient"] {
                    let (good, text) = verify(&bundle, &whole, purpose).await?;
                    ensure!(good, "{svid:?} below {kind:?}: {text}");
                }
                ensure!(!verify(&bundle, &alone, "any").await?.0, "{svid:?} below {kind:?}: nothing between");
                ensure!(!verify(&foreign, &whole, "any").await?.0, "{svid:?} below {kind:?}: below another root");
                accepted += 1;
            }
        }
        say(&format!("openssl: {accepted} of {accepted} SVIDs below an authority that a server has signed accepted"));
        Ok(())
    })
}

fn certificates(ders: &[Vec<u8>]) -> Result<Vec<Certificate>> {
    Ok(ders.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?)
}

/// What an authority or an SVID says that is good for an hour.
fn template(name: &str, kind: Kind) -> Result<Template> {
    let serial = Serial::random()?;
    let subject = Subject { common_name: name.to_owned(), ..svid_subject() };
    let id = match kind {
        Kind::Ca => "spiffe://example.org",
        Kind::Svid => WEB,
    };
    let (now, hour) = (Clock::system().now(), Duration::from_secs(3600));
    Ok(Template {
        serial,
        subject: Name::try_from(&subject)?,
        uri_san: Some(SpiffeId::parse(id)?),
        dns_sans: Vec::new(),
        not_before: now - Duration::from_secs(10),
        not_after: now + hour,
        kind,
        policies: Vec::new(),
        extra_extensions: Vec::new(),
    })
}

/// Runs a case if this machine can.
fn with_openssl(name: &str, body: impl AsyncFnOnce(&Scratch) -> Result<()>) -> Result<()> {
    if std::process::Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        return cannot_run_here(name, "there is no `openssl`");
    }
    case(body)
}

/// An agent that makes keys of this type for its workloads.
async fn agent(domain: &Domain, key: &str) -> Result<Agent> {
    let mut agent = domain.new_agent(&format!("node-{key}")).await?;
    let line = format!("agent {{\n    workload_x509_svid_key_type = \"{key}\"");
    agent.reconfigure(|conf| conf.replacen("agent {", &line, 1))?;
    domain.attest(&mut agent).await?;
    Ok(agent)
}

/// The chain of a workload, whose key is of this type.
async fn workload(agent: &Agent, key: KeyType) -> Result<String> {
    let update = agent.workload().follow().until_id(WEB).await?;
    let svid = X509Svid::parse(&update.svids[0].x509_svid, &update.svids[0].x509_svid_key)?;
    let made = KeyType::of(svid.chain[0].public_key()?.kind());
    ensure!(made == Some(key), "a workload key of {made:?} in place of {key:?}");
    Ok(pem(&svid.chain))
}

/// What the agent keeps of itself.
fn chain_of_agent(agent: &Agent) -> Result<String> {
    use base64::Engine;
    let data: Value = serde_json::from_slice(&fs::read(agent.data_dir.join("agent-data.json"))?)?;
    let text = data["svid"].as_array().and_then(|chain| chain[0].as_str()).context("no SVID in the agent's data")?;
    // Its PEM, in base64 once more.
    Ok(String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text)?)?)
}

async fn minted(domain: &Domain, key: KeyType) -> Result<String> {
    let key = PrivateKey::generate(key)?;
    let id = SpiffeId::parse("spiffe://example.org/minted")?;
    let csr = csr::build(&Name::try_from(&svid_subject())?, Some(&id), &["minted.example.org".to_owned()], &key)?;
    let mut client = SvidClient::new(dial::local(&domain.server.socket));
    let request = MintX509svidRequest { csr, ttl: 0 };
    let svid = within("a minted SVID", client.mint_x509svid(request)).await??.into_inner().svid.context("no SVID")?;
    Ok(pem(&certificates(&svid.cert_chain)?))
}

/// Whether openssl accepts the first certificate of `chain`, and what it says.
async fn verify(bundle: &Path, chain: &Path, purpose: &str) -> Result<(bool, String)> {
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-purpose", purpose, "-CAfile"]).arg(bundle);
    let output = openssl.arg("-untrusted").arg(chain).arg(chain).output().await?;
    Ok((output.status.success(), said(&output.stdout, &output.stderr)))
}

/// Whether openssl accepts what the server shows to whoever connects.
async fn server(domain: &Domain, bundle: &Path) -> Result<(bool, String)> {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &format!("127.0.0.1:{}", domain.server.port), "-alpn", "h2", "-x509_strict"]);
    openssl.args(["-verify_return_error", "-no-CApath", "-no-CAstore", "-CAfile"]).arg(bundle);
    let output = within("openssl", openssl.stdin(Stdio::null()).output()).await??;
    let text = said(&output.stdout, &output.stderr);
    Ok((output.status.success() && text.contains("Verify return code: 0 (ok)"), text))
}

fn said(out: &[u8], err: &[u8]) -> String {
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn pem(chain: &[Certificate]) -> String {
    chain.iter().map(Certificate::to_pem).collect()
}

fn write(scratch: &Scratch, name: &str, text: &str) -> Result<PathBuf> {
    let path = scratch.path().join(name);
    fs::write(&path, text)?;
    Ok(path)
}
