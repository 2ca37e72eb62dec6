//! The verbs: one file each, with its arguments and `run`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Verb};
use crate::client;

pub mod completions;
pub mod create;
pub mod events;
pub mod exec;
pub mod export;
pub mod gc;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod pause;
pub mod ps;
pub mod publish;
pub mod pull;
pub mod push;
pub mod reap;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod tag;
pub mod top;
pub mod unpause;
pub mod version;
pub mod wait;

/// A verb that failed, and the exit code that says so.
pub struct Failure {
    /// What went wrong.
    pub error: anyhow::Error,
    /// The exit code of this process.
    pub code: u8,
}

/// Does what was typed.
pub async fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let runs_a_program = matches!(cli.verb, Verb::Run(_) | Verb::Exec(_));
    one(cli).await.map_err(|error| {
        let code = if runs_a_program { code_of(&error) } else { 1 };
        Failure { error, code }
    })
}

async fn one(cli: Cli) -> Result<ExitCode> {
    let global = &cli.global;
    let done = match cli.verb {
        Verb::Run(args) => return run::run(*args, global).await,
        Verb::Start(args) => return start::run(args, global).await,
        Verb::Exec(args) => return exec::run(args, global).await,
        Verb::Pull(args) => pull::run(args, global).await,
        Verb::Images(args) => images::run(args, global).await,
        Verb::Create(args) => create::run(*args, global).await,
        Verb::Ps(args) => ps::run(args, global).await,
        Verb::Logs(args) => logs::run(args, global).await,
        Verb::Stop(args) => stop::run(args, global).await,
        Verb::Kill(args) => kill::run(args, global).await,
        Verb::Pause(args) => pause::run(args, global).await,
        Verb::Unpause(args) => unpause::run(args, global).await,
        Verb::Wait(args) => wait::run(args, global).await,
        Verb::Rm(args) => rm::run(args, global).await,
        Verb::Rmi(args) => rmi::run(args, global).await,
        Verb::Tag(args) => tag::run(args, global).await,
        Verb::Push(args) => push::run(args, global).await,
        Verb::Import(args) => import::run(args, global).await,
        Verb::Export(args) => export::run(args, global).await,
        Verb::Inspect(args) => inspect::run(args, global).await,
        Verb::Stats(args) => stats::run(args, global).await,
        Verb::Top(args) => top::run(args, global).await,
        Verb::Events(args) => events::run(args, global).await,
        Verb::Info(args) => info::run(args, global).await,
        Verb::Version(args) => version::run(args, global).await,
        Verb::Gc(args) => gc::run(args, global).await,
        Verb::Completions(args) => completions::run(&args),
        Verb::Publish(args) => publish::run(args, global).await,
        Verb::Reap(args) => reap::run(args, global).await,
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

/// A program's exit code as this process's.
pub fn passed_on(code: u32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Does the same to each of several things; goes on after a failure and tells the last at the
/// end, the ones before as they come.
pub async fn each<T>(
    names: &[String],
    mut action: impl AsyncFnMut(&str) -> Result<T>,
) -> Result<()> {
    let mut last = None;
    for name in names {
        if let Err(error) = action(name).await
            && let Some(earlier) = last.replace(error)
        {
            eprintln!("berth: {}", client::one_line(&earlier));
        }
    }
    last.map_or(Ok(()), Err)
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
        assert_eq!(passed_on(137), ExitCode::from(137));
    }

    #[tokio::test]
    async fn a_failure_does_not_stop_the_others() {
        let mut seen = Vec::new();
        let names = ["a", "b", "c"].map(str::to_owned);
        let outcome = each(&names, async |name| {
            seen.push(name.to_owned());
            if name == "b" { Err(anyhow::Error::msg("b failed")) } else { Ok(()) }
        });
        assert_eq!(outcome.await.unwrap_err().to_string(), "b failed");
        assert_eq!(seen, names);
    }
}
