//! What the command lines of both daemons share: the name they were called by, flags and usage, printing that survives a
//! closed pipe, `-output`, progress, `logger`, moments and messages in the reference's forms, where
//! a daemon is, calls that failed, and the start of a daemon from its configuration file.
#![warn(missing_docs)]

pub mod completion;
pub mod daemon;
pub mod dialling;
pub mod json;
pub mod logger;
pub mod output;
mod print;
pub mod program;
pub mod progress;
pub mod socket;
pub mod time;
pub mod usage;

pub use print::{err, out, read};
pub use steeple_runtime::os::reason;
