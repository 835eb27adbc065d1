//! `inventory`

mod list;
mod source;
mod verify;

pub(crate) use list::{count, list};
pub(crate) use verify::verify;
