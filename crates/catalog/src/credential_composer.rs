//! CredentialComposer: changes what certificates and tokens say before the server signs them.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use steeple_pki::{Extension, ObjectIdentifier, PublicKey, Subject};
use steeple_spiffe::SpiffeId;

use crate::PluginError;
use crate::in_use::InUse;

/// The plugin type's name in configuration files.
pub const TYPE: &str = "CredentialComposer";

/// What the certificate of an authority says beside what follows from its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X509CaAttributes {
    /// Its subject.
    pub subject: Subject,
    /// Its certificate policies.
    pub policy_identifiers: Vec<ObjectIdentifier>,
    /// More extensions. One of a type that the server writes itself takes its place.
    pub extra_extensions: Vec<Extension>,
}

/// What an X.509-SVID says beside its SPIFFE ID and what follows from its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X509SvidAttributes {
    /// Its subject.
    pub subject: Subject,
    /// Its DNS names.
    pub dns_sans: Vec<String>,
    /// More extensions. One of a type that the server writes itself takes its place.
    pub extra_extensions: Vec<Extension>,
}

/// Whom an X.509-SVID is for.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// The server itself.
    Server,
    /// An agent, with the key that it has asked for.
    Agent(&'a SpiffeId, &'a PublicKey),
    /// A workload, with the key that was asked for.
    Workload(&'a SpiffeId, &'a PublicKey),
}

/// What a credential composer does (`spire.plugin.server.credentialcomposer.v1`, whose three calls for X.509-SVIDs differ in
/// their [`Holder`] alone). What it does not concern itself with stays as it is.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// An X.509 authority: the server's own, or one below it.
    async fn compose_x509_ca(&self, attributes: X509CaAttributes) -> Result<X509CaAttributes, PluginError> {
        Ok(attributes)
    }

    /// An X.509-SVID.
    async fn compose_x509_svid(
        &self,
        _holder: Holder<'_>,
        attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, PluginError> {
        Ok(attributes)
    }

    /// The claims of a JWT-SVID.
    async fn compose_jwt_svid(
        &self,
        _id: &SpiffeId,
        claims: Map<String, Value>,
    ) -> Result<Map<String, Value>, PluginError> {
        Ok(claims)
    }
}

/// The host's side of a credential composer. Cheap to clone.
#[derive(Clone)]
pub struct CredentialComposer {
    name: Arc<str>,
    plugin: InUse<dyn Plugin>,
}

impl CredentialComposer {
    /// The host's side of this plugin.
    pub fn new(name: &str, plugin: Arc<dyn Plugin>) -> Self {
        Self::in_use(name, InUse::new(plugin))
    }

    pub(crate) fn in_use(name: &str, plugin: InUse<dyn Plugin>) -> Self {
        Self { name: name.into(), plugin }
    }

    /// An X.509 authority: the server's own, or one below it.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn compose_x509_ca(&self, attributes: X509CaAttributes) -> Result<X509CaAttributes, PluginError> {
        self.plugin.now().compose_x509_ca(attributes).await.map_err(|error| self.failed(error))
    }

    /// An X.509-SVID.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn compose_x509_svid(
        &self,
        holder: Holder<'_>,
        attributes: X509SvidAttributes,
    ) -> Result<X509SvidAttributes, PluginError> {
        self.plugin.now().compose_x509_svid(holder, attributes).await.map_err(|error| self.failed(error))
    }

    /// The claims of a JWT-SVID.
    ///
    /// # Errors
    /// The plugin's.
    pub async fn compose_jwt_svid(
        &self,
        id: &SpiffeId,
        claims: Map<String, Value>,
    ) -> Result<Map<String, Value>, PluginError> {
        self.plugin.now().compose_jwt_svid(id, claims).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: PluginError) -> PluginError {
        error.of(TYPE, &self.name)
    }
}

impl std::fmt::Debug for CredentialComposer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CredentialComposer({})", self.name)
    }
}
