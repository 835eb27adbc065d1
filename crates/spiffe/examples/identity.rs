//! Prints the X.509 identity of this process, and each change to it, until it is interrupted.
//!
//! ```sh
//! export SPIFFE_ENDPOINT_SOCKET=unix:///tmp/spire-agent/public/api.sock
//! cargo run -p steeple-spiffe --features workload-api --example identity
//! ```

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use steeple_spiffe::workload_api::{SourceError, X509Source};

#[tokio::main]
async fn main() -> Result<(), SourceError> {
    let source = X509Source::new().await?;
    let mut updates = source.updates();
    loop {
        match updates.next().await {
            Ok(context) => {
                for svid in &context.svids {
                    let (serial, hint) = (svid.chain.first().map(|leaf| leaf.serial_hex()), &svid.hint);
                    println!("{} serial {} hint {hint:?}", svid.id, serial.unwrap_or_default());
                }
                let known: Vec<&str> = context.bundles.iter().map(|bundle| bundle.trust_domain.name()).collect();
                println!("  verifies members of {}", known.join(", "));
            }
            // There may be an identity again: the source goes on asking.
            Err(error @ SourceError::Denied(_)) => println!("{error}"),
            Err(error) => return Err(error),
        }
    }
}
