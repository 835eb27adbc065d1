//! Prints a JWT-SVID of this process, or validates one that somebody has shown.
//!
//! ```sh
//! export SPIFFE_ENDPOINT_SOCKET=unix:///tmp/spire-agent/public/api.sock
//! cargo run -p steeple-spiffe --features workload-api --example tokens -- fetch db > token
//! cargo run -p steeple-spiffe --features workload-api --example tokens -- validate db < token
//! ```
//!
//! A program that lives longer keeps its source: tokens are given again until half of their life is over, and each token is
//! validated with the bundles of the moment, without a call.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::error::Error;
use std::io;

use steeple_spiffe::workload_api::JwtSource;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fetch", audience] => fetch(audience).await,
        ["validate", audience] => validate(audience).await,
        _ => Err("fetch AUDIENCE, or validate AUDIENCE with a token on the standard input".into()),
    }
}

async fn fetch(audience: &str) -> Result<(), Box<dyn Error>> {
    let source = JwtSource::new().await?;
    println!("{}", source.fetch(&[audience], None).await?.token);
    Ok(())
}

async fn validate(audience: &str) -> Result<(), Box<dyn Error>> {
    let source = JwtSource::new().await?;
    let svid = source.validate(io::read_to_string(io::stdin())?.trim(), audience)?;
    println!("{}", svid.id);
    for (name, value) in &svid.claims {
        println!("  {name}: {value}");
    }
    Ok(())
}
