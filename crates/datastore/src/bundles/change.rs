use steeple_proto::spire::common::Bundle;

use crate::Error;
use crate::writer::{Mutation, Tx};

/// Adds authorities to the bundle of a trust domain, which is created if there is none.
///
/// An authority is known only if all of it is equal: the same key with another taint is a second authority, as in the
/// reference. The sequence number is raised by one if anything was new; that of a created bundle is the one given.
#[derive(Clone, Debug)]
pub struct AppendBundle(pub Bundle);

/// Creates the bundle of a trust domain. One that exists is refused ([`Error::Constraint`]).
#[derive(Clone, Debug)]
pub struct CreateBundle(pub Bundle);

/// Creates the bundle of a trust domain or replaces all of it.
#[derive(Clone, Debug)]
pub struct SetBundle(pub Bundle);

/// Replaces fields of the bundle of the same trust domain.
#[derive(Clone, Debug)]
pub struct UpdateBundle {
    /// The trust domain, and the new values.
    pub bundle: Bundle,
    /// Which fields to replace.
    pub mask: BundleMask,
}

/// The fields of a [`Bundle`] that can be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, clippy::struct_excessive_bools, reason = "one flag a field, under the field's name")]
pub struct BundleMask {
    pub root_cas: bool,
    pub jwt_signing_keys: bool,
    pub wit_signing_keys: bool,
    pub refresh_hint: bool,
    pub sequence_number: bool,
}

impl BundleMask {
    /// All fields.
    pub const ALL: Self = Self {
        root_cas: true,
        jwt_signing_keys: true,
        wit_signing_keys: true,
        refresh_hint: true,
        sequence_number: true,
    };
}

impl Mutation for AppendBundle {
    /// The bundle as it is stored now.
    type Output = Bundle;
    const KEY: &'static str = "datastore.bundle.append";
    const CONFLICT_IS_A_RACE: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Bundle, Error> {
        let Some(mut bundle) = tx.bundle(&self.0.trust_domain_id).await? else {
            tx.insert_bundle(&self.0).await?;
            return Ok(self.0.clone());
        };
        let Bundle {
            trust_domain_id: _,
            root_cas,
            jwt_signing_keys,
            refresh_hint: _,
            sequence_number: _,
            wit_signing_keys,
        } = &self.0;
        let added = [
            append(&mut bundle.root_cas, root_cas),
            append(&mut bundle.jwt_signing_keys, jwt_signing_keys),
            append(&mut bundle.wit_signing_keys, wit_signing_keys),
        ];
        if added.contains(&true) {
            bundle.sequence_number = bundle.sequence_number.wrapping_add(1);
            tx.update_bundle(&bundle).await?;
        }
        Ok(bundle)
    }
}

fn append<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) -> bool {
    let before = all.len();
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    all.len() > before
}

impl Mutation for CreateBundle {
    type Output = ();
    const KEY: &'static str = "datastore.bundle.create";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        tx.insert_bundle(&self.0).await
    }
}

impl Mutation for SetBundle {
    type Output = ();
    const KEY: &'static str = "datastore.bundle.set";
    const CONFLICT_IS_A_RACE: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        set(tx, &self.0).await
    }
}

/// Creates or replaces the bundle.
pub(crate) async fn set(tx: &mut Tx<'_>, bundle: &Bundle) -> Result<(), Error> {
    match tx.bundle(&bundle.trust_domain_id).await? {
        None => tx.insert_bundle(bundle).await,
        Some(_) => tx.update_bundle(bundle).await,
    }
}

impl Mutation for UpdateBundle {
    /// The bundle as it is stored now.
    type Output = Bundle;
    const KEY: &'static str = "datastore.bundle.update";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Bundle, Error> {
        let BundleMask { root_cas, jwt_signing_keys, wit_signing_keys, refresh_hint, sequence_number } = self.mask;
        let new = self.bundle.clone();
        let mut bundle = tx.bundle(&new.trust_domain_id).await?.ok_or(Error::NotFound)?;
        if root_cas {
            bundle.root_cas = new.root_cas;
        }
        if jwt_signing_keys {
            bundle.jwt_signing_keys = new.jwt_signing_keys;
        }
        if wit_signing_keys {
            bundle.wit_signing_keys = new.wit_signing_keys;
        }
        if refresh_hint {
            bundle.refresh_hint = new.refresh_hint;
        }
        if sequence_number {
            bundle.sequence_number = new.sequence_number;
        }
        tx.update_bundle(&bundle).await?;
        Ok(bundle)
    }
}
