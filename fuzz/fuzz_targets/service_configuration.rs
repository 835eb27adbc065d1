//! A configuration that is read again. See `steeple_fuzz` for what an input is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steeple_fuzz::Service;

static SERVICE: LazyLock<Service> =
    LazyLock::new(|| Service::of_server("steeple.server.configuration.v1.Configuration"));

fuzz_target!(|input: &[u8]| SERVICE.call(input));
