//! What every daemon stands on: the clock, tasks that stop together, logs in the reference's format, metrics, traces, health,
//! and the few things that only the operating system knows.

pub mod clock;
pub mod health;
mod jitter;
pub mod logging;
pub mod metrics;
pub mod os;
pub mod signals;
pub mod tasks;
pub mod trace;

/// The release of the reference that everything here is compatible with, and answers as.
pub const COMPATIBLE: &str = "1.15.3";

pub use clock::Clock;
pub use jitter::{below, jitter, spread};
pub use tasks::Shutdown;
