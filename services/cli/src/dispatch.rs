//! From what was typed to the verb that does it, and its failure to an exit code.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::{Cli, Verb};
use crate::{client, verbs};

/// A verb that failed, and the exit code that says so.
pub struct Failure {
    /// What went wrong.
    pub error: anyhow::Error,
    /// The exit code of this process.
    pub code: u8,
}

/// Does what was typed.
pub async fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let runs_a_program = match &cli.verb {
        Verb::Cri(args) => args.runs_a_program(),
        verb => matches!(verb, Verb::Run(_) | Verb::Exec(_)),
    };
    let is_check = matches!(cli.verb, Verb::Fsck(_));
    one(cli).await.map_err(|error| {
        let code = match runs_a_program {
            true => code_of(&error),
            // 1 says that something was found.
            false => 1 + u8::from(is_check),
        };
        Failure { error, code }
    })
}

async fn one(cli: Cli) -> Result<ExitCode> {
    let global = &cli.global;
    let done = match cli.verb {
        Verb::Run(args) => return verbs::run::run(*args, global).await,
        Verb::Start(args) => return verbs::start::run(args, global).await,
        Verb::Exec(args) => return verbs::exec::run(args, global).await,
        Verb::Fsck(args) => return verbs::fsck::run(args, global).await,
        Verb::Doctor(args) => return verbs::doctor::run(args, global).await,
        Verb::Trace(args) => return verbs::trace::run(args, global).await,
        Verb::Cluster(args) => return verbs::cluster::run(args, global).await,
        Verb::Cri(args) => return verbs::cri::run(*args, global).await,
        Verb::Df(args) => verbs::df::run(args, global).await,
        Verb::Pull(args) => verbs::pull::run(args, global).await,
        Verb::Images(args) => verbs::images::run(args, global).await,
        Verb::Create(args) => verbs::create::run(*args, global).await,
        Verb::Ps(args) => verbs::ps::run(args, global).await,
        Verb::Logs(args) => verbs::logs::run(args, global).await,
        Verb::Stop(args) => verbs::stop::run(args, global).await,
        Verb::Kill(args) => verbs::kill::run(args, global).await,
        Verb::Pause(args) => verbs::pause::pause(args, global).await,
        Verb::Unpause(args) => verbs::pause::unpause(args, global).await,
        Verb::Wait(args) => verbs::wait::run(args, global).await,
        Verb::Rm(args) => verbs::rm::run(args, global).await,
        Verb::Rmi(args) => verbs::rmi::run(args, global).await,
        Verb::Tag(args) => verbs::tag::run(args, global).await,
        Verb::Push(args) => verbs::push::run(args, global).await,
        Verb::Import(args) => verbs::import::run(args, global).await,
        Verb::Export(args) => verbs::export::run(args, global).await,
        Verb::Inspect(args) => verbs::inspect::run(args, global).await,
        Verb::Stats(args) => verbs::stats::run(args, global).await,
        Verb::Top(args) => verbs::top::run(args, global).await,
        Verb::Events(args) => verbs::events::run(args, global).await,
        Verb::Info(args) => verbs::info::run(args, global).await,
        Verb::Version(args) => verbs::version::run(args, global).await,
        Verb::Gc(args) => verbs::gc::run(args, global).await,
        Verb::Network(args) => verbs::network::run(args, global).await,
        Verb::Config(args) => verbs::config::run(args, global),
        Verb::Reload(args) => verbs::reload::run(args, global),
        Verb::Completions(args) => verbs::completions::run(&args, &Cli::command()),
        Verb::Publish(args) => verbs::publish::run(args, global).await,
        Verb::Reap(args) => verbs::reap::run(args, global).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The exit code of a program that could not be run, as shells and Docker have it: 127 when it
/// does not exist, 126 when it cannot be executed, 125 for everything else.
fn code_of(error: &anyhow::Error) -> u8 {
    let text = client::one_line(error);
    let is_exec = text.contains("exec");
    if is_exec && (text.contains("executable file not found") || text.contains("no such file")) {
        127
    } else if is_exec && text.contains("permission denied") {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_be_run_has_its_own_code() {
        let code = |text: &'static str| code_of(&anyhow::Error::msg(text));
        assert_eq!(code("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(code("exec /x: permission denied"), 126);
        assert_eq!(code("image \"x\": not found"), 125);
    }
}
