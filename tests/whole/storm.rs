//! All agents come back at once.

use anyhow::Result;
use steeple_tests::{Binaries, Force, Storm, case, skipped_on_the_reference};

#[test]
fn all_agents_come_back_at_once_to_a_server_with_little_memory() -> Result<()> {
    case(async |scratch| {
        let name = "all agents come back at once";
        if Binaries::find()?.server.is_reference {
            skipped_on_the_reference(name, "it has no stream for agents");
            return Ok(());
        }
        let Some(mut storm) = Storm::before(name, Force::of_environment(), scratch).await? else { return Ok(()) };
        let agent = storm.domain.agent("node1").await?;
        storm.breaks_loose(&agent).await
    })
}
