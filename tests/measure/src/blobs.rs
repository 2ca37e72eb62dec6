//! A blob through the API: how fast it is written and read.

use anyhow::{Context, Result};
use berth_proto::containerd::services::content::v1::{
    ReadContentRequest, WriteAction, WriteContentRequest,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::client::Client;
use crate::daemon::Pair;
use crate::turns::{take, time};

const SIZE: usize = 64 << 20;
const MESSAGE: usize = 1 << 20;

/// Measures it.
pub async fn measure(pair: &Pair, rounds: usize) -> Result<()> {
    let written =
        take(pair, rounds, async |node, number| time(write(&node.client, number)).await).await?;
    written.report_rate("write a blob of 64 MiB", SIZE as u64);
    let digests = [digest(&pair.containerd.client).await?, digest(&pair.berth.client).await?];
    let read = take(pair, rounds, async |node, number| {
        time(read(&node.client, &digests[number % 2])).await
    })
    .await?;
    read.report_rate("read a blob of 64 MiB", SIZE as u64);
    Ok(())
}

/// One message of a write.
pub fn step(action: WriteAction, reference: &str, offset: usize) -> WriteContentRequest {
    WriteContentRequest {
        action: action.into(),
        r#ref: reference.to_owned(),
        offset: i64::try_from(offset).unwrap_or(i64::MAX),
        ..Default::default()
    }
}

async fn digest(client: &Client) -> Result<String> {
    write(client, usize::MAX).await
}

async fn write(client: &Client, number: usize) -> Result<String> {
    let reference = format!("large-{number}");
    let mut data = number.to_le_bytes().repeat(MESSAGE / 8);
    let (sender, requests) = tokio::sync::mpsc::channel(4);
    let mut content = client.content();
    let feed = async {
        for offset in (0..SIZE).step_by(MESSAGE) {
            data[8] = (offset >> 20) as u8;
            let write = step(WriteAction::Write, &reference, offset);
            sender.send(WriteContentRequest { data: data.clone().into(), ..write }).await?;
        }
        let commit = step(WriteAction::Commit, &reference, SIZE);
        sender.send(WriteContentRequest { total: SIZE as i64, ..commit }).await?;
        Ok::<_, anyhow::Error>(())
    };
    let answers = async {
        let requests = client.request(ReceiverStream::new(requests));
        let mut answers = content.write(requests).await?.into_inner();
        loop {
            let answer = answers.message().await?.context("the write ended early")?;
            if answer.action() == WriteAction::Commit {
                return Ok::<_, anyhow::Error>(answer.digest);
            }
        }
    };
    let ((), digest) = tokio::try_join!(feed, answers)?;
    Ok(digest)
}

async fn read(client: &Client, digest: &str) -> Result<()> {
    let request = ReadContentRequest { digest: digest.to_owned(), ..Default::default() };
    let mut stream = client.content().read(client.request(request)).await?.into_inner();
    let mut got = 0;
    while let Some(part) = stream.message().await? {
        got += part.data.len();
    }
    anyhow::ensure!(got == SIZE, "{got} bytes came, {SIZE} were written");
    Ok(())
}
