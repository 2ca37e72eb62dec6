//! `berth.cluster.v1.Cluster`: what all nodes hold, for clients of this one.

use std::sync::Arc;

use berth_filters::Filter;
use berth_grpc::{NODE_MESSAGE, status};
use berth_proto::berth::cluster::v1 as wire;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use wire::cluster_server::{Cluster, ClusterServer};

use super::convert;
use crate::Error;
use crate::inspect::Inspect;
use crate::names::{ClusterName, NodeName};
use crate::peers::shown;
use crate::publish::{Registration, Standing};
use crate::view::{Views, Watching};

/// The most filters of one request.
const MAX_FILTERS: usize = 64;
/// The longest of them.
const MAX_FILTER: usize = 4 << 10;

/// Serves clients.
#[derive(Clone)]
pub struct Service {
    /// Which cluster it is.
    pub cluster: ClusterName,
    /// Which node of it.
    pub node: NodeName,
    /// What others hold.
    pub views: Views,
    /// How publishing stands.
    pub standing: watch::Receiver<Standing>,
    /// Asks nodes themselves.
    pub inspect: Arc<dyn Inspect>,
    /// Ends its streams, which have no end of their own.
    pub stop: CancellationToken,
}

impl Service {
    /// To be served.
    #[must_use]
    pub fn into_server(self) -> ClusterServer<Self> {
        ClusterServer::new(self)
            .max_decoding_message_size(NODE_MESSAGE)
            .max_encoding_message_size(NODE_MESSAGE)
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn status(
        &self,
        _: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let standing = self.standing.borrow().clone();
        let trouble = trouble(&standing);
        let registration = convert::registration(&standing.registration);
        Ok(Response::new(wire::StatusResponse {
            cluster: self.cluster.to_string(),
            node: self.node.to_string(),
            registration: registration.into(),
            trouble,
            since: Some(berth_grpc::time::to_wire(standing.since.into())),
            waiting: standing.waiting,
            published: Some(convert::published(standing.published)),
            views: self.views.kept().into_iter().map(convert::kind_view).collect(),
        }))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let wire::ListRequest { kind, filters, page_size, page_token } = request.into_inner();
        let kind = convert::kind(kind).map_err(status)?;
        let filter = filter(&filters).map_err(status)?;
        let size = page_size.try_into().unwrap_or(usize::MAX);
        let listed = self.views.list(kind, &filter, size, &page_token).await.map_err(status)?;
        Ok(Response::new(wire::ListResponse {
            objects: listed.items.iter().map(|item| convert::object(kind, item)).collect(),
            next_page_token: listed.next.unwrap_or_default(),
            view: Some(convert::view(listed.worth)),
        }))
    }

    type WatchStream = BoxStream<'static, Result<wire::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let wire::WatchRequest { kind, filters, from_revision } = request.into_inner();
        let kind = convert::kind(kind).map_err(status)?;
        let filter = filter(&filters).map_err(status)?;
        let watching = self.views.watch(kind, filter, from_revision).await.map_err(status)?;
        let pieces = stream::unfold(watching, move |mut watching: Watching| async move {
            let piece = watching.next().await?;
            let message = piece.map(|piece| convert::piece(kind, piece)).map_err(status);
            Some((message, watching))
        });
        Ok(Response::new(self.until_stopped(pieces)))
    }

    type InspectStream = BoxStream<'static, Result<wire::InspectResponse, Status>>;

    async fn inspect(
        &self,
        request: Request<wire::InspectRequest>,
    ) -> Result<Response<Self::InspectStream>, Status> {
        let wire::InspectRequest { node } = request.into_inner();
        let node = match node.as_str() {
            "" => None,
            node => Some(node.parse().map_err(|error: Error| status(error))?),
        };
        let pieces = self.inspect.inspect(node).await.map_err(status)?;
        let messages = pieces.map(|piece| {
            let objects = piece.map_err(status)?;
            let objects = objects.iter();
            let objects =
                objects.map(|(node, held, it)| shown::to_wire(node, held.as_ref(), it, 0));
            Ok(wire::InspectResponse { objects: objects.collect() })
        });
        Ok(Response::new(self.until_stopped(messages)))
    }
}

impl Service {
    fn until_stopped<T: 'static>(
        &self,
        messages: impl futures::Stream<Item = T> + Send + 'static,
    ) -> BoxStream<'static, T> {
        messages.take_until(self.stop.clone().cancelled_owned()).boxed()
    }
}

/// What is in the way, in words; empty: nothing.
fn trouble(standing: &Standing) -> String {
    match (&standing.registration, &standing.trouble) {
        (_, Some(trouble)) => trouble.clone(),
        (Registration::Refused { by }, None) => {
            format!("another node has the name: it is at {by}")
        }
        (_, None) => String::new(),
    }
}

fn filter(texts: &[String]) -> crate::Result<Filter> {
    if texts.len() > MAX_FILTERS || texts.iter().any(|text| text.len() > MAX_FILTER) {
        let most = format!("at most {MAX_FILTERS} filters of {MAX_FILTER} bytes are taken");
        return Err(Error::Invalid(most));
    }
    Ok(Filter::parse_any(texts)?)
}
