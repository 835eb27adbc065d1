//! Configurations in the shape that SPIRE's charts for Helm render, with values of our own: JSON with a list around each
//! block, `null` for a plugin without keys, numbers as texts, and plugins that there cannot be yet.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use steeple_tests::{
    Agent, Binaries, Bootstrap, Domain, Installation, Scratch, case, free_port, http, skipped_on_the_reference, until,
};

use crate::mistakes::ends_with;
use crate::taint::Above;

const TRUST_DOMAIN: &str = "cluster.test";
const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/server");

/// A configuration, and what is said of its plugins.
struct Rendered {
    file: &'static str,
    /// Those that are not built in yet.
    missing: &'static [&'static str],
    /// Those that are programs.
    external: &'static [&'static str],
}

const OF_THE_SERVER: [Rendered; 4] = [
    Rendered {
        file: "server-default.conf",
        missing: &["BundlePublisher \"k8s_configmap\"", "NodeAttestor \"k8s_psat\""],
        external: &[],
    },
    Rendered {
        file: "server-many.conf",
        missing: &[
            "BundlePublisher \"aws_rolesanywhere_trustanchor\"",
            "BundlePublisher \"aws_s3\"",
            "BundlePublisher \"gcp_cloudstorage\"",
            "BundlePublisher \"k8s_configmap\"",
            "NodeAttestor \"aws_iid\"",
            "NodeAttestor \"gcp_iit\"",
            "NodeAttestor \"http_challenge\"",
            "NodeAttestor \"k8s_psat\"",
            "Notifier \"k8sbundle\"",
        ],
        external: &["CredentialComposer \"cel\"", "NodeAttestor \"tpm\""],
    },
    Rendered {
        file: "server-mysql.conf",
        missing: &["NodeAttestor \"k8s_psat\"", "UpstreamAuthority \"cert-manager\""],
        external: &[],
    },
    Rendered {
        file: "server-postgres.conf",
        missing: &["KeyManager \"aws_kms\"", "NodeAttestor \"k8s_psat\"", "UpstreamAuthority \"vault\""],
        external: &[],
    },
];

const OF_THE_AGENT: [Rendered; 2] = [
    Rendered {
        file: "agent-default.conf",
        missing: &["NodeAttestor \"k8s_psat\"", "WorkloadAttestor \"k8s\""],
        external: &[],
    },
    Rendered {
        file: "agent-many.conf",
        missing: &["NodeAttestor \"http_challenge\"", "WorkloadAttestor \"k8s\""],
        external: &[],
    },
];

#[test]
fn validate_and_run_name_all_plugins_of_a_chart_that_there_cannot_be_yet_and_nothing_else() -> Result<()> {
    if !is_ours()? {
        return Ok(());
    }
    case(async |scratch| {
        let Binaries { server, agent } = Binaries::find()?;
        for (program, rendered) in
            OF_THE_SERVER.iter().map(|it| (server, it)).chain(OF_THE_AGENT.iter().map(|it| (agent, it)))
        {
            let place = Place::new(scratch)?;
            let mut daemon = Installation::new("daemon", program, &place.dir);
            fs::write(&daemon.conf, place.text(rendered)?)?;
            let told = rendered.told();
            let text = daemon.validate(&daemon.conf).await?.refused()?;
            ensure!(text.trim_end().ends_with(&format!(": {told}")), "{}: {text}", rendered.file);
            daemon.launch(&[])?;
            // As a field of the log has it.
            let logged = told.replace('"', "\\\"");
            ends_with(daemon.process()?, &[&logged]).await.context(rendered.file)?;
            let left: BTreeSet<_> =
                fs::read_dir(&place.dir)?.map(|it| anyhow::Ok(it?.file_name())).collect::<Result<_>>()?;
            let files = ["above.key", "above.pem", "daemon.conf", "daemon.log"];
            ensure!(left == files.map(Into::into).into(), "{}: {left:?}", rendered.file);
        }
        Ok(())
    })
}

#[test]
fn a_server_starts_with_what_a_chart_renders_without_the_plugins_that_there_cannot_be_yet() -> Result<()> {
    if !is_ours()? {
        return Ok(());
    }
    case(async |scratch| {
        for rendered in &OF_THE_SERVER[..2] {
            let place = Place::new(scratch)?;
            let mut server = Installation::new("server", &Binaries::find()?.server, &place.dir);
            let mut conf = without(&place.text(rendered)?, rendered)?;
            conf["server"]["bind_port"] = json!(free_port()?.to_string());
            fs::write(&server.conf, serde_json::to_string_pretty(&conf)?)?;
            server.validate(&server.conf).await?.ok()?;
            // The charts leave this one at its default.
            let socket = server.socket.to_string_lossy().into_owned();
            server.launch(&["-socketPath", &socket])?;
            server.healthy().await.context(rendered.file)?;
            until_ready(place.health).await?;
            if conf["telemetry"].is_array() {
                let (status, text) = http(place.metrics, "GET /metrics", "").await?;
                ensure!(status == 200 && text.contains("spire_server_started"), "{status}: {text}");
            }
            server.stop().await?;
        }
        Ok(())
    })
}

#[test]
fn an_agent_starts_with_what_a_chart_renders_without_the_plugins_that_there_cannot_be_yet() -> Result<()> {
    if !is_ours()? {
        return Ok(());
    }
    case(async |scratch| {
        let domain = Domain::builder().name(TRUST_DOMAIN).start(scratch).await?;
        let bundle = domain.server.command(&["bundle", "show", "-format", "spiffe"]).await?.ok()?;
        for rendered in &OF_THE_AGENT {
            let place = Place::new(scratch)?;
            fs::create_dir_all(place.dir.join("run/bundle"))?;
            fs::write(place.dir.join("run/bundle/bundle.spiffe"), &bundle)?;
            let mut conf = without(&place.text(rendered)?, rendered)?;
            // In whose place a token may stand, and what the charts render when it is switched on.
            conf["plugins"]["NodeAttestor"] = json!([{ "k8s_psat": { "plugin_data": { "cluster": "east" } } }]);
            conf["plugins"]["WorkloadAttestor"] = json!([{ "unix": { "plugin_data": null } }]);
            let mut agent = domain.agent_that_begins("node", Bootstrap::Insecure)?;
            fs::write(&agent.conf, serde_json::to_string_pretty(&conf)?)?;
            agent.socket = place.dir.join("tmp/public/spire-agent.sock");
            serves(&domain, &mut agent).await.context(rendered.file)?;
            until_ready(place.health).await?;
            agent.stop().await?;
        }
        Ok(())
    })
}

/// An agent with a token cannot attest again, and the charts ask for that.
async fn serves(domain: &Domain, agent: &mut Agent) -> Result<()> {
    let (token, port) = (domain.server.token(&[]).await?, domain.server.port.to_string());
    let server = ["-serverAddress", "127.0.0.1", "-serverPort", &port];
    agent.launch(&[&server[..], &["-joinToken", &token, "-rebootstrapMode", "never"]].concat())?;
    agent.healthy().await?;
    let id = domain.id(&format!("/{token}"));
    domain.entry(&domain.id(&format!("/spire/agent/join_token/{token}")), &format!("/{token}"), &[]).await?;
    agent.workload().follow().until_id(&id).await?;
    Ok(())
}

async fn until_ready(port: u16) -> Result<()> {
    let ready = async || http(port, "GET /ready", "").await.is_ok_and(|(status, _)| status == 200).then_some(());
    until("readiness", ready).await
}

/// What stands on this host in the place of a container's files and ports.
struct Place {
    dir: PathBuf,
    health: u16,
    metrics: u16,
}

impl Place {
    fn new(scratch: &Scratch) -> Result<Self> {
        let dir = scratch.folder()?;
        Above { dir: dir.clone() }.put()?;
        Ok(Self { dir, health: free_port()?, metrics: free_port()? })
    }

    /// A configuration for this place.
    fn text(&self, rendered: &Rendered) -> Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("whole/data/helm").join(rendered.file);
        let (text, dir) = (fs::read_to_string(&path)?, self.dir.display());
        let places = [
            // Before anything is put in that may have this number in it.
            ("9988", self.metrics.to_string()),
            ("/run/spire/config/", format!("{POLICY}/")),
            ("/run/spire/upstream_ca/tls.crt", format!("{dir}/above.pem")),
            ("/run/spire/upstream_ca/tls.key", format!("{dir}/above.key")),
            ("/bundle-endpoint-tls/tls.crt", format!("{dir}/above.pem")),
            ("/bundle-endpoint-tls/tls.key", format!("{dir}/above.key")),
            ("/run/spire/", format!("{dir}/run/")),
            ("/var/lib/spire", format!("{dir}/lib")),
            ("/tmp/spire-agent/", format!("{dir}/tmp/")),
            ("0.0.0.0", "127.0.0.1".to_owned()),
            ("\"8080\"", format!("\"{}\"", self.health)),
            ("\"9982\"", format!("\"{}\"", self.health)),
        ];
        Ok(places.iter().fold(text, |text, (from, to)| text.replace(from, to)))
    }
}

impl Rendered {
    fn told(&self) -> String {
        let missing = format!("these plugins are not built in yet: {}", self.missing.join(", "));
        if self.external.is_empty() {
            return missing;
        }
        format!("{missing}; external plugins (plugin_cmd) are not supported yet: {}", self.external.join(", "))
    }
}

/// A configuration without the plugins that there cannot be yet.
fn without(text: &str, rendered: &Rendered) -> Result<Value> {
    let Rendered { file, missing, external } = rendered;
    let mut conf: Value = serde_json::from_str(text)?;
    let mut taken = 0;
    for (kind, blocks) in conf["plugins"].as_object_mut().context("no plugins")? {
        let blocks = blocks.as_array_mut().context("no list")?;
        let all = blocks.len();
        let is_missing = |name: &str| {
            let block = format!("{kind} {name:?}");
            missing.iter().chain(*external).any(|missing| **missing == block)
        };
        blocks.retain(|block| block.as_object().is_some_and(|block| !block.keys().any(|name| is_missing(name))));
        taken += all - blocks.len();
    }
    ensure!(taken == missing.len() + external.len(), "{file} has not all that are missing");
    Ok(conf)
}

fn is_ours() -> Result<bool> {
    let Binaries { server, agent } = Binaries::find()?;
    let ours = !server.is_reference && !agent.is_reference;
    if !ours {
        skipped_on_the_reference("configurations of charts", "it has all plugins, and looks for Kubernetes");
    }
    Ok(ours)
}
