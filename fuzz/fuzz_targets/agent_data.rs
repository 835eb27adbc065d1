//! `agent-data.json`, which either program may have written, or a crash.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a directory")
});

fuzz_target!(|data: &[u8]| {
    std::fs::write(DIRECTORY.path().join("agent-data.json"), data).expect("a file");
    let _ = steeple_agent::read_data(DIRECTORY.path());
});
