//! `agent list`, `agent count`, `agent show`, `agent ban` and `agent evict`.

mod date;
mod filter;
mod list;
mod one;
mod pretty;

pub(crate) use list::{count, list};
pub(crate) use one::{ban, evict, show};
