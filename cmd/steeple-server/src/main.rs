//! `steeple-server`, which answers as `spire-server` when it is installed under that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    steeple_server_cmd::main(std::env::args_os())
}
