//! `berth cluster`

mod events;
mod listing;
mod node;
mod status;
mod whereabouts;

use std::process::ExitCode;

use anyhow::Result;
use berth_proto::berth::cluster::v1::View;
use clap::Subcommand;

use crate::cluster::{Kinds, shown};
use crate::global::Global;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What is shown. All namespaces are, unless --namespace is typed.
#[derive(Debug, Subcommand)]
enum What {
    /// List the nodes.
    Nodes(listing::Args),
    /// List images of all nodes.
    Images(listing::Args),
    /// List containers of all nodes.
    Ps(listing::Args),
    /// Show what changes on all nodes as it happens.
    Events(events::Args),
    /// List the nodes that have an image.
    Where(whereabouts::Args),
    /// Show what one node says of itself.
    Node(node::Args),
    /// Show what this node does for the cluster.
    Status,
}

/// Does it: 1 when a comparison found something.
pub async fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let done = match args.what {
        What::Nodes(args) => listing::run(Kinds::Nodes, args, global).await,
        What::Images(args) => listing::run(Kinds::Images, args, global).await,
        What::Ps(args) => listing::run(Kinds::Containers, args, global).await,
        What::Events(args) => events::run(args, global).await,
        What::Where(args) => whereabouts::run(args, global).await,
        What::Node(args) => return node::run(args, global).await,
        What::Status => status::run(global).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Tells beside the list what it is worth.
fn tell_worth(view: &View) {
    eprintln!("{}", shown::worth(view));
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn typed(line: &str) -> Result<(What, Global), clap::Error> {
        let cli = Cli::try_parse_from(line.split(' '))?;
        let Verb::Cluster(args) = cli.verb else { panic!("{line} is another verb") };
        Ok((args.what, cli.global))
    }

    #[test]
    fn each_part_of_it_can_be_typed() {
        for line in [
            "berth cluster nodes",
            "berth cluster nodes --watch --filter labels.zone==a --filter node==n",
            "berth cluster images --limit 5 --json",
            "berth cluster ps -n k8s.io --watch",
            "berth cluster events --kind images --kind containers --since 17 --count 1",
            "berth cluster where busybox:1 --watch",
            "berth cluster node n-1 --compare",
            "berth cluster node",
            "berth cluster status --json",
        ] {
            typed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "berth cluster",
            "berth cluster nodes --limit 0",
            "berth cluster nodes --limit 5 --watch",
            "berth cluster events --kind tasks",
            "berth cluster events --since 0",
            "berth cluster where",
        ] {
            assert!(typed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_namespace_is_meant_only_where_it_is_typed() {
        let (_, global) = typed("berth cluster images").unwrap();
        assert_eq!(global.namespace, None);
        let (_, global) = typed("berth cluster images -n default").unwrap();
        assert_eq!(global.namespace.as_deref(), Some("default"));
    }
}
