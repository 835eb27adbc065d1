//! The agent's command line. The command `spire-agent api fetch jwt` is `cli/api/fetch_jwt.rs`.
//!
//! Output, errors and exit codes are an interface: scripts read them. They are the reference's to the byte, except where
//! `tests/golden.rs` gives a reason. The texts of usages are our own.

mod cli;

pub use cli::main;
