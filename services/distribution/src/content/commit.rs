//! The commit of a blob: file first, then record, then answer, then event.

use std::fs::File;
use std::sync::Arc;

use super::info::Info;
use super::ingests::Ingest;
use super::store::Content;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::gc::epoch::Change;
use crate::gc::id::{CONTENT as KIND, Id};
use crate::records::{self, Blob, CONTENT, HOLDERS, Hold};
use crate::scope::Scope;

/// Commits a blob whose bytes are in `file`, or, without one, where they belong already. The caller
/// holds the blob's lock.
pub(super) async fn commit(
    content: &Content,
    scope: &Scope,
    ingest: &Arc<Ingest>,
    file: Option<File>,
    info: Info,
) -> Result<Info> {
    let Some(there) = &content.0.there else {
        return commit_here(content, scope, ingest, file, info).await;
    };
    // Before the change begins: no collection waits for the process.
    if let Some(file) = file
        && content.find(&scope.namespace, &info.digest)?.is_none()
    {
        content.check_lease(scope)?;
        there.put(&info.digest, info.size, file).await?;
    }
    let digest = info.digest.clone();
    let done = commit_here(content, scope, ingest, None, info).await;
    if done.is_err() {
        there.unused(&digest);
    }
    done
}

async fn commit_here(
    content: &Content,
    scope: &Scope,
    ingest: &Arc<Ingest>,
    file: Option<File>,
    info: Info,
) -> Result<Info> {
    let shared = &content.0;
    let id = Id::new(&scope.namespace, KIND, info.digest.as_str());
    let change = shared.change(scope, &[id], &info.labels).await?;
    content.check_lease(scope)?;
    if content.claim(scope, &info.digest).await?.is_some() {
        content.discard(ingest).await?;
        return Err(Error::ContentExists(info.digest));
    }
    if let Some(file) = file {
        let (data, digest) = (ingest.data(), info.digest.clone());
        let promote =
            move |shared: &crate::shared::Shared| shared.files.promote(&data, &file, &digest);
        shared.blocking("commit blob", promote).await?;
    }
    let recorded = record(content, scope, &info, change).await;
    if recorded.is_err() {
        content.unlink_if_unused(&info.digest).await?;
    }
    content.discard(ingest).await?;
    recorded?;
    let created = Event::ContentCreated {
        digest: info.digest.clone(),
        size: info.size,
        media_type: ingest.status().expected.media_type,
    };
    shared.tell(scope, &created);
    shared.demand.changed();
    Ok(info)
}

async fn record(content: &Content, scope: &Scope, info: &Info, change: Change) -> Result<()> {
    let (scope, info) = (scope.clone(), info.clone());
    let commit = content.0.store.commit("content.commit", move |txn| {
        let _until_committed = &change;
        let (namespace, digest) = (scope.namespace.as_str(), info.digest.as_str());
        records::enter(txn, &scope, &[Hold::new(KIND, digest)])?;
        let blob = Blob {
            size: info.size,
            created: info.created,
            updated: info.updated,
            labels: info.labels.clone(),
        };
        txn.put(&CONTENT, &(namespace, digest), &blob)?;
        txn.put(&HOLDERS, &(digest, namespace), &info.size)?;
        Ok::<_, Error>(())
    });
    commit.await
}
