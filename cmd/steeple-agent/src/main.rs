//! `steeple-agent`, which answers as `spire-agent` when it is installed under that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    steeple_agent_cmd::main(std::env::args_os())
}
