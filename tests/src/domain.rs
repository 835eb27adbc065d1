use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Uid;

use crate::{Agent, Binaries, Installation, Scratch, Server, free_port};

/// A trust domain: one server, on SQLite unless the case says otherwise, with keys on disk, and whatever agents and further
/// servers the case adds.
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its first server.
    pub server: Server,
    dir: PathBuf,
    fast: bool,
    /// What the configuration of each server has in its block `server`.
    server_keys: String,
    database: Database,
}

/// The database that the servers of a trust domain share.
#[derive(Clone, Debug)]
pub struct Database {
    /// `database_type`
    pub kind: &'static str,
    /// `connection_string`
    pub connection_string: String,
}

/// How an agent knows a server that it has never met.
#[derive(Clone, Copy)]
pub enum Bootstrap<'a> {
    /// By a file with the bundle as PEM.
    Path(&'a Path),
    /// By a URL, and what is there: `pem` or `spiffe`.
    Url(&'a str, &'a str),
    /// By the Workload API of another agent.
    WorkloadApi(&'a Agent),
    /// Not at all.
    Insecure,
}

/// What a trust domain is made with.
#[derive(Default)]
pub struct DomainBuilder {
    name: Option<String>,
    server_keys: String,
    default_intervals: bool,
    database: Option<Database>,
}

impl Domain {
    /// A trust domain `example.org` with the defaults of the configuration file.
    pub fn builder() -> DomainBuilder {
        DomainBuilder::default()
    }

    /// A new agent that has attested with a join token and is healthy.
    ///
    /// # Errors
    /// Attestation fails.
    pub async fn agent(&self, name: &str) -> Result<Agent> {
        let mut agent = self.new_agent(name).await?;
        self.attest(&mut agent).await?;
        Ok(agent)
    }

    /// Starts an agent with a new join token, and waits until it is healthy.
    ///
    /// # Errors
    /// Attestation fails.
    pub async fn attest(&self, agent: &mut Agent) -> Result<()> {
        let token = self.server.token(&[]).await?;
        agent.launch(&["-joinToken", &token])?;
        agent.healthy().await?;
        agent.id = self.id(&format!("/spire/agent/join_token/{token}"));
        Ok(())
    }

    /// The files of a new agent, which knows its server by a file and is not started.
    ///
    /// # Errors
    /// The server is not there to give the bundle that the agent begins with, or a file cannot be written.
    pub async fn new_agent(&self, name: &str) -> Result<Agent> {
        let bundle = self.dir.join(format!("{name}.pem"));
        fs::write(&bundle, self.server.bundle_pem().await?)?;
        self.agent_that_begins(name, Bootstrap::Path(&bundle))
    }

    /// The files of a new agent, which is not started.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn agent_that_begins(&self, name: &str, bootstrap: Bootstrap<'_>) -> Result<Agent> {
        let Self { name: trust_domain, server, dir, fast, .. } = self;
        let installation = Installation::new(name, &Binaries::find()?.agent, dir);
        let bootstrap = match bootstrap {
            Bootstrap::Path(path) => format!("trust_bundle_path = \"{}\"", path.display()),
            Bootstrap::Url(url, format) => {
                format!("trust_bundle_url = \"{url}\"\n    trust_bundle_format = \"{format}\"")
            }
            Bootstrap::WorkloadApi(upper) => {
                format!("trust_bundle_spiffe_workload_api = \"unix://{}\"", upper.socket.display())
            }
            Bootstrap::Insecure => "insecure_bootstrap = true".to_owned(),
        };
        let interval = if *fast { "experimental {\n        sync_interval = \"1s\"\n    }" } else { "" };
        let text = format!(
            r#"agent {{
    trust_domain = "{trust_domain}"
    server_address = "127.0.0.1"
    server_port = {port}
    socket_path = "{socket}"
    data_dir = "{data_dir}"
    {bootstrap}
    log_level = "DEBUG"
    {interval}
}}
plugins {{
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
    KeyManager "disk" {{
        plugin_data {{
            directory = "{data_dir}"
        }}
    }}
    WorkloadAttestor "unix" {{
        plugin_data {{}}
    }}
}}
"#,
            port = server.port,
            socket = installation.socket.display(),
            data_dir = installation.data_dir.display(),
        );
        fs::write(&installation.conf, text)?;
        Ok(Agent { id: String::new(), installation })
    }

    /// The files of another server on the same database, or on one that is reached in another way. It is not started.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn another_server(&self, name: &str, database: Option<&Database>) -> Result<Server> {
        write_server(name, &self.name, &self.dir, &self.server_keys, |_| database.unwrap_or(&self.database).clone())
    }

    /// Creates an entry for the processes of this user below `parent`, with further flags of `entry create`. Returns
    /// its ID.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn entry(&self, parent: &str, path: &str, flags: &[&str]) -> Result<String> {
        let (id, selector) = (self.id(path), own_selector());
        let args = ["-parentID", parent, "-spiffeID", &id, "-selector", &selector];
        self.server.create_entry(&[&args, flags].concat()).await
    }

    /// The SPIFFE ID with a path that begins with a slash.
    pub fn id(&self, path: &str) -> String {
        format!("spiffe://{}{path}", self.name)
    }
}

impl DomainBuilder {
    /// Another trust domain than `example.org`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How long an agent's own SVID lives.
    pub fn agent_ttl(self, ttl: &str) -> Self {
        self.server_key("agent_ttl", ttl)
    }

    /// How long an X.509-SVID lives whose entry does not say.
    pub fn x509_svid_ttl(self, ttl: &str) -> Self {
        self.server_key("default_x509_svid_ttl", ttl)
    }

    /// A text value in the block `server`.
    pub fn server_key(self, key: &str, value: &str) -> Self {
        self.server_text(&format!("{key} = \"{value}\""))
    }

    /// Any lines in the block `server`.
    pub fn server_text(mut self, text: &str) -> Self {
        let _ = writeln!(self.server_keys, "    {text}");
        self
    }

    /// The intervals at which daemons look for changes are those of the program. Otherwise they are a second, so that
    /// a daemon that polls does not slow the cases down.
    pub fn default_intervals(mut self) -> Self {
        self.default_intervals = true;
        self
    }

    /// Writes the files and starts the server.
    ///
    /// # Errors
    /// It does not become healthy.
    pub async fn start(self, scratch: &Scratch) -> Result<Domain> {
        let mut domain = self.write(scratch)?;
        domain.server.start().await?;
        Ok(domain)
    }

    /// Another database than a file of the server's.
    pub fn database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// Writes the files; the server is not started.
    ///
    /// # Errors
    /// They cannot be written, or there is no server to run.
    pub fn write(self, scratch: &Scratch) -> Result<Domain> {
        let Self { name, mut server_keys, default_intervals, database } = self;
        let (name, dir) = (name.unwrap_or("example.org".to_owned()), scratch.folder()?);
        if !default_intervals {
            server_keys.insert_str(0, "    experimental {\n        cache_reload_interval = \"1s\"\n    }\n");
        }
        let mut used = None;
        let server = write_server("server", &name, &dir, &server_keys, |data_dir| {
            let file = || Database {
                kind: "sqlite3",
                connection_string: data_dir.join("datastore.sqlite3").to_string_lossy().into_owned(),
            };
            used.insert(database.unwrap_or_else(file)).clone()
        })?;
        let database = used.context("no database")?;
        Ok(Domain { name, server, dir, fast: !default_intervals, server_keys, database })
    }
}

/// The files of one server; `database` is given its data directory.
fn write_server(
    name: &str,
    trust_domain: &str,
    dir: &Path,
    keys: &str,
    database: impl FnOnce(&Path) -> Database,
) -> Result<Server> {
    let (installation, port) = (Installation::new(name, &Binaries::find()?.server, dir), free_port()?);
    let Database { kind, connection_string } = database(&installation.data_dir);
    let text = format!(
        r#"server {{
    trust_domain = "{trust_domain}"
    bind_address = "127.0.0.1"
    bind_port = {port}
    socket_path = "{socket}"
    data_dir = "{data_dir}"
    log_level = "DEBUG"
    ratelimit {{
        attestation = false
    }}
{keys}}}
plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "{kind}"
            connection_string = "{connection_string}"
        }}
    }}
    KeyManager "disk" {{
        plugin_data {{
            keys_path = "{data_dir}/keys.json"
        }}
    }}
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
}}
"#,
        socket = installation.socket.display(),
        data_dir = installation.data_dir.display(),
    );
    fs::write(&installation.conf, text)?;
    Ok(Server { port, installation })
}

/// What the attestor `unix` finds out about this process.
pub fn own_selector() -> String {
    format!("unix:uid:{}", Uid::current())
}
