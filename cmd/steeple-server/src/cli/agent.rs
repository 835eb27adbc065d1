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

/// Whether a text is a moment for `-expiresBefore`: a door of the fuzz target, which no other build has.
///
/// # Errors
/// It is none.
#[cfg(fuzzing)]
pub fn check_date(text: &str) -> anyhow::Result<()> {
    date::check(text)
}
