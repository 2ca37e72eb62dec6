//! `berth network`

mod create;
mod inspect;
mod ls;
mod rm;

use anyhow::Result;
use berth_proto::berth::node::v1::{ListNetworksRequest, ListNetworksResponse, Network};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::{Client, Step};
use crate::global::Global;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What is done with networks.
#[derive(Debug, Subcommand)]
enum What {
    /// List networks.
    Ls(ls::Args),
    /// Make a network: a bridge with addresses of its own.
    Create(create::Args),
    /// Show all that is known of networks, and what is attached to them.
    Inspect(inspect::Args),
    /// Take networks away that nothing is attached to.
    Rm(rm::Args),
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    match args.what {
        What::Ls(args) => ls::run(args, global).await,
        What::Create(args) => create::run(args, global).await,
        What::Inspect(args) => inspect::run(args, global).await,
        What::Rm(args) => rm::run(args, global).await,
    }
}

/// All networks. Files that are none are told on standard error.
async fn list(client: &Client) -> Result<Vec<Network>> {
    let answer = client.networks().list(client.request(ListNetworksRequest {})).await;
    let answer = answer.step(|| "list networks".to_owned())?;
    let ListNetworksResponse { networks, bad } = answer.into_inner();
    for bad in bad {
        eprintln!("berth: {} is no network: {}", bad.file, bad.reason);
    }
    Ok(networks)
}

fn as_json(network: &Network) -> Value {
    json!({
        "name": network.name,
        "file": network.file,
        "cni_version": network.cni_version,
        "plugins": network.plugins,
        "subnets": network.subnets,
        "own": network.own,
        "pods": network.pods,
        "labels": network.labels,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn each_part_of_it_can_be_typed() {
        let line = "berth network create web --subnet 10.1.0.0/24 --subnet fd00:1::/64 --internal \
                    --mtu 1400 --label a=b";
        for line in [
            line,
            "berth network create web --ipv4-only --json",
            "berth network ls -q",
            "berth network inspect web other",
            "berth network rm web other --json",
        ] {
            let words = line.split_whitespace();
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "berth network",
            "berth network create",
            "berth network create a b",
            "berth network create a --label b",
            "berth network create a --mtu x",
            "berth network rm",
            "berth network inspect",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
