//! Content: writes in steps, ranges, and how they are refused.

use anyhow::{Context, Result};
use berth_testkit::sha256;
use containerd_client::services::v1::{
    AbortRequest, InfoRequest, ReadContentRequest, StatusRequest, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use containerd_client::tonic::{Code, Status};

use crate::stage::{Client, Stage, refused};

/// Sends all requests of one write; answers with the answer to the last.
async fn write(
    client: &Client,
    requests: Vec<WriteContentRequest>,
) -> Result<WriteContentResponse, Status> {
    let sent = tokio_stream::iter(requests);
    let mut answers = client.content().write(client.request(sent)).await?.into_inner();
    let mut last = None;
    while let Some(answer) = answers.message().await? {
        last = Some(answer);
    }
    last.ok_or_else(|| Status::cancelled("no answer"))
}

fn step(action: WriteAction, reference: &str) -> WriteContentRequest {
    let r#ref = reference.to_owned();
    WriteContentRequest { action: action.into(), r#ref, ..Default::default() }
}

async fn read(client: &Client, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
    let request = ReadContentRequest { digest: digest.to_owned(), offset, size };
    let mut pieces = client.content().read(client.request(request)).await?.into_inner();
    let mut read = Vec::new();
    while let Some(piece) = pieces.message().await? {
        read.extend(piece.data);
    }
    Ok(read)
}

/// Writes a blob at once.
pub async fn put(client: &Client, reference: &str, data: Vec<u8>) -> Result<String, Status> {
    let digest = sha256(&data);
    let commit = WriteContentRequest {
        expected: digest.clone(),
        total: i64::try_from(data.len()).expect("small"),
        data,
        ..step(WriteAction::Commit, reference)
    };
    write(client, vec![commit]).await.map(|_| digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_resumed_where_it_was_and_refused_elsewhere() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?.leased("content").await?;
    let part = WriteContentRequest { data: b"hello ".into(), ..step(WriteAction::Write, "r") };
    assert_eq!(write(&client, vec![part.clone()]).await?.offset, 6);
    let status = StatusRequest { r#ref: "r".into() };
    let status = client.content().status(client.request(status)).await?.into_inner().status;
    assert_eq!(status.context("a status")?.offset, 6);
    assert_eq!(write(&client, vec![step(WriteAction::Stat, "r")]).await?.offset, 6);

    let far = WriteContentRequest { offset: 9, ..part.clone() };
    refused(write(&client, vec![far]).await, Code::OutOfRange, "")?;
    let rest = WriteContentRequest { offset: 6, data: b"world".into(), ..part };
    let digest = sha256(b"hello world");
    let wrong = WriteContentRequest {
        offset: 11,
        expected: sha256(b"other"),
        total: 11,
        ..step(WriteAction::Commit, "r")
    };
    let refusal = write(&client, vec![rest.clone(), wrong.clone()]).await;
    refused(refusal, Code::FailedPrecondition, "unexpected commit digest")?;
    let longer = WriteContentRequest { total: 12, expected: String::new(), ..wrong.clone() };
    refused(write(&client, vec![longer]).await, Code::FailedPrecondition, "size validation")?;
    // Another total than the one that was said begins the ingest anew, as containerd's store does.
    refused(write(&client, vec![wrong.clone()]).await, Code::OutOfRange, "current offset 0")?;
    let data = b"hello world".to_vec();
    let expected = digest.clone();
    let commit = WriteContentRequest { offset: 0, data, expected, ..wrong };
    assert_eq!(write(&client, vec![commit]).await?.digest, digest);
    refused(put(&client, "again", b"hello world".to_vec()).await, Code::AlreadyExists, "")?;

    assert_eq!(read(&client, &digest, 0, 0).await?, b"hello world");
    assert_eq!(read(&client, &digest, 6, 3).await?, b"wor");
    refused(read(&client, &digest, 12, 0).await, Code::OutOfRange, "")?;
    refused(read(&client, &sha256(b"none"), 0, 0).await, Code::NotFound, "")?;
    refused(read(&client, "none", 0, 0).await, Code::InvalidArgument, "")?;
    let info = InfoRequest { digest };
    let info = client.content().info(client.request(info)).await?.into_inner().info;
    assert_eq!(info.context("its info")?.size, 11);
    let abort = AbortRequest { r#ref: "r".into() };
    refused(client.content().abort(client.request(abort)).await, Code::NotFound, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_is_written_by_one() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?.leased("locked").await?;
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(step(WriteAction::Stat, "one")).await?;
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut first = client.content().write(client.request(requests)).await?.into_inner();
    first.message().await?.context("an answer")?;
    let second = write(&client, vec![step(WriteAction::Stat, "one")]).await;
    refused(second, Code::Unavailable, "one")?;
    drop(sender);
    while first.message().await?.is_some() {}
    write(&client, vec![step(WriteAction::Stat, "one")]).await?;
    Ok(())
}
