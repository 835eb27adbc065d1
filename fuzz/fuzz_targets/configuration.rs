//! Configuration files. What is accepted has what both daemons rely on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_server::config::{Config, Flags};

fuzz_target!(|text: &str| {
    // Whatever the file names would be looked up.
    let flags = Flags { bind_address: "127.0.0.1".to_owned(), ..Flags::default() };
    if let Ok(config) = Config::parse(text, "server.conf", flags) {
        assert!(config.socket_path.is_absolute());
    }
    if let Ok(config) = steeple_agent::config::Config::parse(text, "agent.conf", Default::default()) {
        assert!(config.socket_path.is_absolute() && !config.server_address.is_empty());
        assert_ne!(config.server_port, 0);
        assert!(!config.sync_interval.is_zero());
    }
});
