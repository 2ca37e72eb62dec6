//! `berth cri imagefsinfo`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::cri::{shown, write};
use crate::global::Global;
use crate::output;

/// Does it.
pub async fn run(global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let request = client.request(wire::ImageFsInfoRequest {});
    let answer = client.cri_images().image_fs_info(request).await;
    let told = answer.step(|| "ask what images use".to_owned())?.into_inner();
    if global.json {
        return output::json(&write::json(&told));
    }
    let of = |what: &'static str| move |usage: &wire::FilesystemUsage| as_row(what, usage);
    let images = told.image_filesystems.iter().map(of("images"));
    let containers = told.container_filesystems.iter().map(of("containers"));
    let rows: Vec<_> = images.chain(containers).collect();
    output::table(["OF", "PATH", "USED", "INODES"], &rows)
}

fn as_row(of: &str, usage: &wire::FilesystemUsage) -> [String; 4] {
    [
        of.to_owned(),
        usage.fs_id.clone().unwrap_or_default().mountpoint,
        shown::bytes(usage.used_bytes),
        shown::count(usage.inodes_used),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_where_and_how_much() {
        let usage = wire::FilesystemUsage {
            fs_id: Some(wire::FilesystemIdentifier { mountpoint: "/s".into() }),
            used_bytes: Some(wire::UInt64Value { value: 2048 }),
            ..Default::default()
        };
        assert_eq!(as_row("images", &usage), ["images", "/s", "2.0 KiB", "-"]);
    }
}
