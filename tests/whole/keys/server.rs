//! Those of the server.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use steeple_pki::{KeyType, PrivateKey};
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{MintWitsvidRequest, MintX509svidRequest};
use steeple_proto::spire::api::types::Spiffeid;
use steeple_spiffe::x509::{Certificate, parse_pem};
use steeple_tests::{AgentByHand, Domain, Port, case, until};
use steeple_transport::dial;
use steeple_transport::tls::provider;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::{is_logged_with_places, lifetime, log_with_places, tell_health_elsewhere, tells_health_elsewhere};

const MINUTE: Duration = Duration::from_secs(60);

const SIGNING: &str = r#"
    ca_key_type = "ec-p384"
    ca_ttl = "6h"
    ca_subject {
        country = ["NL"]
        organization = ["Windmill"]
        common_name = "mill"
    }
    agent_ttl = "11m"
    default_x509_svid_ttl = "7m"
    default_jwt_svid_ttl = "3m"
    jwt_issuer = "https://jwt.example.org"
    jwt_key_type = "rsa-2048"
    experimental {
        feature_flags = ["wit-svid"]
        wit_issuer = "https://wit.example.org"
        wit_key_type = "ec-p256"
        agent_spiffe_id_as_selector = true
    }
"#;

#[test]
fn what_a_server_signs_is_as_its_keys_say() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().server_text(SIGNING).start(scratch).await?;
        let authority = parse_pem(&domain.server.bundle_pem().await?)?.pop().context("no authority")?;
        ensure!(KeyType::of(authority.public_key()?.kind()) == Some(KeyType::EcP384));
        ensure!(lifetime(&authority)? == 6 * 60 * MINUTE, "{:?}", lifetime(&authority));
        let subject = authority.subject();
        ensure!(subject.countries == ["NL"] && subject.organizations == ["Windmill"], "{subject:?}");
        ensure!(subject.common_name == "mill", "{subject:?}");

        let mut client = SvidClient::new(dial::local(&domain.server.socket));
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let csr = AgentByHand::request(&key, Some(&domain.id("/web").parse()?))?;
        let svid = client.mint_x509svid(MintX509svidRequest { csr, ttl: 0 }).await?.into_inner().svid;
        let svid = Certificate::from_der(svid.context("no SVID")?.cert_chain.first().context("no leaf")?)?;
        ensure!(lifetime(&svid)? == 7 * MINUTE, "{:?}", lifetime(&svid));

        let mint = ["jwt", "mint", "-spiffeID", &domain.id("/web"), "-audience", "db"];
        let token = domain.server.command(&mint).await?.ok()?;
        let (header, claims) = (part(&token, 0)?, part(&token, 1)?);
        ensure!(header["alg"] == "RS256" && claims["iss"] == "https://jwt.example.org", "{header} {claims}");
        ensure!(seconds(&claims)? == 180, "{claims}");

        let request = MintWitsvidRequest {
            id: Some(Spiffeid { trust_domain: "example.org".to_owned(), path: "/web".to_owned() }),
            public_key: key.public_key().spki_der().to_vec(),
            ttl: 0,
            signing_algorithm: "ES256".to_owned(),
        };
        let token = client.mint_witsvid(request).await?.into_inner().svid.context("no WIT-SVID")?.token;
        let (header, claims) = (part(&token, 0)?, part(&token, 1)?);
        ensure!(header["alg"] == "ES256" && claims["iss"] == "https://wit.example.org", "{header} {claims}");

        let agent = AgentByHand::attest(&domain, &Port::of(&domain).await?).await?;
        ensure!(lifetime(&agent.chain[0])? == 11 * MINUTE, "{:?}", lifetime(&agent.chain[0]));
        let agents = domain.server.agents().await?;
        let selectors = agents[0]["selectors"].to_string();
        ensure!(selectors.contains("spiffe_id") && selectors.contains(agent.id.as_str()), "{selectors}");
        Ok(())
    })
}

/// A part of a token.
fn part(token: &str, index: usize) -> Result<Value> {
    let part = token.trim().split('.').nth(index).context("a part is missing")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}

/// For how long a token is good.
fn seconds(claims: &Value) -> Result<i64> {
    let at = |name: &str| claims[name].as_i64().with_context(|| format!("no {name}"));
    Ok(at("exp")? - at("iat")?)
}

#[test]
fn a_server_listens_logs_and_tells_its_health_where_its_keys_say() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        log_with_places(&domain.server)?;
        domain
            .server
            .reconfigure(|conf| conf.replacen("bind_address = \"127.0.0.1\"", "bind_address = \"127.0.0.2\"", 1))?;
        let health = tell_health_elsewhere(&domain.server)?;
        let figures = domain.server.tell_measurements("")?;
        domain.server.reconfigure(|conf| conf.replacen("host = \"127.0.0.1\"", "host = \"127.0.0.3\"", 1))?;
        domain.server.start().await?;
        is_logged_with_places(&domain.server).await?;
        ensure!(!domain.server.written()?.contains("level"), "the log is where it should not be");
        tells_health_elsewhere(health).await?;
        for (port, host) in [(domain.server.port, 2), (figures, 3)] {
            let there = async |host| TcpStream::connect((Ipv4Addr::new(127, 0, 0, host), port)).await.ok();
            until("a listener where it should be", async || there(host).await).await?;
            ensure!(there(1).await.is_none(), "it listens elsewhere, too");
        }
        Ok(())
    })
}

#[test]
fn only_a_proxy_that_is_trusted_may_say_whose_a_connection_is() -> Result<()> {
    case(async |scratch| {
        let trusted = "proxy_protocol_trusted_cidrs = [\"127.0.0.1/32\"]";
        for (keys, is_trusted) in [(trusted, true), ("", false)] {
            let domain = Domain::builder().server_text(keys).start(scratch).await?;
            let mut stream = Port::of(&domain).await?.dial(Ipv4Addr::LOCALHOST).await?;
            stream.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 8081\r\n").await?;
            let shown = shows_a_certificate(stream).await?;
            ensure!(shown == is_trusted, "{keys:?}: a certificate is shown: {shown}");
        }
        Ok(())
    })
}

/// Whether the handshake of a client that believes nobody comes as far as the server's certificate.
async fn shows_a_certificate(stream: TcpStream) -> Result<bool> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let shaken = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("server")?, stream).await;
    let error = shaken.err().context("a client that believes nobody is connected")?;
    let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    Ok(matches!(error, Some(Error::InvalidCertificate(_))))
}
