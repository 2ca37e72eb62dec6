//! `berth cri`

mod about;
mod checkpoint;
mod create;
mod events;
mod exec;
mod imagefsinfo;
mod images;
mod inspect;
mod logs;
mod pods;
mod ps;
mod pull;
mod reopen;
mod rm;
mod rmi;
mod rmp;
mod run;
mod runp;
mod start;
mod stats;
mod statsp;
mod stop;
mod stopp;
mod update;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use crate::global::Global;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to print it.
    #[arg(short, long, global = true, value_enum, default_value_t = Form::Table)]
    output: Form,
    #[command(subcommand)]
    what: What,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Tables and lines.
    Table,
    /// The same as --json.
    Json,
}

/// What is asked of the service that kubelets call. All of it is in the namespace k8s.io.
#[derive(Debug, Subcommand)]
enum What {
    /// Show the version of the runtime.
    Version,
    /// Show whether the runtime is ready, its handlers and its configuration.
    Info,
    /// Show what the kubelet is told to do alike.
    Config,
    /// List pods.
    Pods(pods::Args),
    /// Make a pod.
    Runp(runp::Args),
    /// Stop pods: their containers are killed, their network goes.
    Stopp(stopp::Args),
    /// Remove pods, with their containers.
    Rmp(rmp::Args),
    /// Show all that is known of a pod.
    Inspectp(inspect::Args),
    /// List images, as kubelets see them.
    Images(images::Args),
    /// Have an image pulled.
    Pull(pull::Args),
    /// Remove images, with all of their names.
    Rmi(rmi::Args),
    /// Show all that is known of an image.
    Inspecti(inspect::Args),
    /// Show what images use of the disk.
    Imagefsinfo,
    /// List containers of pods.
    Ps(ps::Args),
    /// Create a container in a pod.
    Create(create::Args),
    /// Make a pod and start a container in it.
    Run(run::Args),
    /// Start containers that were created.
    Start(start::Args),
    /// Stop containers.
    Stop(stop::Args),
    /// Remove containers.
    Rm(rm::Args),
    /// Show all that is known of a container.
    Inspect(inspect::Args),
    /// Change limits of a container.
    Update(update::Args),
    /// Have the log of a container made anew, after it was moved.
    Reopen(reopen::Args),
    /// Save a container that runs to a file.
    Checkpoint(checkpoint::Container),
    /// Save containers of a pod to a folder, as of one moment.
    Checkpointp(checkpoint::Pod),
    /// Make a pod again that was saved; its containers are to be started.
    Restorep(checkpoint::Restore),
    /// Run a command in a container to its end.
    Exec(exec::Args),
    /// Show the log of a container.
    Logs(logs::Args),
    /// Show what containers use.
    Stats(stats::Args),
    /// Show what pods use.
    Statsp(statsp::Args),
    /// Show events of pods and containers as they happen.
    Events(events::Args),
}

impl Args {
    /// Whether a program's exit code becomes this one's.
    pub fn runs_a_program(&self) -> bool {
        matches!(self.what, What::Exec(_))
    }
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let global = &Global { json: global.json || args.output == Form::Json, ..global.clone() };
    let done = match args.what {
        What::Exec(args) => return exec::run(args, global).await,
        What::Version => about::version(global).await,
        What::Info => about::info(global).await,
        What::Config => about::config(global).await,
        What::Pods(args) => pods::run(args, global).await,
        What::Runp(args) => runp::run(args, global).await,
        What::Stopp(args) => stopp::run(args, global).await,
        What::Rmp(args) => rmp::run(args, global).await,
        What::Inspectp(args) => inspect::pod(args, global).await,
        What::Images(args) => images::run(args, global).await,
        What::Pull(args) => pull::run(args, global).await,
        What::Rmi(args) => rmi::run(args, global).await,
        What::Inspecti(args) => inspect::image(args, global).await,
        What::Imagefsinfo => imagefsinfo::run(global).await,
        What::Ps(args) => ps::run(args, global).await,
        What::Create(args) => create::run(args, global).await,
        What::Run(args) => run::run(args, global).await,
        What::Start(args) => start::run(args, global).await,
        What::Stop(args) => stop::run(args, global).await,
        What::Rm(args) => rm::run(args, global).await,
        What::Inspect(args) => inspect::container(args, global).await,
        What::Update(args) => update::run(args, global).await,
        What::Reopen(args) => reopen::run(args, global).await,
        What::Checkpoint(args) => checkpoint::container(args, global).await,
        What::Checkpointp(args) => checkpoint::pod(args, global).await,
        What::Restorep(args) => checkpoint::restore(args, global).await,
        What::Logs(args) => logs::run(args, global).await,
        What::Stats(args) => stats::run(args, global).await,
        What::Statsp(args) => statsp::run(args, global).await,
        What::Events(args) => events::run(args, global).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn typed(line: &str) -> Result<Args, clap::Error> {
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        let Verb::Cri(args) = cli.verb else { panic!("{line} is another verb") };
        Ok(*args)
    }

    #[test]
    fn each_part_of_it_can_be_typed() {
        for line in [
            "berth cri version",
            "berth cri info",
            "berth cri config --json",
            "berth cri pods -o json --state ready --label app=web --label tier=front 0123",
            "berth cri runp pod.json --runtime kata",
            "berth cri stopp 1 2",
            "berth cri rmp -f 1 2",
            "berth cri inspectp 1",
            "berth cri images busybox -q",
            "berth cri pull busybox:1 --creds me:secret",
            "berth cri rmi busybox:1 busybox:2",
            "berth cri inspecti busybox",
            "berth cri imagefsinfo",
            "berth cri ps -a --pod 1 --state exited --label a=b",
            "berth cri create 1 c.json p.json --with-pull",
            "berth cri run c.json p.json -r kata",
            "berth cri start 1 2",
            "berth cri stop --timeout 1m 1 2",
            "berth cri rm -f 1 2",
            "berth cri inspect 1",
            "berth cri update 1 --memory 64m --cpu-quota 50000",
            "berth cri reopen 1",
            "berth cri checkpoint 1 /a.tar --timeout 5",
            "berth cri checkpointp 1 /a 2 3",
            "berth cri restorep /a p.json c.json -r kata",
            "berth cri exec --timeout 5 1 sh -c true --json -o x",
            "berth cri logs --tail 5 -f 1",
            "berth cri stats 1",
            "berth cri statsp",
            "berth cri events --count 2",
        ] {
            typed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "berth cri",
            "berth cri pods --state running",
            "berth cri pods --label app",
            "berth cri pods -o yaml",
            "berth cri runp",
            "berth cri stopp",
            "berth cri ps --state ready",
            "berth cri create 1 c.json",
            "berth cri update 1",
            "berth cri checkpoint 1",
            "berth cri restorep /a",
            "berth cri exec 1",
            "berth cri inspect 1 2",
        ] {
            assert!(typed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_follows_the_container_is_the_commands() {
        let args = typed("berth cri exec 1 ls -o json").unwrap();
        assert!(args.runs_a_program() && args.output == Form::Table);
        assert!(typed("berth cri pods -o json").unwrap().output == Form::Json);
    }
}
