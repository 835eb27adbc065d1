//! `experimental.require_pq_kem`, on both sides.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use steeple_tests::{Domain, Installation, Port, case, skipped_on_the_reference};
use steeple_transport::tls::provider;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, ClientConfig, Error, NamedGroup, RootCertStore};

#[test]
fn who_requires_post_quantum_key_exchange_is_served_with_it_and_refuses_a_client_without() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        if domain.server.program.is_reference {
            skipped_on_the_reference("key exchange of the API's port", "it takes any there");
            return Ok(());
        }
        let error = with_x25519_alone(&domain).await?;
        ensure!(matches!(error, Error::InvalidCertificate(_)), "without the key: {error:?}");

        domain.server.stop().await?;
        require(&domain.server)?;
        domain.server.start().await?;
        let mut agent = domain.new_agent("node1").await?;
        require(&agent)?;
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        agent.workload().follow().until_id(&domain.id("/web")).await?;
        let error = with_x25519_alone(&domain).await?;
        ensure!(error == Error::AlertReceived(AlertDescription::HandshakeFailure), "with the key: {error:?}");
        Ok(())
    })
}

fn require(daemon: &Installation) -> Result<()> {
    let (block, key) = ("experimental {\n", "require_pq_kem = true\n");
    daemon.reconfigure(|conf| conf.replacen(block, &format!("{block}{key}"), 1)).map(drop)
}

/// How the handshake of a client ends that offers this key exchange alone and believes no certificate. It comes as far as
/// that only if the server takes the key exchange.
async fn with_x25519_alone(domain: &Domain) -> Result<Error> {
    let mut offered = CryptoProvider::clone(&provider());
    offered.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let config = ClientConfig::builder_with_provider(Arc::new(offered)).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let stream = Port::of(domain).await?.dial(Ipv4Addr::LOCALHOST).await?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("server")?, stream).await;
    let error = shaken.err().context("a client that believes nobody is connected")?;
    let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>()).cloned();
    error.context("the connection broke")
}
