//! What the command lines of both daemons share: the name they were called by, flags and usage, printing that survives a
//! closed pipe, `-output`, the way to a daemon's socket, and the start of a daemon from its configuration file.
#![warn(missing_docs)]

pub mod daemon;
pub mod dialling;
pub mod output;
mod print;
pub mod program;
pub mod usage;

pub use print::{err, out, read};
pub use steeple_runtime::os::reason;
