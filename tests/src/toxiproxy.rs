//! Toxiproxy (github.com/Shopify/toxiproxy): a wire between a server and its database that is slow, breaks, or says nothing.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::go_program::GoProgram;
use crate::{Daemon, Scratch, free_port, http};

/// A port that leads to another one, and what is done to it.
pub struct Toxiproxy {
    /// To be reached instead of the other one.
    pub port: u16,
    api: u16,
    _process: Daemon,
}

impl Toxiproxy {
    /// One before a port of this host; None where nothing can build it, which is then said under `case`.
    ///
    /// # Errors
    /// It does not build or start, or nothing can build it where everything must run.
    pub async fn before(port: u16, case: &str, scratch: &Scratch) -> Result<Option<Self>> {
        static PROGRAM: GoProgram = GoProgram::command(
            ["Toxiproxy", "steeple-toxiproxy"],
            "toxiproxy",
            "github.com/Shopify/toxiproxy/v2/cmd/server",
        );
        let Some(program) = PROGRAM.find(case)? else { return Ok(None) };
        let api = free_port()?;
        let args = ["-host", "127.0.0.1", "-port", &api.to_string()];
        let mut process = Daemon::start("toxiproxy", program, &args, &scratch.path().join("toxiproxy.log"))?;
        let answers = async || http(api, "GET /version", "").await.ok();
        process.until("its API", answers).await?;
        let mut this = Self { port: 0, api, _process: process };
        let proxy = json!({ "name": "database", "listen": "127.0.0.1:0", "upstream": format!("127.0.0.1:{port}") });
        let made = this.ask("POST /proxies", proxy).await?;
        let listens = made["listen"].as_str().and_then(|listen| listen.rsplit(':').next());
        this.port = listens.and_then(|port| port.parse().ok()).with_context(|| format!("no port: {made}"))?;
        Ok(Some(this))
    }

    /// Does harm to what comes from the database, such as `latency` with `{"latency": 2000}`, to so much of the
    /// connections, 1.0 being all.
    ///
    /// # Errors
    /// It is no such harm.
    pub async fn poison(&self, kind: &str, attributes: Value, toxicity: f64) -> Result<()> {
        let toxic = json!({ "name": kind, "type": kind, "attributes": attributes, "toxicity": toxicity });
        self.ask("POST /proxies/database/toxics", toxic).await.map(drop)
    }

    /// Ends a harm.
    ///
    /// # Errors
    /// It was not done.
    pub async fn cure(&self, kind: &str) -> Result<()> {
        let (status, text) = http(self.api, &format!("DELETE /proxies/database/toxics/{kind}"), "").await?;
        ensure!(status == 204, "{status}: {text}");
        Ok(())
    }

    /// Breaks all connections, and refuses new ones until it is told otherwise.
    ///
    /// # Errors
    /// Toxiproxy fails.
    pub async fn let_through(&self, enabled: bool) -> Result<()> {
        self.ask("POST /proxies/database", json!({ "enabled": enabled })).await.map(drop)
    }

    /// Breaks all connections, and leads to another port from now on.
    ///
    /// # Errors
    /// Toxiproxy fails.
    pub async fn lead_to(&self, port: u16) -> Result<()> {
        self.ask("POST /proxies/database", json!({ "upstream": format!("127.0.0.1:{port}") })).await.map(drop)
    }

    async fn ask(&self, what: &str, body: Value) -> Result<Value> {
        let (status, text) = http(self.api, what, &body.to_string()).await?;
        ensure!((200..300).contains(&status), "{what}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
