//! `berth network create`

use anyhow::{Context, Result, bail};
use berth_proto::berth::node::v1::CreateNetworkRequest;

use super::as_json;
use crate::client::{Client, Step};
use crate::global::Global;
use crate::{output, parse};

/// Names that `--net` has other meanings for.
const TAKEN: [&str; 2] = ["host", "none"];

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its subnet, of IPv4 or IPv6; one of each is chosen that nothing here uses.
    #[arg(long = "subnet", value_name = "ADDRESS/LENGTH")]
    subnets: Vec<String>,
    /// Without addresses of IPv6.
    #[arg(long)]
    ipv4_only: bool,
    /// Without a way out to other networks.
    #[arg(long)]
    internal: bool,
    /// The size of a packet in bytes, instead of the kernel's.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    mtu: u32,
    /// A label of the network.
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,
    /// Its name.
    name: String,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let Args { subnets, ipv4_only, internal, mtu, labels, name } = args;
    if TAKEN.contains(&name.as_str()) {
        bail!(
            "network {name:?} could not be asked for: `--net {name}` means another, take another name"
        );
    }
    let client = Client::connect(global).await?;
    let doing = || format!("create network {name}");
    let labels = labels.into_iter().collect();
    let request =
        CreateNetworkRequest { name: name.clone(), subnets, ipv4_only, internal, mtu, labels };
    let answer = client.networks().create(client.request(request)).await.step(doing)?;
    let network = answer.into_inner().network.with_context(doing)?;
    if global.json {
        return output::json(&as_json(&network));
    }
    output::line(&network.name)
}
