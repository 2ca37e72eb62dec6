//! Blobs that another namespace has: shared, or brought anew.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use berth_distribution::content::hash::Hasher;
use berth_ids::Algorithm;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::namespaces::v1 as namespaces;
use content::{WriteAction, WriteContentRequest};
use support::{Clients, NAMESPACE, NEVER, Served, message, on, pairs};
use tonic::Code;

const BYTES: &[u8] = b"somebody's bytes";

fn named(algorithm: Algorithm) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(BYTES);
    hasher.digest().to_string()
}

async fn isolated() -> Served {
    let policy = "[distribution]\ncontent_sharing_policy = \"isolated\"\n";
    Served::start_with(&format!("{NEVER}{policy}")).await
}

/// Opens a writer that names the blob, and writes and commits `bytes`. Where the writer began, and
/// how it ended.
async fn write(clients: &mut Clients, namespace: &str, digest: &str, bytes: &[u8]) -> (i64, Code) {
    let named = |action, offset, data| WriteContentRequest {
        expected: digest.to_owned(),
        total: BYTES.len() as i64,
        ..message(action, "r", offset, data)
    };
    let at = BYTES.len() - bytes.len();
    let messages =
        vec![named(WriteAction::Stat, 0, b""), named(WriteAction::Commit, at as i64, bytes)];
    let (answers, ended) = clients.session_in(namespace, "", messages).await;
    (
        answers.first().map_or(-1, |answer| answer.offset),
        ended.map_or_else(|s| s.code(), |()| Code::Ok),
    )
}

async fn has(clients: &mut Clients, namespace: &str, digest: &str) -> bool {
    let info = content::InfoRequest { digest: digest.to_owned() };
    clients.content.info(on(namespace, info)).await.is_ok()
}

fn files(served: &Served, algorithm: &str) -> usize {
    let root = served.config.service_root(berth_config::Service::Distribution);
    fs_err::read_dir(root.join("blobs").join(algorithm)).unwrap().count()
}

#[tokio::test]
async fn who_names_a_shared_blob_has_it() {
    for (algorithm, folder) in [(Algorithm::Sha256, "sha256"), (Algorithm::Sha512, "sha512")] {
        let served = Served::start().await;
        let (mut clients, digest) = (served.clients(), named(algorithm));
        assert_eq!(write(&mut clients, NAMESPACE, &digest, BYTES).await, (0, Code::Ok));
        let size = BYTES.len() as i64;
        assert!(!has(&mut clients, "other", &digest).await, "before it is named");
        assert_eq!(write(&mut clients, "other", &digest, b"").await, (size, Code::Ok));
        assert!(has(&mut clients, "other", &digest).await);
        // Of another size it is another blob.
        let other = WriteContentRequest {
            expected: digest.clone(),
            total: 3,
            ..message(WriteAction::Stat, "r", 0, b"")
        };
        let (answers, _) = clients.session_in("third", "", vec![other]).await;
        assert_eq!(answers[0].offset, 0);
        // What comes on top of it is part of what is committed, and wrong.
        let more = WriteContentRequest {
            expected: digest.clone(),
            ..message(WriteAction::Commit, "more", size, b"!")
        };
        let (_, ended) = clients.session_in("fourth", "", vec![more]).await;
        let refused = ended.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().starts_with("unexpected commit digest"), "{refused}");
        assert_eq!(files(&served, folder), 1);
        served.stop().await;
    }
}

#[tokio::test]
async fn an_isolated_namespace_brings_the_bytes() {
    for (algorithm, folder) in [(Algorithm::Sha256, "sha256"), (Algorithm::Sha512, "sha512")] {
        let served = isolated().await;
        let (mut clients, digest) = (served.clients(), named(algorithm));
        assert_eq!(write(&mut clients, NAMESPACE, &digest, BYTES).await, (0, Code::Ok));
        // Who only knows its name learns nothing and gets nothing.
        let refused = write(&mut clients, "other", &digest, b"").await;
        assert_eq!(refused, (0, Code::OutOfRange));
        let short = WriteContentRequest {
            expected: digest.clone(),
            ..message(WriteAction::Commit, "r", 0, b"guessed")
        };
        let (_, ended) = clients.session_in("other", "", vec![short]).await;
        assert_eq!(ended.unwrap_err().code(), Code::FailedPrecondition);
        assert!(!has(&mut clients, "other", &digest).await);
        let bytes = WriteContentRequest {
            expected: digest.clone(),
            ..message(WriteAction::Commit, "r", 0, BYTES)
        };
        clients.session_in("other", "", vec![bytes]).await.1.unwrap();
        assert!(has(&mut clients, "other", &digest).await);
        assert_eq!(files(&served, folder), 1, "the file is the same");
        served.stop().await;
    }
}

#[tokio::test]
async fn a_namespace_can_share_its_blobs_all_the_same() {
    let served = isolated().await;
    let (mut clients, digest) = (served.clients(), named(Algorithm::Sha256));
    let label = async |clients: &mut Clients, value: &str| {
        let labels = pairs(&[("containerd.io/namespace.shareable", value)]);
        let namespace = Some(namespaces::Namespace { name: NAMESPACE.into(), labels });
        let update = namespaces::UpdateNamespaceRequest { namespace, update_mask: None };
        clients.namespaces.update(update).await.unwrap();
    };
    write(&mut clients, NAMESPACE, &digest, BYTES).await;
    label(&mut clients, "yes").await;
    assert_eq!(write(&mut clients, "other", &digest, b"").await, (0, Code::OutOfRange));
    let abort = content::AbortRequest { r#ref: "r".into() };
    clients.content.abort(on("other", abort)).await.unwrap();
    label(&mut clients, "true").await;
    let size = BYTES.len() as i64;
    assert_eq!(write(&mut clients, "other", &digest, b"").await, (size, Code::Ok));
    // What a namespace got so it does not share itself.
    let delete = content::DeleteContentRequest { digest: digest.clone() };
    clients.content.delete(on(NAMESPACE, delete)).await.unwrap();
    assert_eq!(write(&mut clients, "third", &digest, b"").await, (0, Code::OutOfRange));
    served.stop().await;
}
