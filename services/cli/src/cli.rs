//! What can be typed.

use clap::{Parser, Subcommand};

use crate::global::Global;
use crate::verbs;

/// Run containers, on a node of berth.
#[derive(Debug, Parser)]
#[command(name = "berth", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs, each in a file of its own.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Fetch an image from its registry and unpack it.
    Pull(verbs::pull::Args),
    /// List images.
    Images(verbs::images::Args),
    /// Create a container from an image and start it.
    Run(Box<verbs::run::Args>),
    /// Create a container from an image without starting it.
    Create(Box<verbs::create::Args>),
    /// Start a container that is not running.
    Start(verbs::start::Args),
    /// List containers.
    Ps(verbs::ps::Args),
    /// Show what a container that runs in the background has written.
    Logs(verbs::logs::Args),
    /// Run another program in a running container.
    Exec(verbs::exec::Args),
    /// Ask containers to end, and end them if they do not.
    Stop(verbs::stop::Args),
    /// Send a signal to containers.
    Kill(verbs::kill::Args),
    /// Suspend all processes of containers.
    Pause(verbs::pause::Args),
    /// Resume what was paused.
    Unpause(verbs::pause::Args),
    /// Wait for containers to end and print their exit codes.
    Wait(verbs::wait::Args),
    /// Remove containers.
    Rm(verbs::rm::Args),
    /// Remove images.
    Rmi(verbs::rmi::Args),
    /// Give an image another name.
    Tag(verbs::tag::Args),
    /// Send an image to its registry.
    Push(verbs::push::Args),
    /// Read images from a tar archive.
    Import(verbs::import::Args),
    /// Write images to a tar archive.
    Export(verbs::export::Args),
    /// Show all that is known of an image or container.
    Inspect(verbs::inspect::Args),
    /// Show what containers use.
    Stats(verbs::stats::Args),
    /// Show what containers use, live, or the processes of one.
    #[command(alias = "pids")]
    Top(verbs::top::Args),
    /// Show events as they happen.
    Events(verbs::events::Args),
    /// Show what serves the socket.
    Info(verbs::info::Args),
    /// Show the versions of this program and of the node.
    Version(verbs::version::Args),
    /// Collect garbage now.
    Gc(verbs::gc::Args),
    /// Compare what the node has on record with what is there.
    Fsck(verbs::fsck::Args),
    /// Look at the machine, whether it carries a node, and say what to do.
    Doctor(verbs::doctor::Args),
    /// Show where the time of recent pulls and starts went, by stage.
    Trace(verbs::trace::Args),
    /// Show what the disk is used for, by namespace, image and snapshot.
    Df(verbs::df::Args),
    /// Make, list and remove networks of containers.
    Network(verbs::network::Args),
    /// Show what all nodes of the cluster hold.
    Cluster(verbs::cluster::Args),
    /// Ask the service that kubelets call, as crictl does: pods, their containers and images.
    Cri(Box<verbs::cri::Args>),
    /// Look into the node's configuration.
    Config(verbs::config::Args),
    /// Have the node read its configuration again.
    Reload(verbs::reload::Args),
    /// Print a completion script for a shell.
    Completions(verbs::completions::Args),
    /// Publish an event that is read from standard input (for shims).
    #[command(hide = true)]
    Publish(verbs::publish::Args),
    /// Wait for a container's end and remove it (for `run -d --rm`).
    #[command(hide = true)]
    Reap(verbs::reap::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_go_anywhere() {
        for line in ["berth -n k8s.io --json ps -a", "berth ps -a --namespace k8s.io --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json && cli.global.namespace() == "k8s.io");
        }
    }

    /// Verbs that show all namespaces show one where it is asked for.
    #[test]
    fn a_namespace_that_is_typed_is_told_from_the_usual_one() {
        for (line, typed) in [("berth ps", None), ("berth ps -n default", Some("default"))] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(
                (cli.global.namespace.as_deref(), cli.global.namespace()),
                (typed, "default")
            );
        }
    }

    #[test]
    fn what_follows_the_image_is_the_containers() {
        let line = "berth run --rm -e A=1 busybox ls -la --json";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Verb::Run(run) = cli.verb else { panic!("not a run") };
        assert_eq!(run.create.command, ["ls", "-la", "--json"]);
        assert!(!cli.global.json && run.rm);
    }

    #[test]
    fn a_shims_way_to_publish_is_understood() {
        let line = "berth --address /s publish --topic /tasks/exit --namespace moby";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(cli.global.namespace(), "moby");
    }
}
