//! Another configuration for daemons that run.

use std::fs;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use steeple_tests::{Domain, Output, Scratch, case, http, skipped_on_the_reference, until};

use crate::x509pop::{ID, server_and_agent};

/// Where the certificate's name stands in the agent's ID.
const TEMPLATE: &str = "/{{ .PluginName }}/{{ .Subject.CommonName }}";

/// False, and a word about it, for a server that has no such command.
fn is_ours(domain: &Domain) -> bool {
    if domain.server.program.is_reference {
        skipped_on_the_reference("reload", "it has no such command");
    }
    !domain.server.program.is_reference
}

/// The configuration of a server that is to log less.
fn less_logged(conf: &str) -> String {
    conf.replace("log_level = \"DEBUG\"", "log_level = \"INFO\"")
}

async fn reload(domain: &Domain, flags: &[&str]) -> Result<Output> {
    domain.server.command(&[&["reload"], flags].concat()).await
}

#[test]
fn what_can_change_changes_at_once_and_the_rest_waits_for_a_restart() -> Result<()> {
    case(async |scratch| {
        let (domain, mut agent) = server_and_agent(Domain::builder().write(scratch)?).await?;
        if !is_ours(&domain) {
            return Ok(());
        }
        let same = "The server runs with what its configuration says.\n";
        ensure!(reload(&domain, &[]).await?.ok()? == same);
        domain.server.reconfigure(|conf| {
            let conf = conf.replace(TEMPLATE, "/{{ .PluginName }}/renamed/{{ .Subject.CommonName }}");
            less_logged(&conf).replacen("server {\n", "server {\n    ca_ttl = \"36h\"\n", 1)
        })?;
        let would = reload(&domain, &["-dryRun"]).await?.ok()?;
        let changes = |word: &str| {
            format!(
                "plugins.NodeAttestor \"x509pop\": {word}\nserver.ca_ttl: needs a restart\nserver.log_level: {word}\n"
            )
        };
        ensure!(would == changes("would change"), "{would}");
        let level = async || domain.server.command(&["logger", "get"]).await?.ok();
        ensure!(level().await?.contains("Logger Level : debug"), "{}", level().await?);

        let told = reload(&domain, &[]).await?.ok()?;
        ensure!(told == changes("changed"), "{told}");
        ensure!(level().await?.contains("Logger Level : info"), "{}", level().await?);
        agent.id = ID.replace("x509pop/", "x509pop/renamed/");
        agent.start().await?;
        domain.server.command(&["agent", "show", "-spiffeID", &agent.id]).await?.ok()?;
        let rest = reload(&domain, &["-output", "json"]).await?.json()?;
        ensure!(
            rest == serde_json::json!({"changes": [{"setting": "server.ca_ttl", "needs_restart": true}]}),
            "{rest}"
        );
        Ok(())
    })
}

#[test]
fn a_configuration_that_is_refused_changes_nothing_and_readiness_tells_why() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().write(scratch)?;
        let port = domain.server.tell_health()?;
        domain.server.start().await?;
        if !is_ours(&domain) {
            return Ok(());
        }
        let ready = async |told: &str| {
            let answer = async || http(port, "GET /ready", "").await.ok().filter(|(_, body)| body.contains(told));
            let (status, body) = until(&format!("{told:?} in readiness"), answer).await?;
            ensure!(status == 200, "{status}: {body}");
            anyhow::Ok(())
        };
        ready("catalog.datastore").await?;
        let good = domain.server.reconfigure(|conf| {
            less_logged(conf).replacen("server {\n", "server {\n    admin_ids = [\"nobody\"]\n", 1)
        })?;
        let refused = reload(&domain, &[]).await?.refused()?;
        let why = "the configuration is refused: could not parse admin ID \"nobody\"";
        ensure!(refused.contains(why), "{refused}");
        ready("\"server.configuration\":{\"reload_err\":\"the configuration is refused: ").await?;
        let level = domain.server.command(&["logger", "get"]).await?.ok()?;
        ensure!(level.contains("Logger Level : debug"), "{level}");

        fs::write(&domain.server.conf, good)?;
        reload(&domain, &[]).await?.ok()?;
        ready("\"server.configuration\":{}").await
    })
}

#[test]
fn a_hangup_ends_a_server_unless_its_configuration_or_a_supervisor_wants_it_to_reload() -> Result<()> {
    case(async |scratch| {
        let mut domain = Domain::builder().start(scratch).await?;
        if !is_ours(&domain) {
            return Ok(());
        }
        domain.server.process()?.signal(Signal::SIGHUP)?;
        ensure!(!domain.server.process()?.exit().await?.success());

        domain.server.starter = vec!["env".to_owned(), "NOTIFY_SOCKET=/nowhere".to_owned()];
        hung_up(&mut domain).await?;
        domain.server.starter = Vec::new();
        let block = "    experimental {\n        steeple {\n            reload_on_hup = true\n        }\n    }\n";
        domain.server.reconfigure(|conf| conf.replacen("server {\n", &format!("server {{\n{block}"), 1))?;
        hung_up(&mut domain).await
    })
}

/// Starts the server, which is to log less after a SIGHUP.
async fn hung_up(domain: &mut Domain) -> Result<()> {
    domain.server.start().await?;
    let before = domain.server.reconfigure(less_logged)?;
    domain.server.process()?.signal(Signal::SIGHUP)?;
    let line = domain.server.process()?.line("Configuration reloaded").await?;
    ensure!(line.contains("changed=\"[server.log_level]\""), "{line}");
    fs::write(&domain.server.conf, before)?;
    Ok(())
}

#[test]
fn a_plugins_own_file_is_read_again_at_sigusr1_and_a_bad_one_leaves_the_plugin_as_it_was() -> Result<()> {
    case(async |scratch| {
        let (mut domain, mut agent) = with_a_file(scratch).await?;
        let file = scratch.path().join("x509pop.conf");
        let text = fs::read_to_string(&file)?;
        let mut again = async |text: &str, told: &str| {
            fs::write(&file, text)?;
            domain.server.process()?.signal(Signal::SIGUSR1)?;
            domain.server.process()?.line(told).await
        };
        let line = again(&text, "Plugin not reconfigured since the config is unchanged").await?;
        ensure!(line.contains("hash="), "{line}");
        again("ca_bundle_path = \"/nowhere\"", "Failed to reconfigure plugin").await?;
        agent.start().await?;
        agent.kill();
        fs::remove_dir_all(&agent.data_dir)?;
        let line = again(&text.replace(TEMPLATE, "/x509pop/renamed"), "Plugin reconfigured").await?;
        ensure!(line.contains("old_hash=") && line.contains("new_hash="), "{line}");
        agent.start().await?;
        domain
            .server
            .command(&["agent", "show", "-spiffeID", &domain.id("/spire/agent/x509pop/renamed")])
            .await?
            .ok()?;
        Ok(())
    })
}

/// The server's attestor has its keys in a file of its own.
async fn with_a_file(scratch: &Scratch) -> Result<(Domain, steeple_tests::Agent)> {
    let (mut domain, agent) = server_and_agent(Domain::builder().write(scratch)?).await?;
    domain.server.stop().await?;
    let file = scratch.path().join("x509pop.conf");
    let conf = fs::read_to_string(&domain.server.conf)?;
    let begin = "NodeAttestor \"x509pop\" {\n        plugin_data {\n";
    let (head, rest) = conf.split_once(begin).unwrap_or_default();
    let (keys, tail) = rest.split_once("        }\n").unwrap_or_default();
    ensure!(keys.contains(TEMPLATE), "{conf}");
    fs::write(&file, keys)?;
    let block = format!("NodeAttestor \"x509pop\" {{\n        plugin_data_file = \"{}\"\n", file.display());
    fs::write(&domain.server.conf, format!("{head}{block}{tail}"))?;
    domain.server.start().await?;
    Ok((domain, agent))
}
