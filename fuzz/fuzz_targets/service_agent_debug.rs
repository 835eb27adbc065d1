//! What an agent says of itself. See `steeple_fuzz` for what an input is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steeple_fuzz::Service;

static SERVICE: LazyLock<Service> =
    LazyLock::new(|| Service::of_agent("spire.agent.debug.v1.Debug", "private/admin.sock"));

fuzz_target!(|input: &[u8]| SERVICE.call(input));
