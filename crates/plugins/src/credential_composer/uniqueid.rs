//! CredentialComposer "uniqueid": a digest of a workload's SPIFFE ID in the subject of its X.509-SVID, for whoever tells
//! subjects apart and no SPIFFE IDs.

use std::sync::Arc;

use async_trait::async_trait;
use steeple_catalog::credential_composer::{Holder, Plugin, X509SvidAttributes};
use steeple_catalog::{Configuration, PluginError};
use steeple_pki::{ExtraName, ObjectIdentifier, sha256};
use steeple_spiffe::x509::hex;

/// x500UniqueIdentifier (RFC 4519, section 2.44).
const UNIQUE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.45");

/// The plugin; it takes no configuration.
///
/// # Errors
/// There is one.
pub fn build(configuration: &Configuration) -> Result<Arc<dyn Plugin>, PluginError> {
    configuration.none()?;
    Ok(Arc::new(UniqueId))
}

struct UniqueId;

#[async_trait]
impl Plugin for UniqueId {
    async fn compose_x509_svid(
        &self,
        holder: Holder<'_>,
        mut attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, PluginError> {
        if let Holder::Workload(id, _) = holder {
            let value = hex(&sha256(id.as_str().as_bytes())[..16]);
            let extra = &mut attributes.subject.extra;
            match extra.iter_mut().find(|name| name.oid == UNIQUE_ID) {
                Some(name) => name.value = value,
                None => extra.push(ExtraName { oid: UNIQUE_ID, value }),
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use steeple_pki::{KeyType, PrivateKey, Subject};
    use steeple_spiffe::SpiffeId;

    use super::*;

    /// What SPIRE has minted with this plugin.
    const RECORDED: &str = include_str!("../../../pki/tests/data/artifacts/subject/uniqueid-minted.pem");

    async fn composed(holder: Holder<'_>, subject: Subject) -> Subject {
        let attributes = X509SvidAttributes { subject, ..X509SvidAttributes::default() };
        UniqueId.compose_x509_svid(holder, attributes).await.unwrap().subject
    }

    fn without_id(subject: &Subject) -> Subject {
        Subject { extra: Vec::new(), ..subject.clone() }
    }

    #[tokio::test]
    async fn a_workload_has_the_id_that_the_reference_gives_it_and_has_it_once() {
        let minted = &steeple_spiffe::x509::parse_pem(RECORDED).unwrap()[0];
        let (id, recorded): (SpiffeId, _) = (minted.spiffe_id().unwrap(), minted.subject());
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let holder = Holder::Workload(&id, key.public_key());
        let once = composed(holder, without_id(&recorded)).await;
        assert_eq!(once, recorded);
        assert_eq!(composed(holder, once).await, recorded);
    }

    #[tokio::test]
    async fn agents_and_the_server_have_none() {
        let id = SpiffeId::parse("spiffe://example.org/spire/agent/x").unwrap();
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        for holder in [Holder::Agent(&id, key.public_key()), Holder::Server] {
            assert_eq!(composed(holder, Subject::default()).await, Subject::default());
        }
    }
}
