//! From the plugins of a configuration file to running plugins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's report")]

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use steeple_catalog::load::{self, AgentBuiltIns, BuiltIn, LoadError, ServerBuiltIns};
use steeple_catalog::node_attestor::{
    AgentAttributes, AgentPlugin, AttestationStream, ChallengeStream, Evidence, ServerPlugin,
};
use steeple_catalog::{
    Configuration, Host, PluginError, credential_composer, key_manager, node_attestor, workload_attestor,
};
use steeple_config::plugins::PluginBlock;
use steeple_config::{hcl, plugins};
use steeple_pki::KeyType;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;
use steeple_testkit::MemoryKeys;
use steeple_testkit::record::Logged;

const SERVER: ServerBuiltIns = ServerBuiltIns {
    key_managers: &[
        BuiltIn { name: "memory", build: keys, check: None },
        BuiltIn { name: "disk", build: keys_at, check: None },
    ],
    node_attestors: &[BuiltIn { name: "join_token", build: looked_at, check: None }],
    upstream_authorities: &[],
    credential_composers: &[
        BuiltIn { name: "first", build: composer, check: None },
        BuiltIn { name: "second", build: composer, check: None },
    ],
    bundle_publishers: &[],
};

const AGENT: AgentBuiltIns = AgentBuiltIns {
    key_managers: SERVER.key_managers,
    node_attestors: &[BuiltIn { name: "join_token", build: attestor, check: None }],
    workload_attestors: &[
        BuiltIn { name: "unix", build: everything, check: None },
        BuiltIn { name: "docker", build: everything, check: None },
    ],
};

fn keys(configuration: &Configuration) -> Result<Arc<dyn key_manager::Plugin>, PluginError> {
    configuration.none()?;
    Ok(Arc::new(MemoryKeys::new()))
}

fn keys_at(configuration: &Configuration) -> Result<Arc<dyn key_manager::Plugin>, PluginError> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Options {
        keys_path: String,
    }
    let Options { keys_path } = configuration.decode()?;
    if keys_path.is_empty() {
        return Err(PluginError::invalid_argument("keys_path is required"));
    }
    Ok(Arc::new(MemoryKeys::new()))
}

fn composer(_: &Configuration) -> Result<Arc<dyn credential_composer::Plugin>, PluginError> {
    Ok(Arc::new(Nothing))
}

fn attestor(configuration: &Configuration) -> Result<Arc<dyn AgentPlugin>, PluginError> {
    configuration.none()?;
    Ok(Arc::new(Nothing))
}

fn looked_at(_: &Configuration) -> Result<Arc<dyn ServerPlugin>, PluginError> {
    Ok(Arc::new(Nothing))
}

fn everything(_: &Configuration) -> Result<Arc<dyn workload_attestor::Plugin>, PluginError> {
    Ok(Arc::new(Nothing))
}

struct Nothing;

impl credential_composer::Plugin for Nothing {}

#[async_trait]
impl AgentPlugin for Nothing {
    async fn aid_attestation(&self, _: &mut dyn AttestationStream) -> Result<(), PluginError> {
        Err(PluginError::unimplemented("not for attesting"))
    }
}

#[async_trait]
impl ServerPlugin for Nothing {
    async fn attest(&self, evidence: Evidence, _: &mut dyn ChallengeStream) -> Result<AgentAttributes, PluginError> {
        let spiffe_id = String::from_utf8_lossy(&evidence.payload).trim().to_owned();
        Ok(AgentAttributes { spiffe_id, selector_values: Vec::new(), can_reattest: true })
    }
}

#[async_trait]
impl ChallengeStream for Nothing {
    async fn ask(&mut self, _: Vec<u8>) -> Result<Vec<u8>, PluginError> {
        Err(PluginError::unimplemented("not for asking"))
    }
}

#[async_trait]
impl workload_attestor::Plugin for Nothing {
    async fn attest(&self, pid: i32) -> Result<Vec<String>, PluginError> {
        if pid == 0 { Err(PluginError::internal("no such process")) } else { Ok(vec![format!("pid:{pid}")]) }
    }
}

/// The blocks inside of `plugins { ... }`.
fn blocks(text: &str) -> Vec<PluginBlock> {
    let body = hcl::parse(format!("plugins {{\n{text}\n}}")).unwrap();
    plugins::read(&body).unwrap().unwrap_or_default()
}

fn host() -> Host {
    Host::new(Clock::system())
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn server(text: &str) -> Result<load::ServerPlugins, LoadError> {
    load::server(&blocks(text), &SERVER, &trust_domain(), &host())
}

fn agent(text: &str) -> Result<load::AgentPlugins, LoadError> {
    load::agent(&blocks(text), &AGENT, None, &trust_domain(), &host())
}

fn refusal<T>(loaded: Result<T, LoadError>) -> String {
    loaded.err().expect("it is refused").to_string()
}

const MEMORY: &str = r#"KeyManager "memory" { plugin_data {} }"#;
const OF_AN_AGENT: &str = r#"
    KeyManager "memory" { plugin_data {} }
    NodeAttestor "join_token" { plugin_data {} }
    WorkloadAttestor "unix" { plugin_data {} }
"#;

#[tokio::test]
async fn a_server_gets_the_plugins_that_its_file_names() {
    let store = r#"DataStore "sql" { plugin_data { database_type = "sqlite3" } }"#;
    let join_token = r#"NodeAttestor "join_token" { plugin_data {} }"#;
    let loaded = server(&format!("{store}\n{MEMORY}\n{join_token}")).unwrap();
    assert_eq!(loaded.key_manager.name(), "memory");
    let key = loaded.key_manager.generate_key("a", KeyType::EcP256).await.unwrap();
    assert_eq!(loaded.key_manager.public_key("a").await.unwrap().public_key, key.public_key);
    let error = loaded.key_manager.public_key("b").await.unwrap_err();
    assert_eq!(error.to_string(), r#"keymanager(memory): public key "b" not found"#);
    assert_eq!(error.code, tonic::Code::NotFound);
}

#[tokio::test]
async fn an_agent_gets_the_plugins_that_its_file_names() {
    let loaded = agent(&format!("{OF_AN_AGENT}\nWorkloadAttestor \"docker\" {{ plugin_data {{}} }}")).unwrap();
    assert_eq!(loaded.node_attestor.name(), "join_token");
    let names: Vec<_> = loaded.workload_attestors.iter().map(|attestor| attestor.name().to_owned()).collect();
    assert_eq!(names, ["unix", "docker"]);
    assert_eq!(loaded.workload_attestors[1].attest(7).await.unwrap(), ["pid:7"]);
    let error = loaded.workload_attestors[0].attest(0).await.unwrap_err();
    assert_eq!(error.to_string(), "workloadattestor(unix): no such process");
}

#[test]
fn there_must_be_exactly_one_key_manager() {
    assert_eq!(
        refusal(server("")),
        r#"plugin type "KeyManager" constraint not satisfied: expected exactly 1 but got 0"#
    );
    let two = format!("{MEMORY}\nKeyManager \"disk\" {{ plugin_data {{ keys_path = \"keys.json\" }} }}");
    assert_eq!(
        refusal(server(&two)),
        r#"plugin type "KeyManager" constraint not satisfied: expected exactly 1 but got 2"#
    );
}

#[test]
fn an_agent_needs_one_node_attestor_and_some_workload_attestor() {
    assert_eq!(
        refusal(agent(MEMORY)),
        r#"plugin type "NodeAttestor" constraint not satisfied: expected exactly 1 but got 0"#
    );
    let without = format!("{MEMORY}\nNodeAttestor \"join_token\" {{ plugin_data {{}} }}");
    assert_eq!(
        refusal(agent(&without)),
        r#"plugin type "WorkloadAttestor" constraint not satisfied: expected at least 1 but got 0"#
    );
}

#[test]
fn a_join_token_takes_the_place_of_whatever_node_attestor_is_named() {
    let named = OF_AN_AGENT.replace("join_token", "x509pop");
    let load = |text: &str| load::agent(&blocks(text), &AGENT, Some(Arc::new(Nothing)), &trust_domain(), &host());
    assert_eq!(load(&named).unwrap().node_attestor.name(), "join_token");
    // As in the reference, one has to be named all the same.
    let none = format!("{MEMORY}\nWorkloadAttestor \"unix\" {{ plugin_data {{}} }}");
    assert_eq!(
        refusal(load(&none)),
        r#"plugin type "NodeAttestor" constraint not satisfied: expected exactly 1 but got 0"#
    );
}

#[test]
fn what_a_join_token_takes_the_place_of_must_take_its_configuration() {
    let named = OF_AN_AGENT.replace("\"join_token\" { plugin_data {}", "\"join_token\" { plugin_data { x = 1 }");
    assert_ne!(named, OF_AN_AGENT);
    let load = |token| load::agent(&blocks(&named), &AGENT, token, &trust_domain(), &host());
    for token in [None, Some(Arc::new(Nothing) as Arc<dyn AgentPlugin>)] {
        assert_eq!(
            refusal(load(token)),
            r#"failed to configure plugin "join_token": no supported configuration interface found"#
        );
    }
}

#[test]
fn what_a_servers_join_token_is_told_is_noted_once_a_key_and_runs() {
    let told = format!("{MEMORY}\nNodeAttestor \"join_token\" {{ plugin_data {{ y = 1 x {{ z = 2 }} y = 3 }} }}");
    let wrong = load::check_server(&blocks(&told), &SERVER, &trust_domain(), &host());
    let settings = wrong.iter().map(|error| match error {
        LoadError::UnknownSetting { setting, .. } => setting.as_str(),
        other => panic!("{other}"),
    });
    assert_eq!(settings.collect::<Vec<_>>(), ["y", "x"]);
    assert!(server(&told).is_ok());
}

/// `validate` must not write, and plugins that are made may.
#[test]
fn the_plugins_of_an_agent_are_looked_up_without_being_made() {
    fn never<T: ?Sized>(_: &Configuration) -> Result<Arc<T>, PluginError> {
        panic!("a plugin is made");
    }
    const UNMADE: AgentBuiltIns = AgentBuiltIns {
        key_managers: &[
            BuiltIn { name: "memory", build: never, check: None },
            BuiltIn { name: "disk", build: never, check: None },
        ],
        node_attestors: &[BuiltIn { name: "join_token", build: never, check: None }],
        workload_attestors: &[BuiltIn { name: "unix", build: never, check: None }],
    };
    let check = |text: &str, has_token| load::check_agent(&blocks(text), &UNMADE, has_token);
    assert!(check(OF_AN_AGENT, false).is_ok());
    let named = OF_AN_AGENT.replace("join_token", "x509pop");
    assert!(check(&named, true).is_ok());
    // In all else it refuses what loading refuses, in the same words.
    for text in [
        named.clone(),
        OF_AN_AGENT.replace("memory", "floppy"),
        OF_AN_AGENT.replace("KeyManager \"memory\" {", "KeyManager \"memory\" { plugin_cmd = \"/bin/own\""),
        OF_AN_AGENT.replace("unix", "k8s"),
        format!("{OF_AN_AGENT}\nKeyManager \"disk\" {{ plugin_data {{ keys_path = \"keys.json\" }} }}"),
        format!("{OF_AN_AGENT}\nSVIDStore \"own\" {{}}"),
        format!("{OF_AN_AGENT}\nSurplus \"own\" {{}}"),
        MEMORY.to_owned(),
        format!("{MEMORY}\nNodeAttestor \"join_token\" {{}}"),
    ] {
        assert_eq!(refusal(check(&text, false)), refusal(agent(&text)), "{text}");
    }
}

#[test]
fn a_block_that_is_disabled_counts_for_nothing() {
    let disabled = r#"KeyManager "disk" { enabled = false }"#;
    assert_eq!(server(&format!("{MEMORY}\n{disabled}")).unwrap().key_manager.name(), "memory");
    assert_eq!(
        refusal(server(disabled)),
        r#"plugin type "KeyManager" constraint not satisfied: expected exactly 1 but got 0"#
    );
}

#[test]
fn types_and_names_that_nobody_has_are_refused_by_name() {
    assert_eq!(refusal(server(&format!("{MEMORY}\nNoSuchType \"x\" {{}}"))), r#"unsupported plugin type "NoSuchType""#);
    // Even when they are disabled, since the type cannot be right; and case matters.
    let disabled = "keymanager \"memory\" { enabled = false }";
    assert_eq!(refusal(server(&format!("{MEMORY}\n{disabled}"))), r#"unsupported plugin type "keymanager""#);
    // A type of the other daemon.
    assert_eq!(
        refusal(server(&format!("{MEMORY}\nWorkloadAttestor \"unix\" {{}}"))),
        r#"unsupported plugin type "WorkloadAttestor""#
    );
    for (text, expected) in [
        (
            r#"KeyManager "floppy" {}"#,
            r#"failed to load plugin "floppy": no built-in plugin "floppy" for type "KeyManager""#,
        ),
        (
            r#"NodeAttestor "floppy" {}"#,
            r#"failed to load plugin "floppy": no built-in plugin "floppy" for type "NodeAttestor""#,
        ),
        (
            r#"Notifier "floppy" {}"#,
            r#"failed to load plugin "floppy": no built-in plugin "floppy" for type "Notifier""#,
        ),
    ] {
        assert_eq!(
            refusal(server(&format!("{}\n{text}", if text.starts_with("Key") { "" } else { MEMORY }))),
            expected
        );
    }
}

#[test]
fn plugins_of_the_reference_that_are_not_built_in_yet_are_told_apart_from_unknown_ones() {
    for (kind, name) in [
        ("NodeAttestor", "x509pop"),
        ("NodeAttestor", "aws_iid"),
        ("UpstreamAuthority", "spire"),
        ("Notifier", "k8sbundle"),
        ("BundlePublisher", "aws_s3"),
    ] {
        let error = server(&format!("{MEMORY}\n{kind} \"{name}\" {{}}")).unwrap_err();
        assert_eq!(error.to_string(), format!("these plugins are not built in yet: {kind} {name:?}"));
    }
    let error = agent(&OF_AN_AGENT.replace("\"unix\"", "\"k8s\"")).err().unwrap();
    assert_eq!(error.to_string(), r#"these plugins are not built in yet: WorkloadAttestor "k8s""#);
    let store = format!("{OF_AN_AGENT}\nSVIDStore \"aws_secretsmanager\" {{}}");
    assert_eq!(refusal(agent(&store)), r#"these plugins are not built in yet: SVIDStore "aws_secretsmanager""#);
}

#[test]
fn all_plugins_that_there_cannot_be_yet_are_told_at_once() {
    let several = r#"
        NodeAttestor "k8s_psat" {}
        NodeAttestor "join_token" {}
        NodeAttestor "aws_iid" { enabled = false }
        NodeAttestor "nobodys" {}
        CredentialComposer "cel" { plugin_cmd = "/opt/cel" }
        Notifier "k8sbundle" {}
    "#;
    let told = r#"these plugins are not built in yet: NodeAttestor "k8s_psat", Notifier "k8sbundle"; external plugins (plugin_cmd) are not supported yet: CredentialComposer "cel""#;
    let blocks = blocks(&format!("{MEMORY}\n{several}"));
    assert_eq!(refusal(SERVER.cover(&blocks)), told);
    let wrong = load::check_server(&blocks, &SERVER, &trust_domain(), &host());
    assert_eq!(wrong.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
}

#[test]
fn a_join_token_stands_in_for_a_node_attestor_that_there_cannot_be_yet_and_for_nothing_else() {
    let text = OF_AN_AGENT.replace("\"join_token\"", "\"k8s_psat\"").replace("\"unix\"", "\"k8s\"");
    let blocks = blocks(&text);
    let both = r#"these plugins are not built in yet: NodeAttestor "k8s_psat", WorkloadAttestor "k8s""#;
    let one = r#"these plugins are not built in yet: WorkloadAttestor "k8s""#;
    for (has_join_token, told) in [(false, both), (true, one)] {
        assert_eq!(refusal(AGENT.cover(&blocks, has_join_token)), told);
        assert_eq!(refusal(load::check_agent(&blocks, &AGENT, has_join_token)), told);
    }
}

#[test]
fn credential_composers_stand_in_the_order_of_the_file() {
    let blocks = ["second", "first"].map(|name| format!("CredentialComposer \"{name}\" {{}}\n"));
    let plugins = server(&format!("{}{MEMORY}", blocks.concat())).unwrap();
    assert_eq!(
        format!("{:?}", plugins.credential_composers),
        "[CredentialComposer(second), CredentialComposer(first)]"
    );
}

#[test]
fn external_plugins_are_refused_until_they_can_be_started() {
    let external = r#"KeyManager "hsm" { plugin_cmd = "/opt/hsm" }"#;
    assert_eq!(refusal(server(external)), r#"external plugins (plugin_cmd) are not supported yet: KeyManager "hsm""#);
    // Also where nothing of the type is built in.
    let external = format!("{MEMORY}\nNotifier \"mine\" {{ plugin_cmd = \"/opt/mine\" }}");
    assert_eq!(refusal(server(&external)), r#"external plugins (plugin_cmd) are not supported yet: Notifier "mine""#);
}

#[test]
fn a_plugin_that_refuses_its_configuration_is_named() {
    assert_eq!(
        refusal(server(r#"KeyManager "disk" { plugin_data {} }"#)),
        r#"failed to configure plugin "disk": rpc error: code = InvalidArgument desc = keys_path is required"#
    );
    assert_eq!(
        refusal(server(r#"KeyManager "memory" { plugin_data { size = 3 } }"#)),
        r#"failed to configure plugin "memory": no supported configuration interface found"#
    );
    let wrong_type = refusal(server(r#"KeyManager "disk" { plugin_data { keys_path = ["a"] } }"#));
    let start = r#"failed to configure plugin "disk": rpc error: code = InvalidArgument desc = unable to decode configuration: "#;
    assert!(wrong_type.starts_with(start), "{wrong_type}");
}

#[test]
fn plugin_data_can_stand_in_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.conf");
    let block = format!("KeyManager \"disk\" {{ plugin_data_file = \"{}\" }}", path.display());
    let error = refusal(server(&block));
    assert!(error.contains(&format!("failed to read plugin configuration: open {}: ", path.display())), "{error}");
    std::fs::write(&path, "keys_path = \"keys.json\"").unwrap();
    assert_eq!(server(&block).unwrap().key_manager.name(), "disk");
}

#[tokio::test]
async fn an_error_is_prefixed_once_however_many_doors_it_passes() {
    struct Prefixed;
    #[async_trait]
    impl AgentPlugin for Prefixed {
        async fn aid_attestation(&self, _: &mut dyn AttestationStream) -> Result<(), PluginError> {
            Err(PluginError::internal("nodeattestor(join_token): out of order"))
        }
    }
    struct NoServer;
    #[async_trait]
    impl AttestationStream for NoServer {
        async fn send_payload(&mut self, _: Vec<u8>) -> Result<(), PluginError> {
            Ok(())
        }

        async fn challenge(&mut self) -> Result<Option<Vec<u8>>, PluginError> {
            Ok(None)
        }

        async fn respond(&mut self, _: Vec<u8>) -> Result<(), PluginError> {
            Ok(())
        }
    }
    let attestor = node_attestor::AgentNodeAttestor::new("join_token", Arc::new(Prefixed));
    let error = attestor.aid_attestation(&mut NoServer).await.unwrap_err();
    assert_eq!(error.to_string(), "nodeattestor(join_token): out of order");
}

#[tokio::test]
async fn a_node_attestor_must_have_evidence_and_name_the_agent() {
    let join_token = r#"NodeAttestor "join_token" { plugin_data {} }"#;
    let loaded = server(&format!("{MEMORY}\n{join_token}")).unwrap();
    let attestor = &loaded.node_attestors[0];
    assert_eq!(attestor.name(), "join_token");
    let attest = |payload: &str| {
        let evidence = Evidence { payload: payload.into(), client_ip: None, untrusted_host: None };
        async move { attestor.attest(evidence, &mut Nothing).await }
    };
    assert_eq!(attest("spiffe://example.org/a").await.unwrap().spiffe_id, "spiffe://example.org/a");
    let error = attest("").await.unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (tonic::Code::InvalidArgument, "nodeattestor(join_token): payload cannot be empty")
    );
    let error = attest(" ").await.unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (tonic::Code::Internal, "nodeattestor(join_token): plugin response missing agent ID")
    );
}

#[test]
fn a_server_that_is_starting_has_no_authorities_for_its_plugins_yet() {
    let host = host();
    let error = host.x509_authorities().unwrap_err();
    assert_eq!(error.message, "IdentityProvider host service has not been initialized");
    assert_eq!(error.code, tonic::Code::FailedPrecondition);
}

#[test]
fn when_one_plugin_fails_the_log_tells_why_and_that_those_before_it_are_unloaded() {
    let logged = Logged::new();
    let names = |text: &str| -> Vec<_> { logged.with(text).iter().map(|line| line["plugin_name"].clone()).collect() };
    let unknown = format!("{MEMORY}\nNodeAttestor \"floppy\" {{}}\nNodeAttestor \"join_token\" {{}}");
    refusal(server(&unknown));
    assert_eq!((names("Plugin loaded"), names("Plugin unloaded")), (vec!["memory".into()], vec!["memory".into()]));
    let failed = &logged.with("Failed to load plugin")[0];
    assert_eq!(failed["error"], r#"no built-in plugin "floppy" for type "NodeAttestor""#);
    assert_eq!((&*failed["plugin_name"], &*failed["plugin_type"]), ("floppy", "NodeAttestor"));

    // One that refuses its configuration was there, and in the order of the file.
    let logged = Logged::new();
    let names = |text: &str| -> Vec<_> { logged.with(text).iter().map(|line| line["plugin_name"].clone()).collect() };
    let refusing = r#"
        WorkloadAttestor "unix" { plugin_data {} }
        KeyManager "memory" { plugin_data {} }
        NodeAttestor "join_token" { plugin_data { x = 1 } }
    "#;
    refusal(agent(refusing));
    assert_eq!(names("Failed to configure plugin"), ["join_token"]);
    assert_eq!(names("Plugin unloaded"), ["join_token", "memory", "unix"]);
    assert!(logged.with("Catalog closed").is_empty());
}

/// A node attestor that names every node after what it is configured with.
struct Named(String);

#[async_trait]
impl ServerPlugin for Named {
    async fn attest(&self, _: Evidence, _: &mut dyn ChallengeStream) -> Result<AgentAttributes, PluginError> {
        Ok(AgentAttributes { spiffe_id: self.0.clone(), selector_values: Vec::new(), can_reattest: true })
    }
}

fn named(configuration: &Configuration) -> Result<Arc<dyn ServerPlugin>, PluginError> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Options {
        name: String,
    }
    let Options { name } = configuration.decode()?;
    if name.is_empty() {
        return Err(PluginError::invalid_argument("name is required"));
    }
    Ok(Arc::new(Named(name)))
}

const RENEWABLE: ServerBuiltIns = ServerBuiltIns {
    key_managers: SERVER.key_managers,
    node_attestors: &[BuiltIn { name: "named", build: named, check: None }],
    upstream_authorities: &[],
    credential_composers: &[],
    bundle_publishers: &[],
};

/// What a server with a key manager and the attestor `named` calls a node.
async fn name_by(plugins: &load::ServerPlugins) -> String {
    let evidence = Evidence { payload: b"x".to_vec(), client_ip: None, untrusted_host: None };
    plugins.node_attestors[0].attest(evidence, &mut Nothing).await.unwrap().spiffe_id
}

#[tokio::test]
async fn plugins_are_configured_anew_together_or_not_at_all() {
    let text = |name: &str, keys: &str| {
        blocks(&format!(
            "KeyManager \"disk\" {{ plugin_data {{ keys_path = \"{keys}\" }} }}\n\
             NodeAttestor \"named\" {{ plugin_data {{ name = \"{name}\" }} }}"
        ))
    };
    let plugins = load::server(&text("a", "k"), &RENEWABLE, &trust_domain(), &host()).unwrap();
    let renewed = |name: &str, keys: &str| plugins.loaded.renewed(&text(name, keys), &trust_domain(), &host());
    assert_eq!(renewed("a", "other").unwrap().len(), 0, "keys stay where they are");
    let refused = renewed("", "k").err().unwrap().to_string();
    assert!(
        refused.contains("failed to configure plugin \"named\"") && refused.contains("name is required"),
        "{refused}"
    );
    let all = renewed("b", "k").unwrap();
    assert_eq!(name_by(&plugins).await, "a", "nothing changes before all is well");
    for plugin in all {
        assert_eq!(plugin.setting(), "plugins.NodeAttestor \"named\"");
        plugin.put();
    }
    assert_eq!(name_by(&plugins).await, "b");
    assert_eq!(renewed("b", "k").unwrap().len(), 0);
}

#[tokio::test]
async fn a_file_of_a_plugin_is_read_again_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("named.conf");
    std::fs::write(&file, "name = \"a\"").unwrap();
    let text =
        format!("KeyManager \"memory\" {{}}\nNodeAttestor \"named\" {{ plugin_data_file = \"{}\" }}", file.display());
    let plugins = load::server(&blocks(&text), &RENEWABLE, &trust_domain(), &host()).unwrap();
    let again = async || plugins.loaded.reconfigure(&trust_domain(), &host()).await;
    for (content, name) in [("name = \"b\"", "b"), ("name = \"\"", "b"), ("name = ", "b"), ("name = \"c\"", "c")] {
        std::fs::write(&file, content).unwrap();
        again().await;
        assert_eq!(name_by(&plugins).await, name, "{content}");
    }
    std::fs::remove_file(&file).unwrap();
    again().await;
    assert_eq!(name_by(&plugins).await, "c");
}
