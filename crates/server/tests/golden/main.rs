//! What SPIRE 1.15.3 answered, call by call, and what this server answers.
//!
//! Each file of `tests/data/api` starts from nothing and is replayed from top to bottom against a server of its own, over
//! its real socket and its real port. What is not built yet answers UNIMPLEMENTED; what such a call would have done is
//! then done behind the server's back, so that the records after it find what they expect (`effects`).
//!
//! `exceptions.json` names the records that differ on purpose, and those that need what is not built yet; one that is
//! equal all the same is a failure, so that the list can only shrink.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's report"
)]

mod compare;
mod decoded;
mod effects;
mod record;
mod replay;
mod running;

use std::path::{Path, PathBuf};

#[tokio::test]
async fn entry() {
    replay::file("entry").await;
}

#[tokio::test]
async fn entry_agent() {
    replay::file("entry-agent").await;
}

#[tokio::test]
async fn agent() {
    replay::file("agent").await;
}

#[tokio::test]
async fn bundle() {
    replay::file("bundle").await;
}

#[tokio::test]
async fn svid() {
    replay::file("svid").await;
}

#[tokio::test]
async fn svid_without_jwt() {
    replay::file("svid-nojwt").await;
}

#[tokio::test]
async fn svid_wit() {
    replay::file("svid-wit").await;
}

#[tokio::test]
async fn logger_debug_health() {
    replay::file("logger-debug-health").await;
}

#[tokio::test]
async fn callers() {
    replay::file("callers").await;
}

#[tokio::test]
async fn authz() {
    replay::file("authz").await;
}

/// A file of the records.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/api").join(name)
}
