//! Configuration files.

use anyhow::{Context, Result};
use steeple_tests::{Domain, case, say};

use super::ends_with;

/// A change to a good configuration, and what the refusal must name.
struct Mistake {
    name: &'static str,
    change: fn(&str) -> String,
    named: &'static [&'static str],
}

const OF_THE_SERVER: &[Mistake] = &[
    Mistake {
        name: "unknown key in a block",
        change: |conf| with_line(conf, "nonsense = 1"),
        named: &["section=server", "keys=nonsense"],
    },
    Mistake {
        name: "unknown block",
        change: |conf| format!("{conf}surplus {{\n}}\n"),
        named: &["section=top-level", "keys=surplus"],
    },
    Mistake {
        name: "wrong type",
        change: |conf| with_line(conf, "audit_log_enabled = \"yes\""),
        named: &["server.conf", "At 14:25", "audit_log_enabled"],
    },
    Mistake {
        name: "malformed syntax",
        change: |conf| with_line(conf, "ca_ttl = = \"24h\""),
        named: &["server.conf", "At 14:14"],
    },
    Mistake {
        name: "malformed duration",
        change: |conf| with_line(conf, "ca_ttl = \"1d\""),
        named: &["could not parse default CA ttl", "unknown unit"],
    },
    Mistake {
        name: "malformed trust domain",
        change: |conf| with_line(conf, "trust_domain = \"Example Org\""),
        named: &["trust_domain", "Example Org"],
    },
    Mistake {
        name: "missing plugins",
        change: |conf| conf.replacen("plugins {", "unused {", 1),
        named: &["plugins section must be configured"],
    },
];

const OF_THE_AGENT: &[Mistake] = &[
    Mistake {
        name: "unknown key in a block",
        change: |conf| with_line(conf, "nonsense = 1"),
        named: &["section=agent", "keys=nonsense"],
    },
    Mistake {
        name: "wrong type",
        change: |conf| with_line(conf, "insecure_bootstrap = \"no\""),
        named: &["node1.conf", "At 12:26", "insecure_bootstrap"],
    },
    Mistake {
        name: "malformed syntax",
        change: |conf| with_line(conf, "log_file = = \"a\""),
        named: &["node1.conf", "At 12:16"],
    },
    Mistake {
        name: "missing file",
        change: |conf| with_line(conf, "join_token_file = \"/missing/token\""),
        named: &["join token file", "/missing/token"],
    },
];

#[test]
fn the_server_names_what_is_wrong_in_its_configuration() -> Result<()> {
    case(async |scratch| {
        for Mistake { name, change, named } in OF_THE_SERVER {
            let mut domain = Domain::builder().write(scratch)?;
            domain.server.reconfigure(change)?;
            domain.server.validate(&domain.server.conf).await?.refused()?;
            domain.server.launch(&[])?;
            ends_with(domain.server.process()?, named).await.context(*name)?;
            assert!(!domain.server.data_dir.exists(), "{name}: the data directory was made");
        }
        say(&format!("mistakes: {0} of {0} configurations of the server refused by name", OF_THE_SERVER.len()));
        Ok(())
    })
}

#[test]
fn the_agent_names_what_is_wrong_in_its_configuration() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        for Mistake { name, change, named } in OF_THE_AGENT {
            let mut agent = domain.new_agent("node1").await?;
            agent.reconfigure(change)?;
            agent.validate(&agent.conf).await?.refused()?;
            agent.launch(&[])?;
            ends_with(agent.process()?, named).await.context(*name)?;
            assert!(!agent.data_dir.exists(), "{name}: the data directory was made");
        }
        say(&format!("mistakes: {0} of {0} configurations of the agent refused by name", OF_THE_AGENT.len()));
        Ok(())
    })
}

#[test]
fn names_a_missing_configuration_file() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().write(scratch)?;
        let missing = scratch.path().join("missing.conf");
        let text = domain.server.validate(&missing).await?.refused()?;
        assert!(text.contains(&format!("could not find config file {}", missing.display())), "{text}");
        Ok(())
    })
}

#[test]
fn a_wrong_configuration_loses_nothing() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        let mut agent = domain.agent("node1").await?;
        let entry = domain.entry(&agent.id, "/web", &[]).await?;
        let authorities = domain.server.authorities().await?;
        domain.server.stop().await?;
        agent.stop().await?;

        let server_conf = domain.server.reconfigure(|conf| with_line(conf, "nonsense = 1"))?;
        let agent_conf = agent.reconfigure(|conf| with_line(conf, "nonsense = 1"))?;
        domain.server.launch(&[])?;
        ends_with(domain.server.process()?, &["keys=nonsense"]).await?;
        agent.launch(&[])?;
        ends_with(agent.process()?, &["keys=nonsense"]).await?;
        domain.server.reconfigure(|_| server_conf)?;
        domain.server.start().await?;
        agent.reconfigure(|_| agent_conf)?;
        agent.start().await?;

        assert_eq!(domain.server.authorities().await?, authorities);
        assert_eq!(domain.server.entry_ids().await?, [entry].into());
        agent.workload().follow().until_id("spiffe://example.org/web").await?;
        Ok(())
    })
}

/// A configuration with one more line at the end of its first block.
fn with_line(conf: &str, line: &str) -> String {
    conf.replacen("\n}\n", &format!("\n    {line}\n}}\n"), 1)
}
