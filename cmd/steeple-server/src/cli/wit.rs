//! `wit mint`, which is there when `SPIRE_SERVER_FFLAGS` says so, as in the reference.

use std::env;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use steeple_config::duration::Duration;
use steeple_config::flags::FlagSet;
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::svid::v1::MintWitsvidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::types;
use steeple_runtime::os::files::replace_private;

use super::client::ServerFlags;
use super::mint::{self, told};
use super::output::{Format, Output};
use super::{console, id, usage};

/// Whether the variable names the feature.
pub(crate) fn is_on() -> bool {
    env::var("SPIRE_SERVER_FFLAGS").is_ok_and(|flags| flags.split(' ').any(|flag| flag == "wit-svid"))
}

/// Makes a WIT-SVID without an entry, for a key that is made here.
pub(crate) async fn mint(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut spiffe_id, mut ttl, mut directory) = (String::new(), Duration::ZERO, String::new());
    let (mut key_type, mut algorithm) = ("ec-p256".to_owned(), "ES256".to_owned());
    let flags = FlagSet::new("wit mint")
        .flag("output", &mut output, Output::HELP)
        .flag("spiffeID", &mut spiffe_id, "The SPIFFE ID of the SVID")
        .flag("keyType", &mut key_type, "The type of the key")
        .flag("signingAlgorithm", &mut algorithm, "What the key will sign with")
        .flag("ttl", &mut ttl, "How long it lives; 0: the server's default")
        .flag("write", &mut directory, "The `directory` to write it to, as token and key");
    usage::parse(server.add_to(flags), args)?;

    ensure!(!spiffe_id.is_empty(), "spiffeID must be specified");
    let id = id::parse("-spiffeID", &spiffe_id)?;
    let key = PrivateKey::generate(fitting(&key_type, &algorithm)?).context("unable to generate key")?;
    let request = MintWitsvidRequest {
        id: Some(id),
        public_key: key.public_key().spki_der().to_vec(),
        ttl: mint::seconds(ttl)?,
        signing_algorithm: algorithm,
    };
    let server = server.server()?;
    let response = SvidClient::new(server.channel()).mint_witsvid(request).await;
    let response = response.map_err(|status| anyhow!("unable to mint SVID: {}", server.failed(&status)))?.into_inner();
    let svid = response.svid.context("server response missing SVID")?;

    mint::warn_if_cut("WIT-SVID", ttl, svid.expires_at);
    let key = key.to_jwk()?;
    match (directory.as_str(), output.format()) {
        ("", Format::Json) => console::out(&format!("{}\n", serde_json::to_string(&Minted::new(&key, &svid))?)),
        ("", Format::Pretty) => console::out(&format!("{}\n{}\n", svid.token, *key)),
        (directory, _) => {
            let path = Path::new(directory).join("token");
            told("WIT-SVID", "token", &path, replace_private(&path, svid.token.as_bytes()))?;
            let path = Path::new(directory).join("key");
            told("Private key", "key", &path, replace_private(&path, key.as_bytes()))?;
        }
    }
    Ok(())
}

/// The type of this name, if such keys sign with the algorithm.
fn fitting(key_type: &str, algorithm: &str) -> anyhow::Result<KeyType> {
    match (algorithm, key_type) {
        ("RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512", "rsa-2048") => Ok(KeyType::Rsa2048),
        ("RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512", "rsa-4096") => Ok(KeyType::Rsa4096),
        ("ES256", "ec-p256") => Ok(KeyType::EcP256),
        ("ES384", "ec-p384") => Ok(KeyType::EcP384),
        ("ES256" | "ES384", other) => bail!("unsupported key type '{other}' for '{algorithm}' signing algorithm"),
        ("RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512", other) => {
            bail!("unsupported key type '{other}' for signing algorithm '{algorithm}'")
        }
        _ => bail!("unsupported signing algorithm: {algorithm}"),
    }
}

/// What is printed as JSON: not that of the message, and in this order.
#[derive(Serialize)]
struct Minted<'a> {
    private_key: &'a str,
    svid: Svid<'a>,
}

#[derive(Serialize)]
struct Svid<'a> {
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id<'a>>,
    expires_at: i64,
    issued_at: i64,
}

#[derive(Serialize)]
struct Id<'a> {
    trust_domain: &'a str,
    path: &'a str,
}

impl<'a> Minted<'a> {
    fn new(private_key: &'a str, svid: &'a types::Witsvid) -> Self {
        // The server gives no hint.
        let types::Witsvid { token, id, expires_at, issued_at, hint: _ } = svid;
        let id = id.as_ref().map(|types::Spiffeid { trust_domain, path }| Id { trust_domain, path });
        Self { private_key, svid: Svid { token, id, expires_at: *expires_at, issued_at: *issued_at } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_with_the_algorithms_of_its_kind() {
        let refused = |key_type, algorithm| fitting(key_type, algorithm).unwrap_err().to_string();
        assert_eq!(fitting("ec-p384", "ES384").unwrap(), KeyType::EcP384);
        for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
            assert_eq!(fitting("rsa-4096", algorithm).unwrap(), KeyType::Rsa4096);
        }
        assert_eq!(refused("ec-p256", "ES384"), "unsupported key type 'ec-p256' for 'ES384' signing algorithm");
        assert_eq!(refused("EC-P256", "PS512"), "unsupported key type 'EC-P256' for signing algorithm 'PS512'");
        assert_eq!(refused("ec-p521", "ES512"), "unsupported signing algorithm: ES512");
    }
}
