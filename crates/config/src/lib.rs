//! Configuration files and command lines.

pub mod hcl;

mod error;
mod integer;

pub use error::Error;
