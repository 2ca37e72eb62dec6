//! Calls to distribution, the only service that bundle calls, and to snapshotters and differs in
//! processes of their own.
//!
//! Owns: what was asked once and is remembered: namespaces that are registered. Must not know:
//! snapshots or layers.

mod content;
mod differ;
mod snapshotter;

pub use content::{ContentWriter, Finished};
pub use differ::Differ;
pub use snapshotter::Snapshotter;

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_epochs::{Counts, News};
use berth_fdpass::Token;
use berth_grpc::Channel;
use berth_ids::{Digest, Namespace};
use berth_proto::berth::node::v1 as node;
use futures::future::BoxFuture;
use node::blobs_client::BlobsClient;
use node::collection_client::CollectionClient;
use node::collector_client::CollectorClient;
use node::lease_directory_client::LeaseDirectoryClient;
use node::namespaces_client::NamespacesClient;

use crate::Error;
use crate::gc::{NodeKey, Owners};

/// How long one small call may take, a restart of distribution included.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long it may take until a blob can be read. A content store of others may have to be asked for
/// all of it first, which distribution does not wait for without an end.
const OPENING: Duration = Duration::from_secs(60 * 60);

/// How long a call waits for a process of others that is away. Whoever runs it starts it again, or
/// does not.
const WAIT: Duration = Duration::from_secs(5);

/// Distribution, as bundle sees it. Clones share what is remembered.
#[derive(Clone)]
pub struct Distribution {
    channel: Channel,
    descriptors: PathBuf,
    registered: Arc<Mutex<HashSet<String>>>,
}

impl Distribution {
    /// Distribution behind its socket and its socket for descriptors. Connects when needed.
    #[must_use]
    pub fn new(socket: &Path, descriptors: &Path) -> Self {
        let channel = berth_grpc::channel(socket);
        Self { channel, descriptors: descriptors.to_owned(), registered: Arc::default() }
    }

    /// Makes sure that distribution knows a namespace before something is made in it.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn register(&self, namespace: &Namespace) -> Result<(), Error> {
        if self.registered().contains(namespace.as_str()) {
            return Ok(());
        }
        let mut request = tonic::Request::new(node::RegisterNamespaceRequest {
            namespace: namespace.to_string(),
        });
        request.set_timeout(DEADLINE);
        let mut client = NamespacesClient::new(self.channel.clone());
        client.register(request).await.map_err(|s| refused("register namespace", &s))?;
        self.registered().insert(namespace.to_string());
        Ok(())
    }

    /// The lease's present incarnation. It is asked for each time: a lease that expires is announced
    /// to nobody.
    ///
    /// # Errors
    /// [`Error::Peer`], with NOT_FOUND for a lease that is not there.
    pub async fn lease(&self, namespace: &Namespace, lease: &str) -> Result<u64, Error> {
        let (namespace, lease) = (namespace.to_string(), lease.to_owned());
        let mut request = tonic::Request::new(node::ResolveLeaseRequest { namespace, lease });
        request.set_timeout(DEADLINE);
        let mut client = LeaseDirectoryClient::new(self.channel.clone());
        let answer = client.resolve(request).await;
        Ok(answer.map_err(|s| refused("resolve lease", &s))?.into_inner().incarnation)
    }

    /// Forgets a namespace that may be about to go.
    pub fn forget_namespace(&self, namespace: &str) {
        self.registered().remove(namespace);
    }

    fn registered(&self) -> MutexGuard<'_, HashSet<String>> {
        // Each change of the set is one call.
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a descriptor that distribution has offered.
    ///
    /// # Errors
    /// [`Error::Claim`].
    pub async fn claim(&self, token: &str) -> Result<OwnedFd, Error> {
        let token: Token = token.parse()?;
        Ok(berth_fdpass::claim(&self.descriptors, &token, DEADLINE).await?)
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// [`Error::Peer`], with NOT_FOUND for a blob that the namespace does not have.
    pub async fn open(&self, namespace: &Namespace, digest: &Digest) -> Result<File, Error> {
        let mut request = tonic::Request::new(node::OpenBlobRequest {
            namespace: namespace.to_string(),
            digest: digest.to_string(),
        });
        request.set_timeout(OPENING);
        let mut client = BlobsClient::new(self.channel.clone());
        let opened = client.open(request).await.map_err(|s| refused("open blob", &s))?;
        Ok(File::from(self.claim(&opened.into_inner().token).await?))
    }

    async fn announce(&self, node: NodeKey, alone: bool) -> Result<(), Error> {
        let (namespace, kind, key) = node;
        let mut request = tonic::Request::new(node::PinRequest { namespace, kind, key, alone });
        request.set_timeout(DEADLINE);
        let pinned = CollectorClient::new(self.channel.clone()).pin(request).await;
        pinned.map(drop).map_err(|s| refused("announce reference", &s))
    }

    /// Tells what has been changed here, for ever: enough of it causes a collection.
    pub async fn report(self, news: &News) {
        let told = |Counts { changes, deletions }| {
            let mut client = CollectionClient::new(self.channel.clone());
            let mut request = tonic::Request::new(node::ReportRequest { changes, deletions });
            request.set_timeout(DEADLINE);
            async move {
                let told = client.report(request).await;
                told.inspect_err(|s| tracing::debug!(message = s.message(), "report changes"))
                    .is_ok()
            }
        };
        news.tell(told).await;
    }

    /// A writer of a new blob.
    #[must_use]
    pub fn writer(&self, namespace: &Namespace, lease: Option<String>) -> ContentWriter {
        ContentWriter::new(self.channel.clone(), namespace.clone(), lease)
    }
}

impl Owners for Distribution {
    fn pin(&self, node: NodeKey, alone: bool) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.announce(node, alone))
    }
}

/// What distribution answered.
pub(super) fn refused(step: &'static str, status: &tonic::Status) -> Error {
    let (code, message) = berth_grpc::told(status, "distribution");
    Error::Peer { step, code, message }
}
