//! `x509 mint`

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use serde_json::Value;
use steeple_config::duration::Duration;
use steeple_config::flags::FlagSet;
use steeple_console::json::bytes;
use steeple_pki::{KeyType, Name, PrivateKey, Subject, csr};
use steeple_proto::spire::api::server::bundle::v1::GetBundleRequest;
use steeple_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use steeple_proto::spire::api::server::svid::v1::MintX509svidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::types;
use steeple_runtime::os::files::replace_private;
use steeple_spiffe::SpiffeId;
use steeple_spiffe::x509::{Certificate, parse_chain_der, to_pem};

use super::client::{Server, ServerFlags};
use super::mint::{self, told};
use super::output::{Format, Output};
use super::{console, usage};

/// Makes an X509-SVID without an entry, with a key that is made here.
pub(crate) async fn mint(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let (mut spiffe_id, mut ttl) = (String::new(), Duration::ZERO);
    let (mut dns_names, mut directory) = (Vec::<String>::new(), String::new());
    let flags = FlagSet::new("x509 mint")
        .flag("output", &mut output, Output::HELP)
        .flag("spiffeID", &mut spiffe_id, "The SPIFFE ID of the SVID")
        .flag("ttl", &mut ttl, "How long it lives; 0: the server's default")
        .flag("dns", &mut dns_names, "A DNS `name` in it; repeatable")
        .flag("write", &mut directory, "The `directory` to write it to, as svid.pem, key.pem and bundle.pem");
    usage::parse(server.add_to(flags), args)?;

    ensure!(!spiffe_id.is_empty(), "spiffeID must be specified");
    let spiffe_id = SpiffeId::parse(&spiffe_id)?;
    let seconds = mint::seconds(ttl)?;
    let server = server.server()?;
    let key = PrivateKey::generate(KeyType::EcP256).context("unable to generate key")?;
    // The server gives it one.
    let no_subject = Name::try_from(&Subject::default())?;
    let csr = csr::build(&no_subject, Some(&spiffe_id), &dns_names, &key).context("unable to generate CSR")?;
    let svid = minted(&server, MintX509svidRequest { csr, ttl: seconds }).await?;
    let roots = roots(&server).await?;

    mint::warn_if_cut("X509-SVID", ttl, svid.expires_at);
    let minted = Minted { chain: svid.cert_chain, key, roots };
    match (directory.as_str(), output.format()) {
        ("", Format::Json) => minted.print_json(),
        ("", Format::Pretty) => minted.print(),
        // Whoever has files written is told where, whatever -output says.
        (directory, _) => minted.write(Path::new(directory)),
    }
}

async fn minted(server: &Server, request: MintX509svidRequest) -> anyhow::Result<types::X509svid> {
    let response = SvidClient::new(server.channel()).mint_x509svid(request).await;
    let response = response.map_err(|status| anyhow!("unable to mint SVID: {}", server.failed(&status)))?;
    response.into_inner().svid.context("server response missing SVID")
}

/// The certificates that verify it.
async fn roots(server: &Server) -> anyhow::Result<Vec<Vec<u8>>> {
    let bundle = BundleClient::new(server.channel()).get_bundle(GetBundleRequest::default()).await;
    let bundle = bundle.map_err(|status| anyhow!("unable to get bundle: {}", server.failed(&status)))?.into_inner();
    Ok(bundle.x509_authorities.into_iter().map(|authority| authority.asn1).collect())
}

/// An SVID with its key, and what verifies it; certificates in DER.
struct Minted {
    chain: Vec<Vec<u8>>,
    key: PrivateKey,
    roots: Vec<Vec<u8>>,
}

impl Minted {
    fn print(&self) -> anyhow::Result<()> {
        let (chain, roots) = (pem(&self.chain)?, pem(&self.roots)?);
        console::out(&format!("X509-SVID:\n{chain}\nPrivate key:\n"));
        console::out(&self.key.to_pkcs8_pem()?);
        console::out(&format!("\nRoot CAs:\n{roots}\n"));
        Ok(())
    }

    /// Members stand in the reference's order here, which is not that of the alphabet.
    fn print_json(&self) -> anyhow::Result<()> {
        let certificates = |all: &[Vec<u8>]| -> Value { all.iter().map(|der| bytes(der)).collect() };
        let (chain, key, roots) =
            (certificates(&self.chain), bytes(&self.key.to_pkcs8_der()?), certificates(&self.roots));
        console::out(&format!("{{\"x509_svid\":{chain},\"private_key\":{key},\"root_cas\":{roots}}}\n"));
        Ok(())
    }

    /// The key's file is replaced whole and is its owner's alone, whatever stood there before.
    fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join("svid.pem");
        told("X509-SVID", "SVID", &path, fs::write(&path, pem(&self.chain)?))?;
        let path = directory.join("key.pem");
        told("Private key", "key", &path, replace_private(&path, self.key.to_pkcs8_pem()?.as_bytes()))?;
        let path = directory.join("bundle.pem");
        told("Root CAs", "bundle", &path, fs::write(&path, pem(&self.roots)?))
    }
}

fn pem(ders: &[Vec<u8>]) -> anyhow::Result<String> {
    let mut certificates: Vec<Certificate> = Vec::new();
    for der in ders {
        certificates.extend(parse_chain_der(der).context("unable to parse certificate")?);
    }
    Ok(to_pem(&certificates))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_its_owners_alone_whatever_stood_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let pem = key.to_pkcs8_pem().unwrap();
        Minted { chain: Vec::new(), key, roots: Vec::new() }.write(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), *pem);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
