//! What the tests of all rooms share: a clock that a test advances, a CA, an upstream authority, a key manager that fails when
//! it is told to, servers of databases, and a server that speaks the real protocol and answers what a test wants.
//!
//! Nothing here mocks: a fake holds real keys, listens on a real port and sends real messages, so that what is tested
//! cannot tell it from the real thing. And nothing here sleeps: who waits, waits for the event.

#![warn(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this runs in tests: a panic is their report"
)]

pub mod ca;
pub mod calls;
pub mod clock;
pub mod collector;
pub mod commands;
pub mod database;
pub mod documented;
pub mod keys;
pub mod record;
pub mod report;
pub mod server;
pub mod upstream;
pub mod web;
pub mod wire;
pub mod workload;

pub use ca::Ca;
pub use clock::ManualClock;
pub use keys::MemoryKeys;
pub use server::FakeServer;
pub use upstream::Upstream;
pub use web::WebServer;
pub use workload::FakeEndpoint;
