//! The file of the key manager `disk`, which either program may have written, or a crash. The keys of a file that is read
//! are there again after a new one has been written beside them.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steeple_catalog::key_manager::Plugin;
use steeple_catalog::{Configuration, Host};
use steeple_config::hcl;
use steeple_config::plugins::PluginData;
use steeple_pki::KeyType;
use steeple_plugins::key_manager::disk;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a directory")
});

static CONFIGURATION: LazyLock<Configuration> = LazyLock::new(|| {
    let text = format!("keys_path = {:?}", DIRECTORY.path().join("keys.json"));
    let data = PluginData::Fixed(hcl::parse(text).expect("a configuration"));
    Configuration {
        trust_domain: TrustDomain::parse("example.org").expect("a name"),
        data,
        host: Host::new(Clock::system()),
    }
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

const NEW: &str = "of the fuzz target";

/// ID and public half of each key but the new one, in the order of their IDs.
async fn kept(keys: &dyn Plugin) -> Vec<(String, Vec<u8>)> {
    let keys = keys.public_keys().await.expect("keys").into_iter().filter(|key| key.id != NEW);
    let mut kept: Vec<_> = keys.map(|key| (key.id, key.public_key.spki_der().to_vec())).collect();
    kept.sort_unstable();
    kept
}

fuzz_target!(|data: &[u8]| {
    std::fs::write(DIRECTORY.path().join("keys.json"), data).expect("a file");
    let Ok(read) = disk::server(&CONFIGURATION) else { return };
    RUNTIME.block_on(async {
        read.generate_key(NEW, KeyType::EcP256).await.expect("a new key");
        let again = disk::server(&CONFIGURATION).expect("a file of our own");
        assert_eq!(kept(&*again).await, kept(&*read).await);
        assert!(again.public_key(NEW).await.is_ok_and(|key| key.is_some()));
    });
});
