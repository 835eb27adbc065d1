//! Configuration files and command lines, read as the reference reads them.
//!
//! Nothing here touches a file, the environment or a clock: texts and arguments come in, values come out.
//!
//! | Step | Module |
//! |---|---|
//! | which command a command line means | [`commands`] |
//! | its flags | [`flags`] |
//! | environment variables in the text of a file, if asked for | [`mod@env`] |
//! | from HCL or JSON text to a tree with places, and back to text | [`hcl`] |
//! | from the tree to structs, and the keys that have no field | [`decode`] |
//! | the `plugins` section, whose inside only the plugins know | [`plugins`] |
//! | sections that both daemons have | [`sections`], [`telemetry`], [`otlp`] |
//! | durations in files and flags | [`duration`] |
//! | Go's integer literals, its quotes around texts, and its URLs | [`integer`], [`quote`], [`url`] |
//!
//! A daemon parses the text of its file, decodes the body into the structs of its own sections (with an
//! `Option<serde::de::IgnoredAny>` in the place of `plugins`), reads the plugins from the same body, and lays flags,
//! file and defaults over each other itself.

#![warn(missing_docs)]

pub mod commands;
pub mod decode;
pub mod duration;
pub mod env;
pub mod flags;
pub mod hcl;
pub mod integer;
pub mod otlp;
pub mod plugins;
pub mod quote;
pub mod sections;
pub mod stated;
pub mod telemetry;
pub mod url;

mod error;

pub use error::Error;
