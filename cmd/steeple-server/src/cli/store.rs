//! `store`

mod status;

pub(crate) use status::status;
