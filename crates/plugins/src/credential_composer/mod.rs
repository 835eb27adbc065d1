//! Credential composers.

pub mod uniqueid;
