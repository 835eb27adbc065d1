use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Installation;

/// A server; its data are database and keys, its socket is the administrative one.
pub struct Server {
    /// The TCP port of its API.
    pub port: u16,
    pub(crate) installation: Installation,
}

impl Server {
    /// A new join token.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn token(&self, flags: &[&str]) -> Result<String> {
        let args = [&["token", "generate", "-output", "json"], flags].concat();
        let answer = self.command(&args).await?.json()?;
        Ok(answer["value"].as_str().with_context(|| format!("no token in {answer}"))?.to_owned())
    }

    /// Creates an entry with the flags of `entry create`; returns its ID.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn create_entry(&self, flags: &[&str]) -> Result<String> {
        // As text: with JSON the command does not fail when the entry is refused.
        let text = self.command(&[&["entry", "create"], flags].concat()).await?.ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("Entry ID")).map(|rest| rest.trim_matches([' ', ':']));
        Ok(id.with_context(|| format!("no entry ID in {text}"))?.to_owned())
    }

    /// The IDs of all entries.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn entry_ids(&self) -> Result<BTreeSet<String>> {
        let answer = self.command(&["entry", "show", "-output", "json"]).await?.json()?;
        let entries = answer["entries"].as_array().with_context(|| format!("no entries in {answer}"))?;
        Ok(entries.iter().filter_map(|entry| entry["id"].as_str()).map(str::to_owned).collect())
    }

    /// The attested agents, as `agent list` gives them.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn agents(&self) -> Result<Vec<Value>> {
        let answer = self.command(&["agent", "list", "-output", "json"]).await?.json()?;
        Ok(answer["agents"].as_array().with_context(|| format!("no agents in {answer}"))?.clone())
    }

    /// The X.509 authorities of its bundle, as PEM.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn bundle_pem(&self) -> Result<String> {
        self.command(&["bundle", "show"]).await?.ok()
    }

    /// All authorities of its bundle, X.509 and JWT.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn authorities(&self) -> Result<Value> {
        let mut bundle = self.command(&["bundle", "show", "-output", "json"]).await?.json()?;
        Ok(serde_json::json!({ "x509": bundle["x509_authorities"].take(), "jwt": bundle["jwt_authorities"].take() }))
    }
}

impl Deref for Server {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Installation {
        &mut self.installation
    }
}
