//! The services of this process.
//!
//! One file per service: from wire, one domain call, to wire.

mod images;
mod introspection;
mod redact;
mod runtime;

use std::pin::Pin;
use std::sync::Arc;

use berth_config::Cri;
use berth_proto::containerd::services::introspection::v1::introspection_server::IntrospectionServer;
use berth_proto::runtime::v1::image_service_server::ImageServiceServer;
use berth_proto::runtime::v1::runtime_service_server::RuntimeServiceServer;
use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Response, Status};

use crate::Error;
use crate::checkpoints::Checkpoints;
use crate::containers::Containers;
use crate::details::Details;
use crate::events::Events;
use crate::features::Features;
use crate::images::Images;
use crate::peers::Node;
use crate::pods::Pods;
use crate::stats::Stats;
use crate::streaming::Streaming;

/// The largest request that is taken, as by containerd.
const MAX_REQUEST: usize = 16 << 20;
/// So many go into one message of a list that comes in parts.
const BATCH: usize = 5000;

/// What the services call.
#[derive(Clone)]
pub struct Domain {
    /// Images.
    pub images: Images,
    /// Pods.
    pub pods: Pods,
    /// Their containers.
    pub containers: Containers,
    /// Both as files.
    pub checkpoints: Checkpoints,
    /// What clients come with a token for.
    pub streaming: Streaming,
    /// What they use.
    pub stats: Stats,
    /// What becomes of pods and containers.
    pub events: Events,
    /// The other services.
    pub node: Node,
    /// What handlers can do.
    pub features: Features,
    /// What is told of the node to who wants details.
    pub details: Arc<Details>,
    /// What is configured.
    pub cri: Arc<Cri>,
    /// Whether what an earlier run has left is known.
    pub recovered: watch::Receiver<bool>,
    /// Streams without an end of their own end with it.
    pub stop: CancellationToken,
}

impl Domain {
    /// Itself, once what an earlier run has left is known.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    fn ready(&self) -> Result<&Self, Error> {
        self.recovered.borrow().then_some(self).ok_or(Error::NotReady)
    }
}

/// All services.
#[must_use]
pub fn routes(domain: &Domain) -> Routes {
    let images = ImageServiceServer::new(images::Service(domain.clone()));
    let runtime = RuntimeServiceServer::new(runtime::Service(domain.clone()));
    Routes::new(IntrospectionServer::new(introspection::Introspection))
        .add_service(images.max_decoding_message_size(MAX_REQUEST))
        .add_service(runtime.max_decoding_message_size(MAX_REQUEST))
        .prepare()
}

type Answer<T> = Result<Response<T>, Status>;
type Listed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A list in parts. Of an empty one there is none.
fn in_parts<T: Send + 'static, M: Send + 'static>(
    list: Vec<T>,
    message: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Response<Listed<M>> {
    let mut rest = list.into_iter();
    let parts = std::iter::from_fn(move || {
        let part: Vec<_> = rest.by_ref().take(BATCH).collect();
        (!part.is_empty()).then(|| Ok(message(part)))
    });
    Response::new(Box::pin(futures::stream::iter(parts)))
}
