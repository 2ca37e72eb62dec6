//! `berth cri statsp`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::cri::{shown, write};
use crate::global::Global;
use crate::{output, parse};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show pods with this label only; with several, with all of them.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse::pair)]
    labels: Vec<(String, String)>,
    /// Do not cut numbers short.
    #[arg(long)]
    no_trunc: bool,
    /// A pod's number, or its first digits.
    pod: Option<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let filter = wire::PodSandboxStatsFilter {
        id: args.pod.unwrap_or_default(),
        label_selector: args.labels.into_iter().collect(),
    };
    let request = client.request(wire::ListPodSandboxStatsRequest { filter: Some(filter) });
    let answer = client.cri().list_pod_sandbox_stats(request).await;
    let stats = answer.step(|| "ask what pods use".to_owned())?.into_inner().stats;
    if global.json {
        return output::json(&stats.iter().map(write::json).collect::<Vec<_>>());
    }
    let rows: Vec<_> = stats.iter().map(|of| as_row(of, args.no_trunc)).collect();
    output::table(
        ["POD ID", "NAME", "NAMESPACE", "CPU %", "MEM", "PROCESSES", "RECEIVED", "SENT"],
        &rows,
    )
}

fn as_row(of: &wire::PodSandboxStats, whole: bool) -> [String; 8] {
    let attributes = of.attributes.clone().unwrap_or_default();
    let metadata = attributes.metadata.unwrap_or_default();
    let linux = of.linux.clone().unwrap_or_default();
    let network = linux.network.unwrap_or_default().default_interface.unwrap_or_default();
    [
        shown::number(&attributes.id, whole),
        metadata.name,
        metadata.namespace,
        shown::percent(linux.cpu.as_ref()),
        shown::bytes(linux.memory.and_then(|memory| memory.working_set_bytes)),
        shown::count(linux.process.and_then(|process| process.process_count)),
        shown::bytes(network.rx_bytes),
        shown::bytes(network.tx_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_pods_network() {
        let value = |value| Some(wire::UInt64Value { value });
        let interface = wire::NetworkInterfaceUsage {
            rx_bytes: value(10),
            tx_bytes: value(20),
            ..Default::default()
        };
        let network =
            wire::NetworkUsage { default_interface: Some(interface), ..Default::default() };
        let stats = wire::PodSandboxStats {
            linux: Some(wire::LinuxPodSandboxStats {
                network: Some(network),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(as_row(&stats, false), ["", "", "", "-", "-", "-", "10 B", "20 B"]);
    }
}
