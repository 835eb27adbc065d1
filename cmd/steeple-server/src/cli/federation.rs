//! `federation create`, `federation update`, `federation list`, `federation show`, `federation delete` and
//! `federation refresh`.

mod data;
mod one;
mod pretty;
mod relationship;
mod show;
mod write;

pub(crate) use one::{delete, refresh};
pub(crate) use show::{list, show};
pub(crate) use write::{create, update};

/// The relationships of a file for `federation create -data`: a door of the fuzz target, which no other build has.
///
/// # Errors
/// It cannot be read, or says what makes no relationship.
#[cfg(fuzzing)]
pub fn read_relationships(
    json: &[u8],
) -> anyhow::Result<Vec<steeple_proto::spire::api::types::FederationRelationship>> {
    data::relationships(json)
}
