//! From plugin blocks to running plugins: which are named, how many of a type there must be, and which are built in.

mod loaded;
mod loading;
mod missing;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use steeple_config::plugins::{PluginBlock, PluginData};
use steeple_spiffe::TrustDomain;
use steeple_transport::status::code_name;
use tracing::debug;

use crate::in_use::InUse;
use crate::{
    Configuration, Host, NO_CONFIGURATION, PluginError, bundle_publisher, credential_composer, key_manager,
    node_attestor, upstream_authority, workload_attestor,
};
pub use loaded::{Loaded, Renewed};
use loaded::{Told, read_now};
use loading::Loading;
pub use missing::Missing;
use missing::{Known, overrides_join_token};

/// Looks at a plugin's configuration without making it.
pub type Check = fn(&Configuration) -> Result<(), PluginError>;

/// How a built-in of one type is made. `T` is the type's trait.
pub struct BuiltIn<T: ?Sized + 'static> {
    /// Under which configuration files name it.
    pub name: &'static str,
    /// Makes it from its configuration.
    pub build: fn(&Configuration) -> Result<Arc<T>, PluginError>,
    /// What is asked in the place of [`BuiltIn::build`] where a plugin's configuration is checked, for one that can be made
    /// on its own host alone.
    pub check: Option<Check>,
}

/// The built-ins of a server.
pub struct ServerBuiltIns {
    /// KeyManager.
    pub key_managers: &'static [BuiltIn<dyn key_manager::Plugin>],
    /// NodeAttestor.
    pub node_attestors: &'static [BuiltIn<dyn node_attestor::ServerPlugin>],
    /// UpstreamAuthority.
    pub upstream_authorities: &'static [BuiltIn<dyn upstream_authority::Plugin>],
    /// CredentialComposer.
    pub credential_composers: &'static [BuiltIn<dyn credential_composer::Plugin>],
    /// BundlePublisher.
    pub bundle_publishers: &'static [BuiltIn<dyn bundle_publisher::Plugin>],
}

/// The built-ins of an agent.
pub struct AgentBuiltIns {
    /// KeyManager.
    pub key_managers: &'static [BuiltIn<dyn key_manager::Plugin>],
    /// NodeAttestor.
    pub node_attestors: &'static [BuiltIn<dyn node_attestor::AgentPlugin>],
    /// WorkloadAttestor.
    pub workload_attestors: &'static [BuiltIn<dyn workload_attestor::Plugin>],
}

/// The plugins of a server.
#[derive(Clone, Debug)]
pub struct ServerPlugins {
    /// The one key manager.
    pub key_manager: key_manager::KeyManager,
    /// Any number, in their order.
    pub node_attestors: Vec<node_attestor::ServerNodeAttestor>,
    /// One at most.
    pub upstream_authority: Option<upstream_authority::UpstreamAuthority>,
    /// Any number, each of which is given what the one before it has made.
    pub credential_composers: Vec<credential_composer::CredentialComposer>,
    /// Any number.
    pub bundle_publishers: Vec<bundle_publisher::BundlePublisher>,
    /// All of them.
    pub loaded: Loaded,
}

/// The plugins of an agent.
#[derive(Clone)]
pub struct AgentPlugins {
    /// The one key manager.
    pub key_manager: key_manager::KeyManager,
    /// The one node attestor.
    pub node_attestor: node_attestor::AgentNodeAttestor,
    /// At least one.
    pub workload_attestors: Vec<workload_attestor::WorkloadAttestor>,
    /// All of them.
    pub loaded: Loaded,
}

/// Why the plugins cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No plugin type has this name.
    #[error("unsupported plugin type {0:?}")]
    UnsupportedType(String),
    /// No built-in of the type has this name.
    #[error("failed to load plugin {name:?}: {}", no_built_in(kind, name))]
    NoBuiltIn {
        /// The type.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// There cannot be these plugins yet.
    #[error("{}", missing::in_words(.0))]
    Missing(Vec<Missing>),
    /// There are too few or too many of a type.
    #[error("plugin type {kind:?} constraint not satisfied: expected {expected} but got {count}")]
    Count {
        /// The type.
        kind: &'static str,
        /// How many there should be.
        expected: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A plugin refused its configuration.
    #[error("failed to configure plugin {name:?}: {}", said(error))]
    Configure {
        /// The type.
        kind: &'static str,
        /// The name.
        name: String,
        /// What it said.
        error: PluginError,
    },
    /// A plugin that takes no configuration got this. The server runs all the same.
    #[error("plugin {name:?} of type {kind:?}: unknown setting {setting:?} encountered")]
    UnknownSetting {
        /// The type.
        kind: &'static str,
        /// The name.
        name: String,
        /// The key.
        setting: String,
    },
    /// What join tokens are checked with is the server's own, and stays it.
    #[error("the built-in join_token node attestor cannot be overridden by an external plugin")]
    JoinTokenOverridden,
}

fn no_built_in(kind: &str, name: &str) -> String {
    format!("no built-in plugin {name:?} for type {kind:?}")
}

/// A plugin's refusal as the call that it answers: an external plugin could say no more. That there is nothing to
/// configure is said by the host.
fn said(PluginError { code, message }: &PluginError) -> String {
    if message == NO_CONFIGURATION {
        return message.clone();
    }
    format!("rpc error: code = {} desc = {message}", code_name(*code))
}

/// Loads a server's plugins. DataStore blocks are the caller's.
///
/// # Errors
/// See [`LoadError`].
pub fn server(
    blocks: &[PluginBlock],
    built_ins: &ServerBuiltIns,
    trust_domain: &TrustDomain,
    host: &Host,
) -> Result<ServerPlugins, LoadError> {
    let blocks = Blocks::new(blocks, OF_A_SERVER)?;
    blocks.join_token_is_built_in()?;
    let mut loading = Loading::new(&blocks, Daemon { trust_domain, host }, UNCONFIGURED_OF_A_SERVER);
    match load_server(&mut loading, built_ins) {
        Ok(plugins) => Ok(ServerPlugins { loaded: loading.loaded, ..plugins }),
        Err(error) => {
            loading.loaded.unload();
            Err(error)
        }
    }
}

/// In the order of the file; whether there are enough is looked at when all are there.
fn load_server(loading: &mut Loading<'_>, built_ins: &ServerBuiltIns) -> Result<ServerPlugins, LoadError> {
    let (mut key_managers, mut node_attestors, mut upstream_authorities) = (Vec::new(), Vec::new(), Vec::new());
    let (mut credential_composers, mut bundle_publishers) = (Vec::new(), Vec::new());
    for block in &loading.blocks.enabled {
        match block.kind.as_str() {
            key_manager::TYPE => {
                key_managers.push(loading.load_for_good(key_manager::TYPE, built_ins.key_managers, block)?);
            }
            node_attestor::TYPE => {
                let (name, plugin) = loading.load(node_attestor::TYPE, built_ins.node_attestors, block)?;
                node_attestors.push(node_attestor::ServerNodeAttestor::in_use(&name, plugin));
            }
            upstream_authority::TYPE => {
                let built_ins = built_ins.upstream_authorities;
                let (name, plugin) = loading.load(upstream_authority::TYPE, built_ins, block)?;
                upstream_authorities.push(upstream_authority::UpstreamAuthority::in_use(&name, plugin));
            }
            credential_composer::TYPE => {
                let built_ins = built_ins.credential_composers;
                let (name, plugin) = loading.load(credential_composer::TYPE, built_ins, block)?;
                credential_composers.push(credential_composer::CredentialComposer::in_use(&name, plugin));
            }
            bundle_publisher::TYPE => {
                let (name, plugin) = loading.load(bundle_publisher::TYPE, built_ins.bundle_publishers, block)?;
                bundle_publishers.push(bundle_publisher::BundlePublisher::in_use(&name, plugin));
            }
            NOTIFIER => drop(loading.load_for_good::<dyn Absent>(NOTIFIER, &[], block)?),
            // DataStore.
            _ => {}
        }
    }
    let (name, plugin) = exactly_one(key_manager::TYPE, &mut key_managers)?;
    one_at_most(upstream_authority::TYPE, upstream_authorities.len())?;
    Ok(ServerPlugins {
        key_manager: key_manager::KeyManager::of_server(&name, plugin),
        node_attestors,
        upstream_authority: upstream_authorities.pop(),
        credential_composers,
        bundle_publishers,
        loaded: Loaded::default(),
    })
}

/// All that is wrong with a server's plugins; if there cannot be some yet, these alone. Those that can be made on their own
/// host alone are asked about their keys; the others are made, and dropped again.
pub fn check_server(
    blocks: &[PluginBlock],
    built_ins: &ServerBuiltIns,
    trust_domain: &TrustDomain,
    host: &Host,
) -> Vec<LoadError> {
    let (blocks, daemon) = match Blocks::new(blocks, OF_A_SERVER) {
        Ok(blocks) => (blocks, Daemon { trust_domain, host }),
        Err(error) => return vec![error],
    };
    if let Err(missing) = built_ins.cover(blocks.enabled.iter().copied()) {
        return vec![missing];
    }
    let mut wrong = blocks.check(key_manager::TYPE, built_ins.key_managers, daemon);
    wrong.extend(one(key_manager::TYPE, blocks.of(key_manager::TYPE).count()).err());
    wrong.extend(blocks.join_token_is_built_in().err());
    wrong.extend(blocks.join_token_settings());
    wrong.extend(blocks.check(node_attestor::TYPE, built_ins.node_attestors, daemon));
    wrong.extend(blocks.check(upstream_authority::TYPE, built_ins.upstream_authorities, daemon));
    wrong.extend(one_at_most(upstream_authority::TYPE, blocks.of(upstream_authority::TYPE).count()).err());
    wrong.extend(blocks.check(credential_composer::TYPE, built_ins.credential_composers, daemon));
    wrong.extend(blocks.check(bundle_publisher::TYPE, built_ins.bundle_publishers, daemon));
    wrong.extend(blocks.check::<dyn Absent>(NOTIFIER, &[], daemon));
    wrong
}

/// Loads an agent's plugins. `join_token`, when the agent has one, takes the node attestor's place; one must be named,
/// and take its configuration, all the same, as in the reference.
///
/// # Errors
/// See [`LoadError`].
pub fn agent(
    blocks: &[PluginBlock],
    built_ins: &AgentBuiltIns,
    join_token: Option<Arc<dyn node_attestor::AgentPlugin>>,
    trust_domain: &TrustDomain,
    host: &Host,
) -> Result<AgentPlugins, LoadError> {
    let blocks = Blocks::new(blocks, OF_AN_AGENT)?;
    let mut loading = Loading::new(&blocks, Daemon { trust_domain, host }, UNCONFIGURED_OF_AN_AGENT);
    match load_agent(&mut loading, built_ins, join_token.as_ref()) {
        Ok((key_manager, node_attestor, workload_attestors)) => {
            Ok(AgentPlugins { key_manager, node_attestor, workload_attestors, loaded: loading.loaded })
        }
        Err(error) => {
            loading.loaded.unload();
            Err(error)
        }
    }
}

type OfAnAgent = (key_manager::KeyManager, node_attestor::AgentNodeAttestor, Vec<workload_attestor::WorkloadAttestor>);

fn load_agent(
    loading: &mut Loading<'_>,
    built_ins: &AgentBuiltIns,
    join_token: Option<&Arc<dyn node_attestor::AgentPlugin>>,
) -> Result<OfAnAgent, LoadError> {
    let (mut key_managers, mut node_attestors, mut workload_attestors) = (Vec::new(), Vec::new(), Vec::new());
    for block in &loading.blocks.enabled {
        match block.kind.as_str() {
            key_manager::TYPE => {
                key_managers.push(loading.load_for_good(key_manager::TYPE, built_ins.key_managers, block)?);
            }
            node_attestor::TYPE => {
                let (name, plugin) = match join_token {
                    Some(plugin) => (loading.replace(built_ins.node_attestors, block)?, InUse::new(Arc::clone(plugin))),
                    None => loading.load(node_attestor::TYPE, built_ins.node_attestors, block)?,
                };
                node_attestors.push(node_attestor::AgentNodeAttestor::in_use(&name, plugin));
            }
            workload_attestor::TYPE => {
                let (name, plugin) = loading.load(workload_attestor::TYPE, built_ins.workload_attestors, block)?;
                workload_attestors.push(workload_attestor::WorkloadAttestor::in_use(&name, plugin));
            }
            _ => drop(loading.load_for_good::<dyn Absent>(SVID_STORE, &[], block)?),
        }
    }
    let key_manager = exactly_one(key_manager::TYPE, &mut key_managers)?;
    let node_attestor = exactly_one(node_attestor::TYPE, &mut node_attestors)?;
    if workload_attestors.is_empty() {
        return Err(LoadError::Count { kind: workload_attestor::TYPE, expected: "at least 1", count: 0 });
    }
    Ok((key_manager::KeyManager::of_agent(&key_manager.0, key_manager.1), node_attestor, workload_attestors))
}

/// Whether there are the plugins that an agent's blocks name, and as many as it needs. None is made, so that nothing is
/// written, and what a plugin says to its configuration remains to be seen.
///
/// # Errors
/// See [`LoadError`].
pub fn check_agent(blocks: &[PluginBlock], built_ins: &AgentBuiltIns, has_join_token: bool) -> Result<(), LoadError> {
    let blocks = Blocks::new(blocks, OF_AN_AGENT)?;
    built_ins.cover(blocks.enabled.iter().copied(), has_join_token)?;
    one(key_manager::TYPE, blocks.find(key_manager::TYPE, built_ins.key_managers)?.len())?;
    match blocks.find(node_attestor::TYPE, built_ins.node_attestors) {
        Err(LoadError::Missing(_)) if has_join_token => {}
        named => drop(named?),
    }
    one(node_attestor::TYPE, blocks.of(node_attestor::TYPE).count())?;
    if blocks.find(workload_attestor::TYPE, built_ins.workload_attestors)?.is_empty() {
        return Err(LoadError::Count { kind: workload_attestor::TYPE, expected: "at least 1", count: 0 });
    }
    blocks.find::<dyn Absent>(SVID_STORE, &[]).map(drop)
}

/// The types of a server's plugins, and names of the reference's that may not be built in.
const OF_A_SERVER: Known = &[
    ("DataStore", &["sql"]),
    (key_manager::TYPE, &["aws_kms", "azure_key_vault", "gcp_kms", "hashicorp_vault"]),
    (node_attestor::TYPE, NODE_ATTESTORS),
    (upstream_authority::TYPE, &["aws_pca", "awssecret", "cert-manager", "ejbca", "gcp_cas", "spire", "vault"]),
    (NOTIFIER, &["gcs_bundle", "k8sbundle"]),
    (
        bundle_publisher::TYPE,
        &["aws_rolesanywhere_trustanchor", "aws_s3", "azure_blob", "gcp_cloudstorage", "k8s_configmap"],
    ),
    (credential_composer::TYPE, &["uniqueid"]),
];

/// A server's that take no configuration: of them there is no word that they were configured.
const UNCONFIGURED_OF_A_SERVER: &[(&str, &str)] =
    &[(key_manager::TYPE, "memory"), (credential_composer::TYPE, "uniqueid")];

/// An agent's.
const UNCONFIGURED_OF_AN_AGENT: &[(&str, &str)] = &[(key_manager::TYPE, "memory"), (node_attestor::TYPE, JOIN_TOKEN)];

/// The types of an agent's plugins, and names that the reference has of each.
const OF_AN_AGENT: Known = &[
    (key_manager::TYPE, &[]),
    (node_attestor::TYPE, NODE_ATTESTORS),
    (workload_attestor::TYPE, &["docker", "k8s", "slurm", "systemd"]),
    (SVID_STORE, &["aws_secretsmanager", "gcp_secretmanager"]),
];

const NODE_ATTESTORS: &[&str] = &[
    "aws_iid",
    "azure_imds",
    "azure_msi",
    "gcp_iit",
    "http_challenge",
    "join_token",
    "k8s_psat",
    "sshpop",
    "tpm_devid",
    "x509pop",
];

const JOIN_TOKEN: &str = "join_token";
const NOTIFIER: &str = "Notifier";
const SVID_STORE: &str = "SVIDStore";

/// A type of which nothing is built in yet.
#[async_trait]
trait Absent: Send + Sync {}

/// The enabled blocks of a daemon.
struct Blocks<'a> {
    enabled: Vec<&'a PluginBlock>,
    known: Known,
}

/// For whom plugins are made.
#[derive(Clone, Copy)]
struct Daemon<'a> {
    trust_domain: &'a TrustDomain,
    host: &'a Host,
}

impl Daemon<'_> {
    fn configuration(self, block: &PluginBlock) -> Configuration {
        let Self { trust_domain, host } = self;
        Configuration { trust_domain: trust_domain.clone(), data: block.data.clone(), host: host.clone() }
    }
}

impl<'a> Blocks<'a> {
    fn new(blocks: &'a [PluginBlock], known: Known) -> Result<Self, LoadError> {
        if let Some(block) = blocks.iter().find(|block| known.iter().all(|(kind, _)| *kind != block.kind)) {
            return Err(LoadError::UnsupportedType(block.kind.clone()));
        }
        let (enabled, disabled): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| block.enabled);
        for block in disabled {
            debug!(target: "catalog", plugin_name = block.name, plugin_type = block.kind, "Not loading plugin; disabled");
        }
        Ok(Self { enabled, known })
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &'a PluginBlock> {
        self.enabled.iter().copied().filter(move |block| block.kind == kind)
    }

    /// What is wrong with the blocks of one type.
    fn check<T: ?Sized>(
        &self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
        daemon: Daemon<'_>,
    ) -> Vec<LoadError> {
        let check = |block| {
            let built_in = self.built_in(kind, built_ins, block)?;
            let configuration = daemon.configuration(block);
            let checked = match built_in.check {
                Some(check) => check(&configuration),
                None => (built_in.build)(&configuration).map(drop),
            };
            checked.map_err(|error| LoadError::Configure { kind, name: block.name.clone(), error })
        };
        self.of(kind).filter_map(|block| check(block).err()).collect()
    }

    fn make<T: ?Sized>(
        &self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
        block: &PluginBlock,
        daemon: Daemon<'_>,
    ) -> Result<(&'static BuiltIn<T>, Arc<T>, Told), LoadError> {
        let built_in = self.built_in(kind, built_ins, block)?;
        let make = || {
            let (data, hash) = read_now(&block.data)?;
            let plugin = (built_in.build)(&Configuration { data, ..daemon.configuration(block) })?;
            Ok((built_in, plugin, Told { data: block.data.clone(), hash }))
        };
        make().map_err(|error| LoadError::Configure { kind, name: block.name.clone(), error })
    }

    fn join_token_is_built_in(&self) -> Result<(), LoadError> {
        let overridden = self.enabled.iter().any(|block| overrides_join_token(block));
        if overridden { Err(LoadError::JoinTokenOverridden) } else { Ok(()) }
    }

    /// A server runs whatever is said to its join_token, and it has no effect.
    fn join_token_settings(&self) -> impl Iterator<Item = LoadError> {
        let join_token = self.of(node_attestor::TYPE).filter(|block| block.cmd.is_none() && block.name == JOIN_TOKEN);
        let mut seen = HashSet::new();
        let settings = join_token.flat_map(|block| match &block.data {
            PluginData::Fixed(body) => body.items.as_slice(),
            PluginData::None | PluginData::File(_) => &[],
        });
        settings.filter_map(|item| item.keys.first()).filter(move |key| seen.insert(&key.text)).map(|key| {
            LoadError::UnknownSetting {
                kind: node_attestor::TYPE,
                name: JOIN_TOKEN.to_owned(),
                setting: key.text.clone(),
            }
        })
    }

    /// The built-ins of one type that the blocks name.
    fn find<T: ?Sized>(
        &self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
    ) -> Result<Vec<&'static BuiltIn<T>>, LoadError> {
        self.of(kind).map(|block| self.built_in(kind, built_ins, block)).collect()
    }

    fn built_in<T: ?Sized>(
        &self,
        kind: &'static str,
        built_ins: &'static [BuiltIn<T>],
        block: &PluginBlock,
    ) -> Result<&'static BuiltIn<T>, LoadError> {
        let found = built_ins.iter().find(|built_in| built_in.name == block.name);
        match Missing::of(block, self.known, |_, _| found.is_some()) {
            Some(missing) => Err(LoadError::Missing(vec![missing])),
            None => found.ok_or_else(|| LoadError::NoBuiltIn { kind, name: block.name.clone() }),
        }
    }
}

fn exactly_one<T>(kind: &'static str, loaded: &mut Vec<T>) -> Result<T, LoadError> {
    one(kind, loaded.len())?;
    Ok(loaded.remove(0))
}

fn one_at_most(kind: &'static str, count: usize) -> Result<(), LoadError> {
    if count <= 1 { Ok(()) } else { Err(LoadError::Count { kind, expected: "at most 1", count }) }
}

fn one(kind: &'static str, count: usize) -> Result<(), LoadError> {
    if count == 1 { Ok(()) } else { Err(LoadError::Count { kind, expected: "exactly 1", count }) }
}
