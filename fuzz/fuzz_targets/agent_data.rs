//! `agent-data.json`, which either program may have written, or a crash. What was read says the same when it is written back.
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
    if let Ok(said) = steeple_agent::rewrite_data(DIRECTORY.path()) {
        assert_eq!(steeple_agent::rewrite_data(DIRECTORY.path()).expect("a file of our own"), said);
    }
});
