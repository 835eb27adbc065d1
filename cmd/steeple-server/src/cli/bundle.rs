//! `bundle show`, `bundle list`, `bundle count`, `bundle set` and `bundle delete`.

mod change;
mod document;
mod show;

pub(crate) use change::{delete, set};
pub(super) use document::DocumentFormat;
pub(crate) use show::{count, list, show};
