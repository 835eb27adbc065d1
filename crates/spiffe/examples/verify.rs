//! Tells whom a certificate chain belongs to, and whether it is good, each time that the bundles change: for who verifies
//! others and has no identity.
//!
//! ```sh
//! export SPIFFE_ENDPOINT_SOCKET=unix:///tmp/spire-agent/public/api.sock
//! cargo run -p steeple-spiffe --features workload-api --example verify -- svid.pem
//! ```
//!
//! `JwtBundleSource` and `WitBundleSource` are the same for tokens: whatever validates takes any of them.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::error::Error;
use std::fs;

use steeple_spiffe::workload_api::{SourceError, SystemClock, X509BundleSource};
use steeple_spiffe::{Clock, verify_x509_svid_in, x509};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("a file with a chain as PEM, leaf first")?;
    let chain = x509::parse_pem(&fs::read_to_string(path)?)?;
    let source = X509BundleSource::new().await?;
    let mut updates = source.updates();
    loop {
        match updates.next().await {
            // The source has the answer that has just come, or a later one.
            Ok(_) => match verify_x509_svid_in(&chain, &source, SystemClock.now()) {
                Ok(id) => println!("{id}"),
                Err(error) => println!("refused: {error}"),
            },
            // There may be bundles again: the source goes on asking.
            Err(error @ SourceError::Denied(_)) => println!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
}
