//! `steeple-agent`, which answers as `spire-agent` when it is installed under that name.

use std::process::ExitCode;

use steeple_runtime::os::allocator::Counting;

/// What it counts is among the measurements.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    steeple_agent_cmd::main(std::env::args_os())
}
