//! Federation relationships: where the bundles of foreign trust domains are fetched.

use steeple_proto::spire::common::Bundle;
use steeple_runtime::metrics::measure;

use crate::connection::{Connection, Row};
use crate::listing::{Listing, Page};
use crate::sql::{Conditions, Sql};
use crate::store::DataStore;
use crate::writer::{Mutation, Tx};
use crate::{Error, bundles};

/// Where the bundle of a foreign trust domain is fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct FederationRelationship {
    /// The trust domain, its bare name: `example.org`.
    pub trust_domain: String,
    /// An `https` URL.
    pub bundle_endpoint_url: String,
    /// How the endpoint proves who it is.
    pub bundle_endpoint_profile: BundleEndpointProfile,
    /// The bundle of the trust domain that is stored. Given when creating or updating, it is stored.
    pub bundle: Option<Bundle>,
}

/// How a bundle endpoint proves who it is (SPIFFE Federation, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleEndpointProfile {
    /// By a certificate of the web's authorities.
    HttpsWeb,
    /// By an X509-SVID with this SPIFFE ID.
    HttpsSpiffe {
        /// `spiffe://td/path`.
        endpoint_spiffe_id: String,
    },
}

impl BundleEndpointProfile {
    /// The columns `bundle_endpoint_profile` and `endpoint_spiffe_id`.
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::HttpsWeb => ("https_web", ""),
            Self::HttpsSpiffe { endpoint_spiffe_id } => ("https_spiffe", endpoint_spiffe_id),
        }
    }
}

impl DataStore {
    /// The relationship with this trust domain (`example.org`), with its bundle.
    pub async fn fetch_federation_relationship(
        &self,
        trust_domain: &str,
    ) -> Result<Option<FederationRelationship>, Error> {
        measure("datastore.federation_relationship.fetch", async {
            let mut reader = self.pool().snapshot().await?;
            let found = by_trust_domain(&mut reader.db, trust_domain).await?;
            reader.done().await?;
            Ok(found)
        })
        .await
    }

    /// The relationships in order of creation, with their bundles.
    pub async fn list_federation_relationships(&self, page: &Page) -> Result<Listing<FederationRelationship>, Error> {
        measure("datastore.federation_relationship.list", async {
            let cursor = page.cursor(Error::PageToken)?;
            let mut conditions = Conditions::default();
            if let Some(after) = cursor.condition("id") {
                conditions.add(after);
            }
            let mut reader = self.pool().snapshot().await?;
            let sql = cursor.order(conditions.append_to(Sql::new(SELECT)), "id");
            let mut rows = reader.db.rows(sql, read).await?;
            for (_, relationship) in &mut rows {
                attach_bundle(&mut reader.db, relationship).await?;
            }
            reader.done().await?;
            Ok(cursor.listing(rows))
        })
        .await
    }
}

/// Stores a relationship, and its bundle if it has one. One with the same trust domain is refused
/// ([`Error::Constraint`]).
#[derive(Clone, Debug)]
pub struct CreateFederationRelationship(pub FederationRelationship);

/// Replaces fields of the relationship with the same trust domain.
#[derive(Clone, Debug)]
pub struct UpdateFederationRelationship {
    /// The trust domain, and the new values.
    pub relationship: FederationRelationship,
    /// Which fields to replace.
    pub mask: FederationRelationshipMask,
}

/// The fields of a [`FederationRelationship`] that can be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "one flag a field, under the field's name")]
pub struct FederationRelationshipMask {
    pub bundle_endpoint_url: bool,
    pub bundle_endpoint_profile: bool,
    pub bundle: bool,
}

impl FederationRelationshipMask {
    /// All fields.
    pub const ALL: Self = Self { bundle_endpoint_url: true, bundle_endpoint_profile: true, bundle: true };
}

/// Deletes the relationship with this trust domain. The bundle stays.
#[derive(Clone, Debug)]
pub struct DeleteFederationRelationship {
    /// The trust domain, its bare name.
    pub trust_domain: String,
}

impl Mutation for CreateFederationRelationship {
    type Output = ();
    const KEY: &'static str = "datastore.federation_relationship.create";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let FederationRelationship { trust_domain, bundle_endpoint_url, bundle_endpoint_profile, bundle } = &self.0;
        let (profile, endpoint_spiffe_id) = bundle_endpoint_profile.columns();
        let row = [
            tx.now.into(),
            tx.now.into(),
            trust_domain.into(),
            bundle_endpoint_url.into(),
            profile.into(),
            endpoint_spiffe_id.into(),
            false.into(),
        ];
        let insert = "INSERT INTO federated_trust_domains (created_at, updated_at, trust_domain, bundle_endpoint_url, \
                      bundle_endpoint_profile, endpoint_spiffe_id, implicit) VALUES ";
        tx.db.insert(insert, [row]).await?;
        if let Some(bundle) = bundle {
            bundles::set(tx, bundle).await?;
        }
        Ok(())
    }
}

impl Mutation for UpdateFederationRelationship {
    /// The relationship as it is stored now.
    type Output = FederationRelationship;
    const KEY: &'static str = "datastore.federation_relationship.update";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<FederationRelationship, Error> {
        let Self { relationship, mask } = self;
        let FederationRelationship { trust_domain, bundle_endpoint_url, bundle_endpoint_profile, bundle } =
            relationship;
        let mut sql = Sql::new("UPDATE federated_trust_domains SET updated_at = ?").bind(tx.now);
        if mask.bundle_endpoint_url {
            sql = sql.push(", bundle_endpoint_url = ?").bind(bundle_endpoint_url);
        }
        if mask.bundle_endpoint_profile {
            let (profile, endpoint_spiffe_id) = bundle_endpoint_profile.columns();
            sql = sql
                .push(", bundle_endpoint_profile = ?, endpoint_spiffe_id = ?")
                .bind(profile)
                .bind(endpoint_spiffe_id);
        }
        if tx.db.execute(sql.push(" WHERE trust_domain = ?").bind(trust_domain)).await? == 0 {
            return Err(Error::FederationRelationshipMissing);
        }
        if let Some(bundle) = bundle.as_ref().filter(|_| mask.bundle) {
            bundles::set(tx, bundle).await?;
        }
        by_trust_domain(tx.db, trust_domain).await?.ok_or(Error::FederationRelationshipMissing)
    }
}

impl Mutation for DeleteFederationRelationship {
    type Output = ();
    const KEY: &'static str = "datastore.federation_relationship.delete";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let delete = "DELETE FROM federated_trust_domains WHERE trust_domain = ?";
        match tx.db.execute(Sql::new(delete).bind(&self.trust_domain)).await? {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    }
}

async fn by_trust_domain(db: &mut Connection, trust_domain: &str) -> Result<Option<FederationRelationship>, Error> {
    let sql = Sql::new(SELECT).push(" WHERE trust_domain = ?").bind(trust_domain);
    let Some((_, mut relationship)) = db.row(sql, read).await? else { return Ok(None) };
    attach_bundle(db, &mut relationship).await?;
    Ok(Some(relationship))
}

/// This table holds bare names, that of the bundles IDs.
async fn attach_bundle(db: &mut Connection, relationship: &mut FederationRelationship) -> Result<(), Error> {
    let trust_domain = format!("spiffe://{}", relationship.trust_domain);
    relationship.bundle = bundles::by_trust_domain(db, &trust_domain).await?;
    Ok(())
}

const SELECT: &str = "SELECT id, trust_domain, bundle_endpoint_url, bundle_endpoint_profile, endpoint_spiffe_id \
                      FROM federated_trust_domains";

fn read(row: &Row) -> Result<(i64, FederationRelationship), Error> {
    let trust_domain = row.text(1)?;
    let bundle_endpoint_profile = match row.text(3)?.as_str() {
        "https_web" => BundleEndpointProfile::HttpsWeb,
        "https_spiffe" => BundleEndpointProfile::HttpsSpiffe { endpoint_spiffe_id: row.text(4)? },
        other => {
            let text = format!("unknown bundle endpoint profile type: {other:?} of trust domain {trust_domain:?}");
            return Err(Error::Corrupt(text));
        }
    };
    let relationship = FederationRelationship {
        trust_domain,
        bundle_endpoint_url: row.text(2)?,
        bundle_endpoint_profile,
        bundle: None,
    };
    Ok((row.integer(0)?, relationship))
}
