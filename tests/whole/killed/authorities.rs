//! What must be true of a server's authorities after any kill: the ones that sign have their keys, stand in the bundle
//! and in the journal, and there is one of each kind.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::Value;
use steeple_datastore::{DataStore, Options};
use steeple_pki::{KeyType, Name, PrivateKey, certificate, csr};
use steeple_proto::journal::{Entries, Status};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{MintJwtsvidRequest, MintX509svidRequest};
use steeple_proto::spire::api::types;
use steeple_runtime::Clock;
use steeple_spiffe::bundle::{JwtAuthority, X509Authority};
use steeple_spiffe::x509::hex;
use steeple_spiffe::{Bundle, BundleSet, Certificate, PublicKey, SpiffeId, TrustDomain, jwt, verify_x509_svid_in};
use steeple_tests::Server;
use steeple_transport::dial;

const AUDIENCE: &str = "killed";

/// What a server has issued, and what it is verified with later.
pub(super) struct Issued {
    chain: Vec<Certificate>,
    token: String,
    /// When it was issued, by the server's clock.
    at: SystemTime,
}

/// A server's authorities as they were found.
pub(super) struct Authorities {
    bundle: Bundle,
    /// Key ID of the X.509 authority that signs.
    pub(super) x509: String,
    /// Key ID of the JWT authority that signs.
    pub(super) jwt: String,
    /// What has just been issued.
    pub(super) issued: Issued,
}

impl Authorities {
    /// Asks a server whose clock is so far ahead, and looks into its files.
    ///
    /// # Errors
    /// Something does not hold.
    pub(super) async fn of(server: &Server, ahead: Duration) -> Result<Self> {
        let now = Clock::system().now() + ahead;
        let bundle = bundle(server).await?;
        let issued = issue(server, now).await?;
        let mut found = Self { bundle, x509: String::new(), jwt: String::new(), issued };
        found.verify(&found.issued, ahead).context("what the server issues now")?;

        let keys = keys(server)?;
        let signs = |id: &str, public_key: &[u8]| {
            let kind = |key_id: &str| key_id.starts_with(id);
            keys.iter().any(|(key_id, key)| kind(key_id) && key == public_key)
        };
        let leaf = found.issued.chain.first().context("no certificate")?;
        let journal = journal(server, &keys).await?;

        let mut active = Vec::new();
        for entry in &journal.x509_c_as {
            let certificate = Certificate::from_der(&entry.certificate)?;
            let id = hex(certificate.subject_key_id().context("an authority without a key ID")?);
            if entry.status() == Status::Old {
                continue;
            }
            ensure!(signs("x509-CA-", certificate.spki_der()), "X.509 authority {id} has lost its key");
            let published = found.bundle.x509_certificates().any(|root| *root == certificate);
            ensure!(published, "X.509 authority {id} is not in the bundle");
            if entry.status() == Status::Active {
                ensure!(leaf.authority_key_id() == certificate.subject_key_id(), "another one than {id} signs");
                active.push(id);
            }
        }
        ensure!(active.len() == 1, "active X.509 authorities: {active:?}");
        found.x509 = active.remove(0);

        let key_id = jwt::JwtSvid::parse_unverified(&found.issued.token)?.key_id;
        for entry in journal.jwt_keys.iter().filter(|entry| entry.status() != Status::Old) {
            let id = &entry.kid;
            ensure!(signs("JWT-Signer-", &entry.public_key), "JWT authority {id} has lost its key");
            ensure!(found.bundle.jwt_authority(id).is_some(), "JWT authority {id} is not in the bundle");
            if entry.status() == Status::Active {
                ensure!(key_id == *id, "another one than {id} signs");
                active.push(id.clone());
            }
        }
        ensure!(active.len() == 1, "active JWT authorities: {active:?}");
        found.jwt = active.remove(0);
        Ok(found)
    }

    /// What a server issued before must hold as long as it said, by the same clock.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn verify(&self, issued: &Issued, ahead: Duration) -> Result<()> {
        let Issued { chain, token, at } = issued;
        let now = (Clock::system().now() + ahead).max(*at);
        let mut bundles = BundleSet::new();
        bundles.insert(self.bundle.clone());
        verify_x509_svid_in(chain, &bundles, now).context("X.509-SVID")?;
        jwt::validate(token, &bundles, AUDIENCE, now).context("JWT-SVID")?;
        Ok(())
    }

    /// How many X.509 authorities the bundle has.
    pub(super) fn published(&self) -> usize {
        self.bundle.x509_authorities.len()
    }
}

async fn bundle(server: &Server) -> Result<Bundle> {
    let mut client = BundleClient::new(dial::local(&server.socket));
    let answer = client.get_bundle(GetBundleRequest { output_mask: None }).await?.into_inner();
    let types::Bundle { trust_domain, x509_authorities, jwt_authorities, .. } = answer;
    let mut bundle = Bundle::new(TrustDomain::parse(&trust_domain)?);
    for types::X509Certificate { asn1, tainted } in x509_authorities {
        bundle.x509_authorities.push(X509Authority { certificate: Certificate::from_der(&asn1)?, tainted });
    }
    for types::JwtKey { public_key, key_id, expires_at: _, tainted } in jwt_authorities {
        let public_key = PublicKey::from_spki_der(&public_key)?;
        bundle.jwt_authorities.push(JwtAuthority { key_id, public_key, expires_at: None, tainted });
    }
    Ok(bundle)
}

async fn issue(server: &Server, at: SystemTime) -> Result<Issued> {
    const TTL: i32 = 23 * 60 * 60;
    let mut client = SvidClient::new(dial::local(&server.socket));
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let id = SpiffeId::parse("spiffe://example.org/killed")?;
    let csr = csr::build(&Name::try_from(&certificate::svid_subject())?, Some(&id), &[], &key)?;
    let svid = client.mint_x509svid(MintX509svidRequest { csr, ttl: TTL }).await?.into_inner().svid;
    let chain = svid.context("no X.509-SVID")?.cert_chain;
    let chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    let id = types::Spiffeid { trust_domain: "example.org".to_owned(), path: "/killed".to_owned() };
    let request = MintJwtsvidRequest { id: Some(id), audience: vec![AUDIENCE.to_owned()], ttl: TTL };
    let token = client.mint_jwtsvid(request).await?.into_inner().svid.context("no JWT-SVID")?.token;
    Ok(Issued { chain, token, at })
}

/// Public keys by the ID of their key, from the file of the key manager.
fn keys(server: &Server) -> Result<BTreeMap<String, Vec<u8>>> {
    let file: Value = serde_json::from_slice(&fs::read(server.data_dir.join("keys.json"))?)?;
    let keys = file["keys"].as_object().context("no keys in the file of keys")?;
    let public = |(id, key): (&String, &Value)| {
        let der = STANDARD.decode(key.as_str().context("a key that is no text")?)?;
        Ok((id.clone(), PrivateKey::from_pkcs8_der(&der)?.public_key().spki_der().to_vec()))
    };
    keys.iter().map(public).collect()
}

/// The journal of the server that has one of these keys. There must be one, and one alone.
async fn journal(server: &Server, keys: &BTreeMap<String, Vec<u8>>) -> Result<Entries> {
    let options = Options::sqlite(server.data_dir.join("datastore.sqlite3"));
    let store = DataStore::open(options, Clock::system()).await?;
    let mut found = Vec::new();
    for key in keys.values() {
        let id = hex(&steeple_pki::ski(&PublicKey::from_spki_der(key)?));
        found.extend(store.fetch_ca_journal(&id).await?);
    }
    store.close().await;
    ensure!(found.len() == 1, "{} journals of this server", found.len());
    Ok(Entries::decode(found.remove(0).data.as_slice())?)
}
