//! The controller manager of SPIRE, in its static mode, at our server and at theirs: `spire-controller-manager` beside the
//! daemons of `STEEPLE_PEER_BIN`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use steeple_tests::{Binaries, Daemon, Domain, Program, Scratch, Server, cannot_run_here, case, free_port, say};

/// It looks this often at its manifests and at the server, in its configuration's unit.
const EACH_SECOND: u64 = 1_000_000_000;
/// What the IDs of the manager's entries begin with.
const ITS: &str = "scm.";

#[test]
fn the_controller_manager_reconciles_entries_of_our_server() -> Result<()> {
    reconciles("our server", &Binaries::find()?.server)
}

#[test]
fn the_controller_manager_reconciles_entries_of_their_server() -> Result<()> {
    reconciles("their server", &Binaries::peers()?.server)
}

fn reconciles(whose: &str, server: &Program) -> Result<()> {
    case(async |scratch| {
        let beside = Binaries::peers()?.server.path.with_file_name("spire-controller-manager");
        if !beside.is_file() {
            return cannot_run_here("the controller manager", &format!("there is no {}", beside.display()));
        }
        let mut domain = Domain::builder().write(scratch)?;
        domain.server.program = server.clone();
        domain.server.start().await?;
        let server = &domain.server;
        let node = ["-parentID", "spiffe://example.org/node", "-selector", "unix:uid:7"];
        let by_hand = server.create_entry(&[&node[..], &["-spiffeID", "spiffe://example.org/hand"]].concat()).await?;

        let manifests = Manifests::new(scratch)?;
        manifests.write("web", "1001", "web.example.org")?;
        manifests.write("db", "1002", "db.example.org")?;
        let configuration = scratch.path().join("manager.yaml");
        fs::write(&configuration, manifests.configuration(server)?)?;
        let args = ["-config", &configuration.to_string_lossy()];
        let mut manager = Daemon::start("manager", &beside, &args, &scratch.path().join("manager.log"))?;

        let created = [("db", "1002", "db.example.org"), ("web", "1001", "web.example.org")];
        settles(&mut manager, server, "what the manifests say", &created).await?;

        manifests.write("web", "1003", "web2.example.org")?;
        let updated = [("db", "1002", "db.example.org"), ("web", "1003", "web2.example.org")];
        settles(&mut manager, server, "a manifest that changed", &updated).await?;

        let web = entries(server).await?.remove("web").context("no web")?;
        let id = web["id"].as_str().context("no ID")?.to_owned();
        let flags =
            ["-entryID", &id, "-parentID", "spiffe://example.org/node", "-spiffeID", "spiffe://example.org/web"];
        server.command(&[&["entry", "update"], &flags[..], &["-selector", "unix:uid:9"]].concat()).await?.ok()?;
        settles(&mut manager, server, "an entry that was changed by hand", &updated).await?;

        let db = entries(server).await?.remove("db").context("no db")?;
        server.command(&["entry", "delete", "-entryID", db["id"].as_str().context("no ID")?]).await?.ok()?;
        settles(&mut manager, server, "an entry that was deleted by hand", &updated).await?;

        manifests.remove("db")?;
        settles(&mut manager, server, "a manifest that is gone", &updated[1..]).await?;
        ensure!(server.entry_ids().await?.contains(&by_hand), "an entry of others is gone");
        say(&format!("peer: the controller manager created, updated, put back and deleted entries of {whose}"));
        Ok(())
    })
}

/// What the manager is to bring about.
struct Manifests(PathBuf);

impl Manifests {
    fn new(scratch: &Scratch) -> Result<Self> {
        let directory = scratch.path().join("manifests");
        fs::create_dir(&directory)?;
        Ok(Self(directory))
    }

    fn configuration(&self, server: &Server) -> Result<String> {
        let (manifests, socket, port) = (self.0.display(), server.socket.display(), free_port()?);
        Ok(format!(
            "apiVersion: spire.spiffe.io/v1alpha1\nkind: ControllerManagerConfig\nmetrics:\n  bindAddress: \"0\"\n\
             healthProbe:\n  healthProbeBindAddress: \"127.0.0.1:{port}\"\nentryIDPrefix: scm\nclassName: site\n\
             clusterName: site\ntrustDomain: example.org\nspireServerSocketPath: {socket}\n\
             staticManifestPath: {manifests}\ngcInterval: {EACH_SECOND}\nreconcile:\n  clusterSPIFFEIDs: false\n  \
             clusterStaticEntries: true\n  clusterFederatedTrustDomains: false\n"
        ))
    }

    fn write(&self, name: &str, uid: &str, dns_name: &str) -> Result<()> {
        let text = format!(
            "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterStaticEntry\nmetadata:\n  name: {name}\nspec:\n  \
             className: site\n  parentID: spiffe://example.org/node\n  spiffeID: spiffe://example.org/{name}\n  \
             selectors: [\"unix:uid:{uid}\"]\n  dnsNames: [\"{dns_name}\"]\n"
        );
        // It must not be read half written.
        let written = self.0.with_extension("new");
        fs::write(&written, text)?;
        Ok(fs::rename(written, self.0.join(format!("{name}.yaml")))?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.0.join(format!("{name}.yaml")))?)
    }
}

/// The manager's entries by the last part of their SPIFFE IDs.
async fn entries(server: &Server) -> Result<BTreeMap<String, Value>> {
    let answer = server.command(&["entry", "show", "-output", "json"]).await?.json()?;
    let all = answer["entries"].as_array().context("no entries")?;
    let its = all.iter().filter(|entry| entry["id"].as_str().is_some_and(|id| id.starts_with(ITS)));
    let name = |entry: &Value| entry["spiffe_id"]["path"].as_str().map(|path| path.trim_start_matches('/').to_owned());
    its.map(|entry| Ok((name(entry).context("no SPIFFE ID")?, entry.clone()))).collect()
}

/// Waits until the manager's entries have these names, users and DNS names, and no others.
async fn settles(manager: &mut Daemon, server: &Server, what: &str, wanted: &[(&str, &str, &str)]) -> Result<()> {
    let is_settled = async || {
        let entries = entries(server).await.ok()?;
        let as_wanted = |(name, uid, dns_name): &(&str, &str, &str)| {
            entries.get(*name).is_some_and(|entry| {
                entry["selectors"] == serde_json::json!([{ "type": "unix", "value": format!("uid:{uid}") }])
                    && entry["dns_names"] == serde_json::json!([dns_name])
                    && entry["parent_id"]["path"] == "/node"
            })
        };
        (entries.len() == wanted.len() && wanted.iter().all(as_wanted)).then_some(())
    };
    manager.until(what, is_settled).await
}
