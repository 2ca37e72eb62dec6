//! containerd's Content service as its clients see it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use berth_proto::containerd::services::content::v1::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, ListContentRequest, ListStatusesRequest,
    ReadContentRequest, StatusRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use berth_proto::containerd::services::leases::v1 as leases;
use prost_types::FieldMask;
use support::{Clients, NAMESPACE, Served, digest, message, on, pairs};
use tonic::{Code, Status};

async fn read(
    clients: &mut Clients,
    digest: &str,
    offset: i64,
    size: i64,
) -> Result<Vec<u8>, Status> {
    let request = ReadContentRequest { digest: digest.to_owned(), offset, size };
    let mut stream = clients.content.read(on(NAMESPACE, request)).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(frame) = stream.message().await? {
        assert_eq!(frame.offset, bytes.len() as i64);
        bytes.extend_from_slice(&frame.data);
    }
    Ok(bytes)
}

async fn info(clients: &mut Clients, namespace: &str, digest: &str) -> Result<Info, Status> {
    let request = on(namespace, InfoRequest { digest: digest.to_owned() });
    Ok(clients.content.info(request).await?.into_inner().info.unwrap())
}

#[tokio::test]
async fn a_blob_is_written_in_parts_and_read_in_ranges() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let half = bytes.len() / 2;
    let (answers, ended) = clients
        .session(
            "",
            vec![
                message(WriteAction::Stat, "r", 0, b""),
                message(WriteAction::Write, "r", 0, &bytes[..half]),
                message(WriteAction::Write, "r", half as i64, &bytes[half..]),
                WriteContentRequest {
                    total: bytes.len() as i64,
                    expected: digest(&bytes),
                    ..message(WriteAction::Commit, "r", bytes.len() as i64, b"")
                },
            ],
        )
        .await;
    ended.unwrap();
    let offsets: Vec<_> = answers.iter().map(|answer| answer.offset).collect();
    assert_eq!(offsets, [0, half as i64, bytes.len() as i64, bytes.len() as i64]);
    assert_eq!(answers[1].digest, digest(&bytes[..half]));
    assert_eq!(answers[3].digest, digest(&bytes));
    let name = digest(&bytes);
    assert_eq!(read(&mut clients, &name, 0, 0).await.unwrap(), bytes);
    assert_eq!(
        read(&mut clients, &name, 1_048_570, 20).await.unwrap(),
        bytes[1_048_570..1_048_590]
    );
    assert_eq!(read(&mut clients, &name, 2_999_999, 100).await.unwrap(), bytes[2_999_999..]);
    let past = read(&mut clients, &name, 3_000_001, 1).await.unwrap_err();
    assert_eq!(past.code(), Code::OutOfRange);
    served.stop().await;
}

#[tokio::test]
async fn an_ingest_is_resumed_where_it_ended() {
    let served = Served::start().await;
    let mut clients = served.clients();
    clients.session("", vec![message(WriteAction::Write, "r", 0, b"hello ")]).await.1.unwrap();
    let status = clients.content.status(on(NAMESPACE, StatusRequest { r#ref: "r".into() }));
    assert_eq!(status.await.unwrap().into_inner().status.unwrap().offset, 6);
    let wrong = clients.session("", vec![message(WriteAction::Write, "r", 3, b"x")]).await.1;
    assert_eq!(wrong.unwrap_err().code(), Code::OutOfRange);
    let commit = WriteContentRequest {
        expected: digest(b"hello world"),
        ..message(WriteAction::Commit, "r", 6, b"world")
    };
    clients.session("", vec![commit]).await.1.unwrap();
    assert_eq!(read(&mut clients, &digest(b"hello world"), 0, 0).await.unwrap(), b"hello world");
    let gone = clients.content.status(on(NAMESPACE, StatusRequest { r#ref: "r".into() })).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    served.stop().await;
}

/// A writer that cannot be opened takes nothing of what others wrote.
#[tokio::test]
async fn an_ingest_outlives_a_failure_to_open_it() {
    let served = Served::start().await;
    let mut clients = served.clients();
    clients.session("", vec![message(WriteAction::Write, "r", 0, b"hello ")]).await.1.unwrap();
    let create = leases::CreateRequest { id: "l".into(), ..Default::default() };
    clients.leases.create(on(NAMESPACE, create)).await.unwrap();
    let root = served.config.service_root(berth_config::Service::Distribution).join("ingest");
    let folder = fs_err::read_dir(root).unwrap().next().unwrap().unwrap().path();
    // In the way of the card that would name the lease.
    fs_err::create_dir(folder.join("ingest.json.new")).unwrap();
    let part = || vec![message(WriteAction::Write, "r", 6, b"world")];
    clients.session("l", part()).await.1.unwrap_err();
    clients.session("", part()).await.1.unwrap();
    let status = clients.content.status(on(NAMESPACE, StatusRequest { r#ref: "r".into() }));
    assert_eq!(status.await.unwrap().into_inner().status.unwrap().offset, 11);
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_digest_or_size_is_refused_and_the_bytes_stay() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let wrong_digest = WriteContentRequest {
        expected: digest(b"other"),
        ..message(WriteAction::Commit, "r", 0, b"bytes")
    };
    let refused = clients.session("", vec![wrong_digest]).await.1.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let wrong_size = WriteContentRequest { total: 9, ..message(WriteAction::Commit, "r", 5, b"") };
    let refused = clients.session("", vec![wrong_size]).await.1.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "\"r\" failed size validation: 5 != 9: failed precondition");
    clients.session("", vec![message(WriteAction::Commit, "r", 5, b"")]).await.1.unwrap();
    info(&mut clients, NAMESPACE, &digest(b"bytes")).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let name = clients.put("", b"same", &[]).await.unwrap();
    let expected = WriteContentRequest {
        expected: name.clone(),
        ..message(WriteAction::Stat, "second", 0, b"")
    };
    let present = clients.session("", vec![expected.clone()]).await.1.unwrap_err();
    assert_eq!(present.code(), Code::AlreadyExists);
    assert_eq!(present.message(), format!("content {name}: already exists"));
    // Without an announcement the commit finds out.
    let late = clients.session("", vec![message(WriteAction::Commit, "third", 0, b"same")]).await.1;
    assert_eq!(late.unwrap_err().code(), Code::AlreadyExists);
    // Another namespace shares the bytes without writing them.
    let stream = futures::stream::iter(vec![
        expected,
        WriteContentRequest {
            expected: name.clone(),
            ..message(WriteAction::Commit, "second", 4, b"")
        },
    ]);
    let mut stream = clients.content.write(on("other", stream)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().offset, 4);
    assert_eq!(stream.message().await.unwrap().unwrap().digest, name);
    let delete = DeleteContentRequest { digest: name.clone() };
    clients.content.delete(on(NAMESPACE, delete)).await.unwrap();
    assert_eq!(info(&mut clients, "other", &name).await.unwrap().size, 4);
    let gone = info(&mut clients, NAMESPACE, &name).await.unwrap_err();
    assert_eq!(gone.message(), format!("content digest {name}: not found"));
    served.stop().await;
}

#[tokio::test]
async fn a_reference_is_written_by_one_session_at_a_time() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(message(WriteAction::Stat, "r", 0, b"")).await.unwrap();
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut open = clients.content.write(on(NAMESPACE, messages)).await.unwrap().into_inner();
    open.message().await.unwrap().unwrap();
    let locked = clients.session("", vec![message(WriteAction::Stat, "r", 0, b"")]).await.1;
    assert_eq!(locked.unwrap_err().code(), Code::Unavailable);
    drop(sender);
    assert!(open.message().await.unwrap().is_none());
    clients.session("", vec![message(WriteAction::Stat, "r", 0, b"")]).await.1.unwrap();
    let list = ListStatusesRequest { filters: vec!["ref==r".into()] };
    let found = clients.content.list_statuses(on(NAMESPACE, list)).await.unwrap().into_inner();
    assert_eq!(found.statuses.len(), 1);
    clients.content.abort(on(NAMESPACE, AbortRequest { r#ref: "r".into() })).await.unwrap();
    let twice = clients.content.abort(on(NAMESPACE, AbortRequest { r#ref: "r".into() })).await;
    assert_eq!(twice.unwrap_err().code(), Code::NotFound);
    served.stop().await;
}

#[tokio::test]
async fn labels_are_changed_by_mask_and_filtered_by() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let name = clients.put("", b"labelled", &[("a", "1"), ("b.c/d", "2")]).await.unwrap();
    clients.put("", b"plain", &[]).await.unwrap();
    let update = |labels: &[(&str, &str)], paths: &[&str]| {
        let info = Info { digest: name.clone(), labels: pairs(labels), ..Info::default() };
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) };
        let mut content = clients.content.clone();
        async move { content.update(on(NAMESPACE, request)).await }
    };
    let one = update(&[("a", ""), ("b.c/d", "3")], &["labels.a", "labels.b.c/d"]).await.unwrap();
    assert_eq!(one.into_inner().info.unwrap().labels, pairs(&[("b.c/d", "3")]));
    let refused = update(&[], &["size"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let list = ListContentRequest { filters: vec!["labels.\"b.c/d\"==3".into()] };
    let mut pages = clients.content.list(on(NAMESPACE, list)).await.unwrap().into_inner();
    let page = pages.message().await.unwrap().unwrap();
    assert_eq!(page.info.len(), 1);
    assert_eq!(page.info[0].digest, name);
    let bad = ListContentRequest { filters: vec!["labels.==".into()] };
    let refused = clients.content.list(on(NAMESPACE, bad)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    served.stop().await;
}

#[tokio::test]
async fn sha512_blobs_are_committed_by_their_digest() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let mut hasher = berth_distribution::content::hash::Hasher::new(berth_ids::Algorithm::Sha512);
    hasher.update(b"long");
    let name = hasher.digest().to_string();
    // Hashed by the default until the commit says otherwise.
    let (_, ended) = clients
        .session(
            "",
            vec![
                message(WriteAction::Write, "r", 0, b"long"),
                WriteContentRequest {
                    expected: name.clone(),
                    ..message(WriteAction::Commit, "r", 4, b"")
                },
            ],
        )
        .await;
    ended.unwrap();
    assert_eq!(read(&mut clients, &name, 0, 0).await.unwrap(), b"long");
    served.stop().await;
}

#[tokio::test]
async fn a_write_under_an_unknown_lease_is_refused() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let refused = clients.put("nobody", b"x", &[]).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::NotFound, "lease does not exist: not found")
    );
    served.stop().await;
}
