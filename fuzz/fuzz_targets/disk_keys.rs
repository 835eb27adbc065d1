//! The file of the key manager `disk`, which either program may have written, or a crash.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steeple_catalog::{Configuration, Host};
use steeple_config::hcl;
use steeple_config::plugins::PluginData;
use steeple_plugins::key_manager::disk;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;
use tempfile::TempDir;

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

fuzz_target!(|data: &[u8]| {
    std::fs::write(DIRECTORY.path().join("keys.json"), data).expect("a file");
    let _ = disk::server(&CONFIGURATION);
});
