//! Agents that know several servers.

use anyhow::{Result, ensure};
use steeple_tests::{
    Agent, Database, Domain, Scratch, Server, SmallDisk, cannot_run_here, case, find_by_name, free_port, move_beside,
    own_selector, say, until, until_count,
};

use super::{Shared, is_ours};

const STAYS: &str = "spiffe://example.org/stays";

/// The files of an agent that is told of these servers too.
pub(super) async fn agent_of(domain: &Domain, name: &str, others: &[&Server]) -> Result<Agent> {
    let agent = domain.new_agent(name).await?;
    let list: Vec<_> = others.iter().map(|server| format!("\"127.0.0.1:{}\"", server.port)).collect();
    let steeple = format!(
        "experimental {{\n        steeple {{\n            server_addresses = [{}]\n        }}",
        list.join(", ")
    );
    agent.reconfigure(|conf| conf.replacen("experimental {", &steeple, 1))?;
    Ok(agent)
}

/// The files of an agent that knows its servers by a name with both addresses.
async fn agent_of_name(domain: &Domain, name: &str) -> Result<Agent> {
    let mut agent = domain.new_agent(name).await?;
    find_by_name(&mut agent)?;
    Ok(agent)
}

#[test]
fn whichever_postgresql_server_is_killed_agents_go_on_at_another_one() -> Result<()> {
    case(async |scratch| kill_each(scratch, Shared::on_postgres(scratch).await?.database, Known::ByList).await)
}

#[test]
fn whichever_mariadb_server_is_killed_agents_go_on_at_another_one() -> Result<()> {
    case(async |scratch| kill_each(scratch, Shared::on_mariadb(scratch).await?.database, Known::ByList).await)
}

#[test]
fn whichever_sqlite_server_is_killed_agents_go_on_at_another_one() -> Result<()> {
    case(async |scratch| kill_each(scratch, Shared::on_sqlite(scratch).database, Known::ByList).await)
}

#[test]
fn whichever_server_behind_a_name_is_killed_agents_go_on_at_another_one() -> Result<()> {
    case(async |scratch| {
        if let Some(reason) = SmallDisk::missing().await? {
            return cannot_run_here("a name with several addresses", &reason);
        }
        kill_each(scratch, Shared::on_sqlite(scratch).database, Known::ByName).await
    })
}

/// How agents know both servers.
#[derive(Clone, Copy)]
enum Known {
    /// By a list of addresses.
    ByList,
    /// By a name that has the addresses of both.
    ByName,
}

/// Two agents with open streams; each server is killed once while entries come and go.
async fn kill_each(scratch: &Scratch, database: Database, known: Known) -> Result<()> {
    if !is_ours("an agent that knows several servers")? {
        return Ok(());
    }
    let mut domain = Domain::builder().database(database).start(scratch).await?;
    let mut other = domain.another_server("other", None)?;
    if matches!(known, Known::ByName) {
        move_beside(&mut other, &domain.server)?;
    }
    other.start().await?;
    let mut agents = Vec::new();
    for name in ["one", "two"] {
        let mut agent = match known {
            Known::ByList => agent_of(&domain, name, &[&other]).await?,
            Known::ByName => agent_of_name(&domain, name).await?,
        };
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/stays", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_authorities(2).await?;
        agents.push((agent, follower.into_stream()?));
    }
    let mut lost = [0, 0];
    for round in 0..4 {
        let first_is_killed = round % 2 == 0;
        let (killed, left) =
            if first_is_killed { (&mut domain.server, &mut other) } else { (&mut other, &mut domain.server) };
        killed.kill();
        for (number, (agent, stream)) in agents.iter_mut().enumerate() {
            let selector = own_selector();
            let flags = ["-parentID", &agent.id, "-spiffeID", "spiffe://example.org/new", "-selector", &selector];
            let entry = left.create_entry(&flags).await?;
            until_count(stream, 2).await?;
            left.command(&["entry", "delete", "-entryID", &entry]).await?.ok()?;
            until_count(stream, 1).await?;
            let log = agent.process()?.log()?;
            let now = log.matches("Synchronize failed").count();
            ensure!(now - lost[number] <= 1, "{} failures in round {round}:\n{log}", now - lost[number]);
            lost[number] = now;
        }
        killed.start().await?;
    }
    say(&format!("servers: 4 kills, streams kept, syncs that failed once for each agent: {lost:?}"));
    Ok(())
}

#[test]
fn agents_spread_over_a_server_that_was_added_as_their_connections_age() -> Result<()> {
    case(async |scratch| {
        let shared = Shared::on_sqlite(scratch);
        spread_over_an_added_server(scratch, shared.database).await
    })
}

#[test]
fn agents_spread_over_a_server_that_was_added_on_postgresql_as_their_connections_age() -> Result<()> {
    case(async |scratch| spread_over_an_added_server(scratch, Shared::on_postgres(scratch).await?.database).await)
}

async fn spread_over_an_added_server(scratch: &Scratch, database: Database) -> Result<()> {
    if !is_ours("the age of connections")? {
        return Ok(());
    }
    let mut domain = Domain::builder().database(database).write(scratch)?;
    let mut other = domain.another_server("other", None)?;
    let age = "experimental {\n        steeple {\n            connection_age = \"1s\"\n        }";
    for server in [&domain.server, &other] {
        server.reconfigure(|conf| conf.replacen("experimental {", age, 1))?;
    }
    domain.server.start().await?;
    let mut agents = Vec::new();
    for name in ["one", "two", "three"] {
        let mut agent = agent_of(&domain, name, &[&other]).await?;
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/stays", &[]).await?;
        let mut follower = agent.workload().follow();
        follower.until_id(STAYS).await?;
        agents.push((agent, follower.into_stream()?));
    }
    other.start().await?;
    // Of two servers a new connection leads to any: sooner or later each agent comes to the new one, and back.
    let ids: Vec<_> = agents.iter().map(|(agent, _)| agent.id.clone()).collect();
    follow_at(&mut other, &ids, 0).await?;
    let before = domain.server.process()?.log()?.len();
    follow_at(&mut domain.server, &ids, before).await?;
    for (agent, stream) in &mut agents {
        domain.entry(&agent.id, "/new", &[]).await?;
        until_count(stream, 2).await?;
        let log = agent.process()?.log()?;
        ensure!(!log.contains("Synchronize failed"), "{log}");
    }
    Ok(())
}

/// Waits until each of these agents has begun to follow a server since its log was so long.
async fn follow_at(server: &mut Server, ids: &[String], before: usize) -> Result<()> {
    let process = server.process()?;
    until("each agent at a server", async || {
        let log = process.log().ok()?;
        let follows = |id: &String| {
            let line = |line: &str| line.contains("Agent follows changes") && line.contains(id);
            log.get(before..).is_some_and(|log| log.lines().any(line))
        };
        ids.iter().all(follows).then_some(())
    })
    .await
}

#[test]
fn an_agent_attests_and_renews_though_its_first_server_is_not_there() -> Result<()> {
    case(async |scratch| {
        if !is_ours("an agent that knows several servers")? {
            return Ok(());
        }
        let domain = Domain::builder().agent_ttl("6s").start(scratch).await?;
        let mut agent = agent_of(&domain, "node1", &[&domain.server]).await?;
        let (there, nowhere) = (domain.server.port, free_port()?);
        agent
            .reconfigure(|conf| conf.replace(&format!("server_port = {there}"), &format!("server_port = {nowhere}")))?;
        domain.attest(&mut agent).await?;
        domain.entry(&agent.id, "/stays", &[]).await?;
        agent.workload().follow().until_id(STAYS).await?;
        agent.process()?.line("Successfully rotated agent SVID").await?;
        Ok(())
    })
}

#[test]
fn lists_of_servers_that_are_wrong_are_refused_by_validate() -> Result<()> {
    case(async |scratch| {
        if !is_ours("an agent that knows several servers")? {
            return Ok(());
        }
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.new_agent("node1").await?;
        let text = std::fs::read_to_string(&agent.conf)?;
        let own = format!("127.0.0.1:{}", domain.server.port);
        for (list, why) in [
            ("\"server.example.org\"", "\"server.example.org\": it must be host:port"),
            ("\"::1:8081\"", "\"::1:8081\": it must be host:port"),
            (&*format!("\"{own}\""), &*format!("\"{own}\": it is named twice")),
        ] {
            let steeple = format!("experimental {{\nsteeple {{\nserver_addresses = [{list}]\n}}");
            std::fs::write(&agent.conf, text.replacen("experimental {", &steeple, 1))?;
            let refused = agent.validate(&agent.conf).await?.refused()?;
            ensure!(refused.contains(&format!("experimental.steeple.server_addresses: {why}")), "{refused}");
        }
        Ok(())
    })
}
