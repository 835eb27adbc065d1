//! The chain: each record holds the digest of the one before, so that the digest of the last one, the head, stands for all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use steeple_pki::sha256;
use steeple_spiffe::x509::hex;

use super::record::{Event, Record};

/// How far a chain has come. Whoever has a head can tell whether anything up to it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The chain.
    pub chain: String,
    /// The place of its last record; 0 before the first one.
    pub seq: u64,
    /// SHA-256 of its last record, in hexadecimal.
    pub digest: String,
}

impl Head {
    /// Of a chain without records.
    pub fn of_new(chain: String) -> Self {
        Self { chain, seq: 0, digest: "0".repeat(64) }
    }

    /// Behind a record, as it is written.
    pub fn behind(record: &Record, text: &str) -> Self {
        Self { chain: record.chain.clone(), seq: record.seq, digest: digest(text) }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, seq, digest } = self;
        write!(f, "{chain}:{seq}:{digest}")
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let head = (|| {
            let (chain, seq, digest) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Self { chain: chain.to_owned(), seq: seq.parse().ok()?, digest: digest.to_owned() })
        })();
        let is_whole = parts.next().is_none();
        head.filter(|_| is_whole).ok_or_else(|| format!("{text:?} is no head: it has the form chain:seq:digest"))
    }
}

/// A record and its text, over which the chain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it says.
    pub record: Record,
    /// As it is written, without an end of line.
    pub text: String,
}

impl Link {
    /// Reads a record.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        Ok(Self { record: serde_json::from_str(text)?, text: text.to_owned() })
    }
}

/// The end of a chain, to which records are added.
#[derive(Debug)]
pub(super) struct Chain {
    head: Head,
}

impl Chain {
    pub(super) fn behind(head: Head) -> Self {
        Self { head }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Adds what happened at a moment, Unix seconds.
    pub(super) fn add(&mut self, at: i64, event: Event) -> Result<Link, serde_json::Error> {
        let Head { chain, seq, digest } = &self.head;
        let record = Record { seq: seq.saturating_add(1), prev: digest.clone(), chain: chain.clone(), at, event };
        let text = serde_json::to_string(&record)?;
        self.head = Head::behind(&record, &text);
        Ok(Link { record, text })
    }
}

fn digest(text: &str) -> String {
    hex(&sha256(text.as_bytes()))
}
