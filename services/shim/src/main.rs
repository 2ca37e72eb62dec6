//! containerd-shim-runc-v2: see the library.

use std::process::ExitCode;

use berth_shim::Args;

fn main() -> ExitCode {
    let done = Args::parse(std::env::args_os().skip(1)).and_then(berth_shim::run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-shim-runc-v2: {}", berth_errors::chain(&error));
            ExitCode::FAILURE
        }
    }
}
