//! How long a change takes. Prints figures and asserts nothing about them: the machine may be busy.

use std::env;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use steeple_tests::{Domain, case, figures, say, until_count};

/// A few seconds; `STEEPLE_TRIES` is for more.
const TRIES: usize = 200;

#[test]
fn measures_an_entrys_way_to_the_open_stream() -> Result<()> {
    case(async |scratch| {
        let tries = env::var("STEEPLE_TRIES").map_or(Ok(TRIES), |tries| tries.parse()).context("STEEPLE_TRIES")?;
        ensure!(tries > 0, "STEEPLE_TRIES is 0");
        let domain = Domain::builder().default_intervals().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        // One that stays, because a stream without an identity ends.
        domain.entry(&agent.id, "/stays", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id("spiffe://example.org/stays").await?;
        let mut stream = follower.into_stream()?;

        let (mut from_start, mut from_answer) = (Vec::new(), Vec::new());
        for _ in 0..tries {
            let start = Instant::now();
            let create = async {
                let entry = domain.entry(&agent.id, "/new", &[]).await?;
                anyhow::Ok((entry, Instant::now()))
            };
            let arrive = async {
                until_count(&mut stream, 2).await?;
                anyhow::Ok(Instant::now())
            };
            // At the same time: a push can be there before the command has ended.
            let ((entry, answered), arrived) = tokio::try_join!(create, arrive)?;
            from_start.push(arrived - start);
            from_answer.push(arrived.saturating_duration_since(answered));
            domain.server.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
            until_count(&mut stream, 1).await?;
        }
        say(&figures("from the start of `entry create` to the open stream", from_start));
        say(&figures("from the end of `entry create` to the open stream", from_answer));
        Ok(())
    })
}
