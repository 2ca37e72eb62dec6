//! `berth`: the command line for people.
//!
//! Owns: how requests are typed and answers are shown. Must not know: anything of a service but
//! the API that the gateway serves on its socket; it opens no store and starts no container
//! itself.

mod archive;
mod attach;
mod cli;
mod client;
mod cluster;
mod container;
mod credentials;
mod cri;
mod disk;
mod dispatch;
mod doctor;
mod events;
mod global;
mod image;
mod launch;
mod lease;
mod logs;
mod manifest;
mod network;
mod options;
mod output;
mod parse;
mod progress;
mod reference;
mod root;
mod streams;
mod terminal;
mod transfer;
mod unpack;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            tell(&anyhow::Error::new(cause).context("start the event loop"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(dispatch::dispatch(cli));
    // A read of standard input that nobody waits for any more must not hold up the exit.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| {
        tell(&failure.error);
        ExitCode::from(failure.code)
    })
}

/// Tells what went wrong, unless it is only that nobody reads on.
fn tell(error: &anyhow::Error) {
    let broken_pipe = error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    });
    if !broken_pipe {
        eprintln!("berth: {}", client::told(error));
    }
}
