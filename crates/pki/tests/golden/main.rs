//! Makes what SPIRE 1.15.3 was recorded to make, and compares it byte for byte.
//!
//! ECDSA signatures differ each time, so a [`Recorded`] signer checks what it is given to sign by putting the recorded
//! signature under it: the outcome can only be equal when everything that was signed is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

mod certificates;
mod keys;
mod requests;
mod tokens;

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;
use steeple_pki::{PublicKey, SignError, SignatureAlgorithm, Signer};

/// A signer that always answers with the same signature.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) public_key: PublicKey,
    pub(crate) signature: Vec<u8>,
}

#[async_trait]
impl Signer for Recorded {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.public_key.kind().signature_algorithm()
    }

    async fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.signature.clone())
    }
}

pub(crate) fn data(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn artifact(name: &str) -> Vec<u8> {
    data(&format!("artifacts/{name}"))
}

pub(crate) fn facts(section: &str) -> serde_json::Map<String, Value> {
    let facts: Value = serde_json::from_slice(&artifact("facts.json")).unwrap();
    facts[section].as_object().unwrap().clone()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
