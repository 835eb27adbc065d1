//! `agent list`, `agent count`, `agent show`, `agent ban`, `agent evict` and `agent purge`.

mod date;
mod filter;
mod list;
mod one;
mod pretty;
mod purge;

pub(crate) use list::{count, list};
pub(crate) use one::{ban, evict, show};
pub(crate) use purge::purge;
