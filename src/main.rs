//! The `meshgate` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshgate::cli::main(std::env::args_os())
}
