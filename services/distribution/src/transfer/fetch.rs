//! One blob from the registry into the store, and on its way into bundle.

use std::sync::Arc;
use std::time::Instant;

use berth_ids::Labels;
use berth_recent as recent;
use berth_trace::stage;
use tracing::Instrument;

use super::progress::BlobProgress;
use super::store::Store;
use super::{Error, Result, labels};
use crate::Error as StoreError;
use crate::content::Writer;
use crate::counts;
use crate::registry::{Descriptor, Download, Repository};
use crate::unpack::Feed;

/// Where missing blobs come from.
#[derive(Clone)]
pub(super) enum Source {
    /// A registry.
    Registry(Arc<Repository>),
    /// Nowhere: all are here.
    Here,
}

impl Source {
    pub(super) fn registry(&self, missing: &Descriptor) -> Result<&Arc<Repository>> {
        match self {
            Source::Registry(repository) => Ok(repository),
            Source::Here => Err(Error::Missing(missing.digest.clone())),
        }
    }

    pub(super) fn reference(&self) -> Option<&crate::registry::Reference> {
        match self {
            Source::Registry(repository) => Some(repository.reference()),
            Source::Here => None,
        }
    }

    /// The label of a blob that came from it.
    pub(super) fn labels(&self) -> Labels {
        let label = self.reference().and_then(|reference| {
            let value = labels::source_value(&Labels::new(), reference)?;
            Some((labels::source_key(reference), value))
        });
        label.into_iter().collect()
    }
}

/// Sees to it that a blob is here. What arrives is also given to `feed`, which is finished only if
/// it was given every byte.
pub(super) async fn blob(
    store: &Store,
    source: &Source,
    descriptor: &Descriptor,
    feed: Option<Feed>,
    progress: &BlobProgress,
) -> Result<()> {
    if let Some(info) = store.claim(&descriptor.digest).await? {
        store.label_present(&info, Labels::new(), source.reference()).await?;
        progress.done("already exists");
        return Ok(());
    }
    let mut feed = feed;
    loop {
        let Some(writer) = store.writer(descriptor).await? else {
            progress.done("already exists");
            return Ok(());
        };
        let resumed = writer.offset() > 0 && writer.offset() < descriptor.size;
        let received = receive(store, source, descriptor, writer, feed.take(), progress);
        let span = stage!("fetch", digest = %descriptor.digest, size = descriptor.size);
        let received = counts::FETCH.of(received.instrument(span));
        let stage = recent::stage("fetch", descriptor.digest.as_str()).bytes(descriptor.size);
        let done = stage.of(received).await;
        match done {
            Err(error) if spoilt(&error) => {
                store.abort(descriptor).await?;
                // What an earlier transfer left may have been bad; its own bytes get no second try.
                if !resumed {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
            Ok(()) => {
                progress.done("complete");
                return Ok(());
            }
        }
    }
}

/// Whether what was written cannot become the blob.
fn spoilt(error: &Error) -> bool {
    matches!(
        error,
        Error::Store(StoreError::WrongDigest { .. } | StoreError::WrongSize { .. })
            | Error::Registry(crate::registry::Error::WrongSize { .. })
    )
}

async fn receive(
    store: &Store,
    source: &Source,
    descriptor: &Descriptor,
    mut writer: Writer,
    feed: Option<Feed>,
    progress: &BlobProgress,
) -> Result<()> {
    let offset = writer.offset();
    if offset < descriptor.size {
        let mut feed = feed.filter(|_| offset == 0);
        let repository = Arc::clone(source.registry(descriptor)?);
        let asks = |host: &str, at| progress.asks(host, at);
        let mut download = Download::new(repository, descriptor.clone(), offset, &asks);
        while let Some(bytes) = download.next().await? {
            writer.write(bytes.clone()).await?;
            if let Some(reader) = &mut feed
                && reader.write(&bytes).await.is_err()
            {
                feed = None;
            }
            progress.tick("downloading", download.offset());
        }
        // The reader is done while the file is made durable.
        if let Some(feed) = feed {
            feed.finish();
        }
    }
    let began = Instant::now();
    let committed = store.commit(writer, descriptor, source.labels()).await;
    recent::part("commit", began.elapsed());
    committed
}
