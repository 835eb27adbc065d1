//! One suite for every key manager that is built in.

use std::sync::Arc;

use steeple_catalog::key_manager::Plugin;
use steeple_catalog::{Configuration, Host};
use steeple_config::hcl;
use steeple_config::plugins::PluginData;
use steeple_pki::{KeyType, SignatureAlgorithm};
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;
use tempfile::TempDir;

use crate::{AGENT, SERVER};

/// A built-in by its name.
type Named = (&'static str, Arc<dyn Plugin>);

/// Each built-in, configured; and the directory that they write to.
fn all() -> (Vec<Named>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let data = |text: String| PluginData::Fixed(hcl::parse(text).unwrap());
    let of_server = data(format!("keys_path = \"{}\"", dir.path().join("server.json").display()));
    let of_agent = data(format!("directory = \"{}\"", dir.path().join("agent").display()));
    let mut plugins = Vec::new();
    for (built_ins, disk) in [(SERVER.key_managers, of_server), (AGENT.key_managers, of_agent)] {
        for built_in in built_ins {
            let data = if built_in.name == "disk" { disk.clone() } else { PluginData::None };
            let trust_domain = TrustDomain::parse("example.org").unwrap();
            let configuration = Configuration { trust_domain, data, host: Host::new(Clock::system()) };
            plugins.push((built_in.name, (built_in.build)(&configuration).unwrap()));
        }
    }
    (plugins, dir)
}

#[tokio::test]
async fn keys_of_each_type_sign_what_their_public_half_verifies() {
    let (plugins, _dir) = all();
    assert_eq!(plugins.len(), 4);
    for (name, plugin) in plugins {
        for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa2048] {
            let key = plugin.generate_key("a", key_type).await.unwrap();
            assert_eq!((key.id.as_str(), key.key_type), ("a", key_type), "{name}");
            let algorithm = key_type.signature_algorithm();
            let digest = algorithm.digest(b"message").unwrap();
            let signature = plugin.sign_data("a", &digest, algorithm).await.unwrap();
            key.public_key.verify(algorithm, b"message", &signature).unwrap();
            assert!(key.public_key.verify(algorithm, b"another", &signature).is_err(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_key_takes_the_place_of_one_with_the_same_id() {
    let (plugins, _dir) = all();
    for (name, plugin) in plugins {
        let first = plugin.generate_key("a", KeyType::EcP256).await.unwrap();
        let other = plugin.generate_key("b", KeyType::EcP256).await.unwrap();
        let second = plugin.generate_key("a", KeyType::EcP256).await.unwrap();
        assert_ne!(first.public_key, second.public_key, "{name}");
        assert_eq!(plugin.public_key("a").await.unwrap().unwrap().public_key, second.public_key, "{name}");
        let all: Vec<_> = plugin.public_keys().await.unwrap().into_iter().map(|key| key.public_key).collect();
        assert_eq!(all, [second.public_key, other.public_key], "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_or_does_not_fit_is_refused_by_name() {
    let (plugins, _dir) = all();
    for (name, plugin) in plugins {
        assert!(plugin.public_keys().await.unwrap().is_empty(), "{name}");
        assert!(plugin.public_key("a").await.unwrap().is_none(), "{name}");
        let error = plugin.generate_key("", KeyType::EcP256).await.unwrap_err();
        assert_eq!(error.message, "key id is required", "{name}");
        let sha256 = SignatureAlgorithm::EcdsaSha256;
        let error = plugin.sign_data("a", &[0; 32], sha256).await.unwrap_err();
        assert_eq!(error.message, r#"failed to sign data: no such key "a""#, "{name}");

        plugin.generate_key("a", KeyType::EcP256).await.unwrap();
        for (digest, algorithm) in [(31, sha256), (48, SignatureAlgorithm::EcdsaSha384)] {
            let error = plugin.sign_data("a", &vec![0; digest], algorithm).await.unwrap_err();
            let start = r#"failed to sign data: keypair "a" signing operation failed: "#;
            assert!(error.message.starts_with(start), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn keys_that_are_made_at_the_same_time_are_all_kept() {
    let (plugins, _dir) = all();
    for (name, plugin) in plugins {
        let making = (0..16).map(|i| {
            let plugin = Arc::clone(&plugin);
            tokio::spawn(async move { plugin.generate_key(&i.to_string(), KeyType::EcP256).await.unwrap() })
        });
        for made in making.collect::<Vec<_>>() {
            let made = made.await.unwrap();
            assert_eq!(plugin.public_key(&made.id).await.unwrap().unwrap().public_key, made.public_key, "{name}");
        }
        assert_eq!(plugin.public_keys().await.unwrap().len(), 16, "{name}");
    }
}
