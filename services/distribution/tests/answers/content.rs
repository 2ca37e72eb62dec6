//! Content and namespaces.

use std::collections::HashMap;

use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::namespaces::v1 as namespaces;
use content::{WriteAction, WriteContentRequest};
use tonic::{Code, Request};

use crate::leases::lease;
use crate::support::{NAMESPACE, Served, digest, message, on, pairs};
use crate::{LONG, long, mask, said, told};

#[tokio::test]
async fn what_is_no_digest_is_refused_by_each_call_in_its_words() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let text = "sha256:12".to_owned();
    let failed = said(Code::InvalidArgument, "\"sha256:12\" failed validation");
    // The digest is looked at before the namespace.
    let info = content::InfoRequest { digest: text.clone() };
    assert_eq!(told(clients.content.info(Request::new(info)).await), failed);
    let info = content::Info { digest: text.clone(), ..Default::default() };
    let update = content::UpdateRequest { info: Some(info), update_mask: None };
    assert_eq!(told(clients.content.update(on(NAMESPACE, update)).await), failed);
    let delete = content::DeleteContentRequest { digest: text.clone() };
    let length = said(Code::InvalidArgument, "invalid checksum digest length");
    assert_eq!(told(clients.content.delete(on(NAMESPACE, delete)).await), length);
    for (text, fault) in [
        ("", "invalid checksum digest format"),
        ("sha256:12", "invalid checksum digest length"),
        ("md5:00", "unsupported digest algorithm"),
    ] {
        let read = content::ReadContentRequest { digest: text.into(), ..Default::default() };
        let refused = told(clients.content.read(on(NAMESPACE, read)).await);
        assert_eq!(refused, said(Code::InvalidArgument, format!("{text}: {fault}")));
    }
    served.stop().await;
}

#[tokio::test]
async fn a_namespace_is_required_and_has_its_form() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let list = leases::ListRequest::default();
    let refused = told(clients.leases.list(Request::new(list.clone())).await);
    assert_eq!(
        refused,
        said(Code::FailedPrecondition, "namespace is required: failed precondition")
    );
    let mut request = Request::new(list);
    request.metadata_mut().insert("containerd-namespace", "a/b".parse().unwrap());
    let form = "namespace validation: identifier \"a/b\" must match \
        ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument";
    assert_eq!(told(clients.leases.list(request).await), said(Code::InvalidArgument, form));
    served.stop().await;
}

#[tokio::test]
async fn an_update_of_content_says_first_whether_it_is_there() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let (there, absent) = (clients.put("", b"there", &[]).await.unwrap(), digest(b"absent"));
    let update = |digest: &str, labels: HashMap<String, String>, paths: &[&str]| {
        let info = content::Info { digest: digest.into(), labels, ..Default::default() };
        on(NAMESPACE, content::UpdateRequest { info: Some(info), update_mask: mask(paths) })
    };
    let refused = told(clients.content.update(update(&absent, long(), &["size"])).await);
    assert_eq!(refused, said(Code::NotFound, format!("content digest {absent}: not found")));
    let refused = told(clients.content.update(update(&there, long(), &["size"])).await);
    let fixed =
        format!("cannot update \"size\" field on content info \"{there}\": invalid argument");
    assert_eq!(refused, said(Code::InvalidArgument, fixed));
    for paths in [&["labels"][..], &["labels.k"], &[]] {
        let refused = told(clients.content.update(update(&there, long(), paths)).await);
        assert_eq!(refused, said(Code::InvalidArgument, format!("info.Labels: {LONG}")));
    }
    let kept = update(&there, pairs(&[("a", "1"), ("b", "2")]), &["labels"]);
    clients.content.update(kept).await.unwrap();
    let one = update(&there, pairs(&[("a", "3"), ("b", "4")]), &["labels.a", "labels.c"]);
    let info = clients.content.update(one).await.unwrap().into_inner().info.unwrap();
    assert_eq!(info.labels, pairs(&[("a", "3"), ("b", "2")]));
    assert!(info.updated_at.unwrap().seconds >= info.created_at.unwrap().seconds);
    served.stop().await;
}

#[tokio::test]
async fn sessions_are_refused_in_containerds_words() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let there = clients.put("", b"there", &[]).await.unwrap();
    let mut end =
        async |messages: Vec<WriteContentRequest>| told(clients.session("", messages).await.1);
    let nameless = end(vec![message(WriteAction::Stat, "", 0, b"")]).await;
    assert_eq!(nameless, said(Code::InvalidArgument, "first message must have a reference"));
    let gap = vec![
        message(WriteAction::Write, "r", 0, b"12345"),
        message(WriteAction::Write, "r", 9, b"x"),
    ];
    let gap = end(gap).await;
    assert_eq!(gap, said(Code::OutOfRange, "write @9 must occur at current offset 5"));
    let other =
        WriteContentRequest { expected: digest(b"x"), ..message(WriteAction::Commit, "r", 5, b"") };
    let wrong = format!(
        "unexpected commit digest {}, expected {}: failed precondition",
        digest(b"12345"),
        digest(b"x")
    );
    assert_eq!(end(vec![other]).await, said(Code::FailedPrecondition, wrong));
    let late = vec![
        message(WriteAction::Write, "r", 0, b"there"),
        WriteContentRequest {
            expected: there.clone(),
            ..message(WriteAction::Commit, "r", 5, b"")
        },
    ];
    let late = end(late).await;
    assert_eq!(
        late,
        said(Code::AlreadyExists, format!("blob with expected digest {there} exists"))
    );
    let labelled =
        WriteContentRequest { labels: long(), ..message(WriteAction::Commit, "l", 0, b"l") };
    let labelled = end(vec![labelled]).await;
    assert_eq!(labelled, said(Code::InvalidArgument, format!("info.Labels: {LONG}")));
    let status = content::StatusRequest { r#ref: "r".into() };
    let ended = "could not get status for ref \"r\": reference r: not found";
    let status = told(clients.content.status(on(NAMESPACE, status)).await);
    assert_eq!(status, said(Code::NotFound, ended), "it ended with the refusal");
    let abort = content::AbortRequest { r#ref: "r".into() };
    let abort = told(clients.content.abort(on(NAMESPACE, abort)).await);
    assert_eq!(abort, said(Code::NotFound, "reference r: not found"));
    let past = content::ReadContentRequest { digest: there.clone(), offset: 6, size: 1 };
    let past = told(clients.content.read(on(NAMESPACE, past)).await);
    assert_eq!(past, said(Code::OutOfRange, "read past object length 5 bytes"));
    let end = content::ReadContentRequest { digest: there, offset: 5, size: 9 };
    let mut end = clients.content.read(on(NAMESPACE, end)).await.unwrap().into_inner();
    assert!(end.message().await.unwrap().is_none(), "its end is no error");
    served.stop().await;
}

/// Where a write goes: at its offset, at the end without one, from the start again with 0.
#[tokio::test]
async fn offsets_of_a_session() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let (answers, ended) = clients
        .session(
            "",
            vec![
                message(WriteAction::Write, "r", 0, b"abc"),
                message(WriteAction::Write, "r", -1, b"def"),
                message(WriteAction::Stat, "r", 0, b""),
                message(WriteAction::Write, "r", 0, b"xy"),
                WriteContentRequest { total: 3, ..message(WriteAction::Commit, "r", 2, b"z") },
            ],
        )
        .await;
    ended.unwrap();
    let offsets: Vec<_> = answers.iter().map(|answer| answer.offset).collect();
    assert_eq!(offsets, [3, 6, 6, 2, 3]);
    assert_eq!(answers[2].digest, digest(b"abcdef"));
    assert_eq!(answers[4].digest, digest(b"xyz"));
    // An ingest of another size is of another blob: it begins anew.
    let sized = |total, offset, data: &[u8]| WriteContentRequest {
        total,
        ..message(WriteAction::Write, "s", offset, data)
    };
    clients.session("", vec![sized(5, 0, b"12")]).await.1.unwrap();
    let resumed = clients
        .session(
            "",
            vec![WriteContentRequest { total: 5, ..message(WriteAction::Stat, "s", 0, b"") }],
        )
        .await;
    assert_eq!((resumed.0[0].offset, resumed.0[0].total), (2, 5));
    let anew = clients
        .session(
            "",
            vec![WriteContentRequest { total: 7, ..message(WriteAction::Stat, "s", 0, b"") }],
        )
        .await;
    assert_eq!((anew.0[0].offset, anew.0[0].digest.clone()), (0, digest(b"")));
    served.stop().await;
}

#[tokio::test]
async fn a_reference_that_is_held_says_for_how_long() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(message(WriteAction::Stat, "r", 0, b"")).await.unwrap();
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut open = clients.content.write(on(NAMESPACE, messages)).await.unwrap().into_inner();
    open.message().await.unwrap().unwrap();
    let (code, text) =
        told(clients.session("", vec![message(WriteAction::Stat, "r", 0, b"")]).await.1);
    assert_eq!(code, Code::Unavailable);
    assert!(text.starts_with("ref r locked for ") && text.ends_with("): unavailable"), "{text}");
    served.stop().await;
}

#[tokio::test]
async fn namespaces_are_checked_and_go_with_what_nobody_counts() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let create = |name: &str, labels| {
        let namespace = Some(namespaces::Namespace { name: name.into(), labels });
        namespaces::CreateNamespaceRequest { namespace }
    };
    let form = told(clients.namespaces.create(create("a/b", pairs(&[]))).await);
    assert_eq!(form.0, Code::InvalidArgument);
    assert!(form.1.starts_with("identifier \"a/b\" must match"), "{}", form.1);
    let labels = told(clients.namespaces.create(create("a", long())).await);
    assert_eq!(labels, said(Code::InvalidArgument, format!("namespace.Labels: {LONG}")));
    // Ingests and leases do not keep a namespace: they go with it.
    lease(&mut clients, "l").await;
    clients.session("", vec![message(WriteAction::Write, "r", 0, b"part")]).await.1.unwrap();
    let delete = namespaces::DeleteNamespaceRequest { name: NAMESPACE.into() };
    clients.namespaces.delete(delete).await.unwrap();
    let list = content::ListStatusesRequest::default();
    let left = clients.content.list_statuses(on(NAMESPACE, list)).await.unwrap().into_inner();
    assert!(left.statuses.is_empty());
    let list = clients.leases.list(on(NAMESPACE, leases::ListRequest::default())).await.unwrap();
    assert!(list.into_inner().leases.is_empty());
    served.stop().await;
}
