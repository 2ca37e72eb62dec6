//! Content: sessions of writing, ranges of reading, labels.

use anyhow::Result;
use berth_proto::containerd::services::content::v1 as wire;
use berth_testkit::sha256;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use wire::{WriteAction, WriteContentRequest};

use super::{LONG, Suite, long, mask, message, pairs};

/// SHA-512 of `long`.
const SHA512: &str = "sha512:81272eedec36d7d4ab9b6dcc8f3b84cca9f2383d545213ca0a6326983af7bb0c\
    869f17dd06c95c89322122997144a32da80af27e8f976e97d2c5cf55e3ae8b37";

pub async fn run(suite: &mut Suite) -> Result<()> {
    suite.begin("content")?;
    digests(suite).await;
    sessions(suite).await?;
    offsets(suite).await?;
    commits(suite).await?;
    ingests(suite).await?;
    ranges(suite).await?;
    updates(suite).await?;
    lists(suite).await
}

async fn digests(suite: &mut Suite) {
    let digest = "sha256:12".to_owned();
    let failed = "\"sha256:12\" failed validation";
    let info = suite.content().info(suite.on(wire::InfoRequest { digest: digest.clone() })).await;
    suite.refused("info of no digest", info, Code::InvalidArgument, failed);
    let info = wire::Info { digest: digest.clone(), ..Default::default() };
    let update = wire::UpdateRequest { info: Some(info), update_mask: None };
    let update = suite.content().update(suite.on(update)).await;
    suite.refused("update of no digest", update, Code::InvalidArgument, failed);
    let delete = suite.content().delete(suite.on(wire::DeleteContentRequest { digest })).await;
    let length = "invalid checksum digest length";
    suite.refused("delete of no digest", delete, Code::InvalidArgument, length);
    for (digest, text) in [
        ("", ": invalid checksum digest format"),
        ("md5:00", "md5:00: unsupported digest algorithm"),
        ("MD5:00", "MD5:00: invalid checksum digest format"),
    ] {
        let read = read(suite, digest, 0, 0).await;
        suite.refused(&format!("read of {digest:?}"), read, Code::InvalidArgument, text);
    }
    let absent = sha256(b"absent");
    let text = format!("content digest {absent}: not found");
    let info = wire::InfoRequest { digest: absent.clone() };
    let info = suite.content().info(suite.on(info)).await;
    suite.refused("info of what is not there", info, Code::NotFound, &text);
    let delete = wire::DeleteContentRequest { digest: absent };
    let delete = suite.content().delete(suite.on(delete)).await;
    suite.refused("delete of what is not there", delete, Code::NotFound, &text);
}

async fn sessions(suite: &mut Suite) -> Result<()> {
    let (_, nameless) = suite.write(None, vec![message(WriteAction::Stat, "", 0, b"")]).await?;
    let text = "first message must have a reference";
    suite.refused("a session without a reference", nameless, Code::InvalidArgument, text);
    let parts = vec![
        message(WriteAction::Stat, "parts", 0, b""),
        message(WriteAction::Write, "parts", 0, b"hello "),
        message(WriteAction::Write, "parts", 6, b"world"),
        WriteContentRequest {
            total: 11,
            expected: sha256(b"hello world"),
            labels: pairs(&[("a", "b"), ("empty", "")]),
            ..message(WriteAction::Commit, "parts", 11, b"")
        },
    ];
    let (answers, ended) = suite.write(None, parts).await?;
    suite.done("a session in parts", ended);
    let offsets: Vec<_> = answers.iter().map(|answer| answer.offset).collect();
    suite.is("offsets of a session", offsets, vec![0, 6, 11, 11]);
    let digests: Vec<_> = answers.iter().map(|answer| answer.digest.clone()).collect();
    let (empty, first, all) = (sha256(b""), sha256(b"hello "), sha256(b"hello world"));
    suite.is("digests of a session", digests, vec![empty, first, all.clone(), all.clone()]);
    let info = suite.content().info(suite.on(wire::InfoRequest { digest: all.clone() })).await;
    let info = info?.into_inner().info.unwrap_or_default();
    suite.is("the blob's size", info.size, 11);
    suite.is("the blob's labels", info.labels, pairs(&[("a", "b")]));
    suite.is("a new blob's times", info.created_at, info.updated_at);
    let again = WriteContentRequest {
        expected: all.clone(),
        ..message(WriteAction::Stat, "again", 0, b"")
    };
    let (_, again) = suite.write(None, vec![again]).await?;
    let text = format!("content {all}: already exists");
    suite.refused("a session for what is there", again, Code::AlreadyExists, &text);
    let late = vec![
        message(WriteAction::Write, "late", 0, b"hello world"),
        WriteContentRequest {
            expected: all.clone(),
            ..message(WriteAction::Commit, "late", 11, b"")
        },
    ];
    let (_, late) = suite.write(None, late).await?;
    let text = format!("blob with expected digest {all} exists");
    suite.refused("a commit that names what is there", late, Code::AlreadyExists, &text);
    let silent = message(WriteAction::Commit, "silent", 0, b"hello world");
    let (_, silent) = suite.write(None, vec![silent]).await?;
    let text = format!("content {all}: already exists");
    suite.refused("a commit of what is there", silent, Code::AlreadyExists, &text);
    for reference in ["again", "late", "silent"] {
        let status = status(suite, reference).await;
        let text =
            format!("could not get status for ref {reference:?}: reference {reference}: not found");
        suite.refused(&format!("ingest {reference} is gone"), status, Code::NotFound, &text);
    }
    Ok(())
}

async fn offsets(suite: &mut Suite) -> Result<()> {
    let gap = vec![
        message(WriteAction::Write, "gap", 0, b"12345"),
        message(WriteAction::Write, "gap", 9, b"x"),
    ];
    let (_, gap) = suite.write(None, gap).await?;
    let text = "write @9 must occur at current offset 5";
    suite.refused("a gap", gap, Code::OutOfRange, text);
    let moves = vec![
        message(WriteAction::Write, "gap", -1, b"6"),
        message(WriteAction::Stat, "gap", 0, b""),
        message(WriteAction::Write, "gap", 0, b"anew"),
        WriteContentRequest { total: 4, ..message(WriteAction::Stat, "gap", 0, b"") },
    ];
    let (answers, ended) = suite.write(None, moves).await?;
    suite.done("moves", ended);
    let offsets: Vec<_> = answers.iter().map(|answer| answer.offset).collect();
    suite.is("offsets of moves", offsets, vec![6, 6, 4, 4]);
    suite.is("the total that was said", answers.last().map(|answer| answer.total), Some(4));
    suite.is("the digest of what is there anew", answers[3].digest.clone(), sha256(b"anew"));
    let abort = suite.content().abort(suite.on(wire::AbortRequest { r#ref: "gap".into() })).await;
    suite.done("abort", abort);
    let abort = suite.content().abort(suite.on(wire::AbortRequest { r#ref: "gap".into() })).await;
    suite.refused("abort of nothing", abort, Code::NotFound, "reference gap: not found");
    Ok(())
}

async fn commits(suite: &mut Suite) -> Result<()> {
    let wrong_size =
        WriteContentRequest { total: 9, ..message(WriteAction::Commit, "c", 0, b"bytes") };
    let (_, wrong_size) = suite.write(None, vec![wrong_size]).await?;
    let text = "\"c\" failed size validation: 5 != 9: failed precondition";
    suite.refused("a commit of another size", wrong_size, Code::FailedPrecondition, text);
    let other = WriteContentRequest {
        expected: sha256(b"other"),
        ..message(WriteAction::Commit, "d", 0, b"bytes")
    };
    let (_, other) = suite.write(None, vec![other]).await?;
    let (found, wanted) = (sha256(b"bytes"), sha256(b"other"));
    let text = format!("unexpected commit digest {found}, expected {wanted}: failed precondition");
    suite.refused("a commit of another digest", other, Code::FailedPrecondition, &text);
    let labelled =
        WriteContentRequest { labels: long(), ..message(WriteAction::Commit, "e", 0, b"bytes") };
    let (_, labelled) = suite.write(None, vec![labelled]).await?;
    let text = format!("info.Labels: {LONG}");
    suite.refused("a commit with a long label", labelled, Code::InvalidArgument, &text);
    let (_, resumed) = suite.write(None, vec![message(WriteAction::Commit, "d", 5, b"")]).await?;
    suite.done("a commit after one that was refused", resumed);
    let unleased = message(WriteAction::Commit, "f", 0, b"unleased");
    let (_, unleased) = suite.write(Some("nobody"), vec![unleased]).await?;
    let text = "lease does not exist: not found";
    suite.refused("a write under no lease", unleased, Code::NotFound, text);
    let other = WriteContentRequest {
        expected: SHA512.to_owned(),
        ..message(WriteAction::Commit, "g", 4, b"")
    };
    let other = vec![message(WriteAction::Write, "g", 0, b"long"), other];
    let (answers, ended) = suite.write(None, other).await?;
    suite.done("a commit by SHA-512", ended);
    let digest = answers.last().map(|answer| answer.digest.clone()).unwrap_or_default();
    suite.is("its digest", digest, SHA512.to_owned());
    Ok(())
}

async fn ingests(suite: &mut Suite) -> Result<()> {
    suite.write(None, vec![message(WriteAction::Write, "open", 0, b"part")]).await?.1?;
    let found = status(suite, "open").await?.unwrap_or_default();
    suite.is("the state of an ingest", (found.r#ref.as_str(), found.offset), ("open", 4));
    for (filter, count) in [("ref==open", 1), ("ref~=^op", 1), ("ref==other", 0), ("size==4", 0)] {
        let list = wire::ListStatusesRequest { filters: vec![filter.to_owned()] };
        let list = suite.content().list_statuses(suite.on(list)).await?.into_inner();
        suite.is(&format!("ingests with {filter}"), list.statuses.len(), count);
    }
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(message(WriteAction::Stat, "open", 0, b"")).await?;
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut held = suite.content().write(suite.on(messages)).await?.into_inner();
    held.message().await?;
    let (_, second) = suite.write(None, vec![message(WriteAction::Stat, "open", 0, b"")]).await?;
    let code = second.map_or_else(|status| status.code(), |()| Code::Ok);
    suite.is("a second writer", code, Code::Unavailable);
    drop(sender);
    while held.message().await?.is_some() {}
    let (answers, third) =
        suite.write(None, vec![message(WriteAction::Stat, "open", 0, b"")]).await?;
    suite.done("a writer after the first", third);
    suite.is("where it goes on", answers.first().map(|answer| answer.offset), Some(4));
    suite.content().abort(suite.on(wire::AbortRequest { r#ref: "open".into() })).await?;
    Ok(())
}

async fn ranges(suite: &mut Suite) -> Result<()> {
    let digest = suite.put(None, b"0123456789", &[("containerd.io/gc.root", "1")]).await?;
    for (offset, size, part) in [
        (0, 0, "0123456789"),
        (3, 4, "3456"),
        (-3, 2, "01"),
        (8, -1, "89"),
        (8, 100, "89"),
        (10, 1, ""),
    ] {
        let found = read(suite, &digest, offset, size).await?;
        suite.is(&format!("the range {offset}, {size}"), found, part.as_bytes().to_vec());
    }
    let past = read(suite, &digest, 11, 1).await;
    suite.refused("past the end", past, Code::OutOfRange, "read past object length 10 bytes");
    let absent = sha256(b"absent");
    let none = read(suite, &absent, 0, 0).await;
    let text = format!("content digest {absent}: not found");
    suite.refused("read of what is not there", none, Code::NotFound, &text);
    Ok(())
}

async fn updates(suite: &mut Suite) -> Result<()> {
    let digest = suite.put(None, b"labelled", &[("kept", "1"), ("x", "1"), ("y", "1")]).await?;
    let update = async |suite: &Suite, digest: &str, labels, paths: &[&str]| {
        let info = wire::Info { digest: digest.to_owned(), labels, ..Default::default() };
        let request = wire::UpdateRequest { info: Some(info), update_mask: mask(paths) };
        let answer = suite.content().update(suite.on(request)).await?;
        Ok::<_, Status>(answer.into_inner().info.unwrap_or_default().labels)
    };
    let absent = sha256(b"absent");
    let none = update(suite, &absent, long(), &["size"]).await;
    let text = format!("content digest {absent}: not found");
    suite.refused("an update of what is not there", none, Code::NotFound, &text);
    let fixed = update(suite, &digest, long(), &["size"]).await;
    let text = format!("cannot update \"size\" field on content info {digest:?}: invalid argument");
    suite.refused("an update of what is fixed", fixed, Code::InvalidArgument, &text);
    let labels = update(suite, &digest, long(), &["labels"]).await;
    let text = format!("info.Labels: {LONG}");
    suite.refused("an update to a long label", labels, Code::InvalidArgument, &text);
    let new = pairs(&[("x", "2"), ("z", "2")]);
    let some = update(suite, &digest, new.clone(), &["labels.x", "labels.y"]).await?;
    suite.is("labels one by one", some, pairs(&[("kept", "1"), ("x", "2")]));
    let all = update(suite, &digest, new.clone(), &["labels"]).await?;
    suite.is("all labels", all, new);
    let all = update(suite, &digest, pairs(&[("only", "3")]), &[]).await?;
    suite.is("all without a mask", all, pairs(&[("only", "3")]));
    Ok(())
}

async fn lists(suite: &mut Suite) -> Result<()> {
    let digest = suite.put(None, b"listed", &[("app.name/x", "listed")]).await?;
    for (filter, count) in [
        (format!("digest=={digest}"), 1),
        ("labels.\"app.name/x\"==listed".to_owned(), 1),
        ("labels.\"app.name/x\"".to_owned(), 1),
        ("labels.\"app.name/x\"~=^li".to_owned(), 1),
        (format!("labels.\"app.name/x\"!=listed,digest=={digest}"), 0),
        ("size==6".to_owned(), 0),
    ] {
        let list = wire::ListContentRequest { filters: vec![filter.clone()] };
        let mut pages = suite.content().list(suite.on(list)).await?.into_inner();
        let mut found = 0;
        while let Some(page) = pages.next().await {
            found += page?.info.len();
        }
        suite.is(&format!("content with {}", filter.replace(&digest, "DIGEST")), found, count);
    }
    let list = wire::ListContentRequest { filters: vec!["labels.==".to_owned()] };
    let refused = match suite.content().list(suite.on(list)).await {
        Ok(pages) => pages.into_inner().next().await.transpose().map(drop),
        Err(status) => Err(status),
    };
    let code = refused.map_or_else(|status| status.code(), |()| Code::Ok);
    suite.is("a filter that is none", code, Code::InvalidArgument);
    Ok(())
}

async fn status(suite: &Suite, reference: &str) -> Result<Option<wire::Status>, Status> {
    let request = wire::StatusRequest { r#ref: reference.to_owned() };
    Ok(suite.content().status(suite.on(request)).await?.into_inner().status)
}

async fn read(suite: &Suite, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
    let request = wire::ReadContentRequest { digest: digest.to_owned(), offset, size };
    let mut frames = suite.content().read(suite.on(request)).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(frame) = frames.message().await? {
        bytes.extend_from_slice(&frame.data);
    }
    Ok(bytes)
}
