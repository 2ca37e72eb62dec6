//! Small calls, one after the other.

use anyhow::{Context, Result};
use berth_proto::containerd::services::content::v1::{WriteAction, WriteContentRequest};
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::types::Descriptor;

use crate::client::Client;
use crate::daemon::Pair;
use crate::turns::{take, time};
use crate::{blobs, runc};

/// Measures them.
pub async fn measure(pair: &Pair, rounds: usize) -> Result<()> {
    take(pair, rounds * 10, async |node, _| time(node.client.version()).await)
        .await?
        .report("Version");
    let spec = runc::spec(&["true"])?;
    let record = async |client: &Client, number: usize| {
        client.create_container(&format!("record-{number}"), &spec, "").await
    };
    take(pair, rounds, async |node, number| time(record(&node.client, number)).await)
        .await?
        .report("make a container's record");
    take(pair, rounds, async |node, number| time(write_small(&node.client, number)).await)
        .await?
        .report("write a blob of 1 KiB");
    take(pair, rounds, async |node, number| time(image(&node.client, number)).await)
        .await?
        .report("make an image's record");
    take(pair, rounds, async |node, number| {
        time(node.client.prepare(&format!("snapshot-{number}"), "")).await
    })
    .await?
    .report("make a snapshot");
    Ok(())
}

async fn image(client: &Client, number: usize) -> Result<()> {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest: format!("sha256:{:064x}", 1),
        size: 1024,
        ..Default::default()
    };
    let name = format!("registry.example/image:{number}");
    let image = images::Image { name, target: Some(target), ..Default::default() };
    let request = images::CreateImageRequest { image: Some(image), ..Default::default() };
    client.images().create(client.request(request)).await?;
    Ok(())
}

/// As containerd's clients do it: ask for the ingest's state, write, commit, each answered.
async fn write_small(client: &Client, number: usize) -> Result<()> {
    let (reference, mut data) = (format!("small-{number}"), number.to_le_bytes().to_vec());
    data.resize(1 << 10, 1);
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut content = client.content();
    let stat = blobs::step(WriteAction::Stat, &reference, 0);
    sender.send(stat).await?;
    let mut answers = content.write(client.request(requests)).await?.into_inner();
    answers.message().await?.context("no answer to the question for the state")?;
    let write = blobs::step(WriteAction::Write, &reference, 0);
    sender.send(WriteContentRequest { data: data.into(), ..write }).await?;
    answers.message().await?.context("no answer to the write")?;
    let commit = blobs::step(WriteAction::Commit, &reference, 1 << 10);
    sender.send(WriteContentRequest { total: 1 << 10, ..commit }).await?;
    answers.message().await?.context("no answer to the commit")?;
    Ok(())
}
