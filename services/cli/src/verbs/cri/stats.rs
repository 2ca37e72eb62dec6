//! `berth cri stats`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::cri::{shown, write};
use crate::global::Global;
use crate::{output, parse};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show containers of this pod only.
    #[arg(short, long, value_name = "POD")]
    pod: Option<String>,
    /// Show containers with this label only; with several, with all of them.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse::pair)]
    labels: Vec<(String, String)>,
    /// Do not cut numbers short.
    #[arg(long)]
    no_trunc: bool,
    /// A container's number, or its first digits.
    container: Option<String>,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let filter = wire::ContainerStatsFilter {
        id: args.container.unwrap_or_default(),
        pod_sandbox_id: args.pod.unwrap_or_default(),
        label_selector: args.labels.into_iter().collect(),
    };
    let request = client.request(wire::ListContainerStatsRequest { filter: Some(filter) });
    let answer = client.cri().list_container_stats(request).await;
    let stats = answer.step(|| "ask what containers use".to_owned())?.into_inner().stats;
    if global.json {
        return output::json(&stats.iter().map(write::json).collect::<Vec<_>>());
    }
    let rows: Vec<_> = stats.iter().map(|of| as_row(of, args.no_trunc)).collect();
    output::table(["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"], &rows)
}

fn as_row(of: &wire::ContainerStats, whole: bool) -> [String; 7] {
    let attributes = of.attributes.clone().unwrap_or_default();
    let layer = of.writable_layer.clone().unwrap_or_default();
    let memory = of.memory.as_ref().and_then(|memory| memory.working_set_bytes);
    [
        shown::number(&attributes.id, whole),
        attributes.metadata.unwrap_or_default().name,
        shown::percent(of.cpu.as_ref()),
        shown::bytes(memory),
        shown::bytes(layer.used_bytes),
        shown::count(layer.inodes_used),
        shown::bytes(of.swap.as_ref().and_then(|swap| swap.swap_usage_bytes)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_was_measured() {
        let value = |value| Some(wire::UInt64Value { value });
        let stats = wire::ContainerStats {
            attributes: Some(wire::ContainerAttributes {
                id: "c".into(),
                metadata: Some(wire::ContainerMetadata { name: "web".into(), attempt: 0 }),
                ..Default::default()
            }),
            memory: Some(wire::MemoryUsage {
                working_set_bytes: value(2048),
                usage_bytes: value(4096),
                ..Default::default()
            }),
            writable_layer: Some(wire::FilesystemUsage {
                inodes_used: value(3),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(as_row(&stats, false), ["c", "web", "-", "2.0 KiB", "-", "3", "-"]);
    }
}
