//! What the server forgets, and when. Its time is the case's.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use steeple_runtime::Clock;
use steeple_testkit::ManualClock;
use steeple_tests::{AgentByHand, Binaries, Domain, Inside, Port, Shared, case, skipped_on_the_reference, until};

const KEYS: &str = r#"
    agent_ttl = "1h"
    prune_attested_nodes_expired_for = "30m"
    prune_attested_nodes_batch_size = 1
    prune_tofu_nodes = true
    experimental {
        prune_events_older_than = "1h"
    }
"#;

/// Between two looks.
const STEP: Duration = Duration::from_secs(5 * 60);
/// Agents and events of a server without these keys live longer.
const LONG: Duration = Duration::from_secs(6 * 60 * 60);

#[test]
fn agents_and_events_that_are_over_go_when_and_as_fast_as_the_keys_say() -> Result<()> {
    if Binaries::find()?.server.is_reference {
        skipped_on_the_reference("pruning after hours", "its clock cannot be set");
        return Ok(());
    }
    case(async |scratch| {
        let shared = Shared::on_sqlite(scratch);
        let builder = Domain::builder().default_intervals().database(shared.database.clone());
        let domain = builder.server_text(KEYS).write(scratch)?;
        let clock = ManualClock::new(Clock::system().now());
        let server = Inside::server(&domain.server, &clock)?;
        until("a server", async || domain.server.token(&[]).await.ok()).await?;
        let port = Port::of(&domain).await?;
        for _ in 0..3 {
            let agent = AgentByHand::attest(&domain, &port).await?;
            domain.entry(agent.id.as_str(), "/web", &[]).await?;
        }
        let start = clock.now();

        let agents = async || domain.server.agents().await.ok().map(|agents| agents.len());
        for left in [2, 1, 0] {
            let now = passes(&clock, "an agent to go", async || agents().await.filter(|count| *count <= left)).await?;
            ensure!(now.0 == left, "{} agents went at once", 3 - now.0);
            ensure!(left < 2 || now.1 < start + LONG, "the first one went late");
        }
        let query = "SELECT CAST(id AS TEXT) FROM registered_entries_events";
        let events = async || shared.column(query).await.ok().filter(|events| events.len() == 1);
        let now = passes(&clock, "all events but the newest to go", events).await?;
        ensure!(now.1 < start + 2 * LONG, "they went late");

        server.stop().await
    })
}

/// Time passes until there is something to see. Returns that, and when it was.
async fn passes<T>(clock: &ManualClock, what: &str, look: impl AsyncFn() -> Option<T>) -> Result<(T, SystemTime)> {
    let seen = until(what, async || {
        clock.advance(STEP);
        look().await
    });
    Ok((seen.await?, clock.now()))
}
