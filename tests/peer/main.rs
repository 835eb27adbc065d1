//! The daemons under test and those of `STEEPLE_PEER_BIN`, such as SPIRE's, with each other: on the two ends of the wire,
//! and one after the other on the same files.

#[cfg(test)]
mod controller;
#[cfg(test)]
mod day;
#[cfg(test)]
mod mixed;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod swap;

#[cfg(test)]
mod domain {
    use anyhow::{Context, Result};
    use steeple_proto::workload::X509svidResponse;
    use steeple_tests::{Agent, Domain, DomainBuilder, Program, Scratch, verified, within};
    use tonic::Streaming;

    pub(super) const WEB: &str = "spiffe://example.org/web";

    /// A trust domain whose server is `server` and whose one agent is `agent`, attested with a join token.
    pub(super) async fn of(
        builder: DomainBuilder,
        server: &Program,
        agent: &Program,
        scratch: &Scratch,
    ) -> Result<(Domain, Agent)> {
        let mut domain = builder.write(scratch)?;
        domain.server.program = server.clone();
        domain.server.start().await?;
        let mut attested = domain.new_agent("node1").await?;
        attested.program = agent.clone();
        domain.attest(&mut attested).await?;
        Ok((domain, attested))
    }

    /// Has an agent that asks its server do so each second, from its next start on.
    pub(super) fn asks_each_second(agent: &Agent) -> Result<()> {
        let fast = "agent {\n    experimental {\n        sync_interval = \"1s\"\n    }";
        agent.reconfigure(|conf| conf.replacen("agent {", fast, 1)).map(drop)
    }

    /// The serial numbers of the next SVID for [`WEB`] on a stream and of its authority's key.
    pub(super) async fn next_svid(stream: &mut Streaming<X509svidResponse>) -> Result<(String, String)> {
        within("an SVID on the open stream", async {
            loop {
                let update = stream.message().await?.context("the stream ended")?;
                if let Some(svid) = update.svids.iter().find(|svid| svid.spiffe_id == WEB) {
                    let leaf = verified(svid)?.chain.swap_remove(0);
                    let issuer = leaf.authority_key_id().map(steeple_spiffe::x509::hex).unwrap_or_default();
                    return anyhow::Ok((leaf.serial_hex(), issuer));
                }
            }
        })
        .await?
    }
}
