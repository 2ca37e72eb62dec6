//! containerd.services.events.v1.Events: the events of all services as one stream. Publish and
//! Forward are the runtime's.

use std::pin::Pin;
use std::time::Duration;

use berth_filters::Filter;
use berth_grpc::status;
use berth_lifecycle::Tasks;
use berth_proto::berth::node::v1::NodeEvent;
use berth_proto::containerd::services::events::v1::{
    ForwardRequest, PublishRequest, SubscribeRequest, events_server,
};
use berth_proto::containerd::types::Envelope;
use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::event_fields::Fields;
use crate::upstreams::{Upstream, Upstreams};
use crate::{Error, peers};

/// Events on their way to a subscriber. A subscriber that does not keep up holds back the services'
/// streams; each service keeps what it can and then tells how many events were lost.
const UNDER_WAY: usize = 64;

/// For so long after the start clients come back that had lost the gateway before: what happened since
/// then is new to them. grpc-go waits up to 3 s between two attempts to connect, as dockerd has it set.
const COMING_BACK: Duration = Duration::from_secs(10);

/// Subscribes to the services anew for each subscriber: without subscribers nothing flows.
pub struct Events {
    upstreams: Upstreams,
    tasks: Tasks,
    since: Instant,
}

impl Events {
    /// Merges the events of `upstreams`.
    #[must_use]
    pub fn new(upstreams: Upstreams, tasks: Tasks) -> Self {
        for upstream in upstreams.all().cloned() {
            let ending = tasks.token();
            tasks.spawn("attend", async move {
                tokio::select! {
                    () = ending.cancelled() => {}
                    () = peers::attend(upstream) => {}
                }
            });
        }
        Self { upstreams, tasks, since: Instant::now() }
    }

    fn follow(
        &self,
        upstream: Upstream,
        sender: mpsc::Sender<Result<NodeEvent, Status>>,
    ) -> oneshot::Receiver<()> {
        let (subscribed, first) = oneshot::channel();
        let ending = self.tasks.token();
        let after_predecessor = self.since.elapsed() < COMING_BACK;
        self.tasks.spawn("follow-events", async move {
            let ended = tokio::select! {
                () = ending.cancelled() => {
                    Some(Status::unavailable("the gateway is being stopped: unavailable"))
                }
                ended = peers::follow(upstream, &sender, subscribed, after_predecessor) => ended,
            };
            if let Some(status) = ended {
                // The subscriber may have gone meanwhile.
                sender.send(Err(status)).await.ok();
            }
        });
        first
    }
}

#[tonic::async_trait]
impl events_server::Events for Events {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Envelope, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let filter = Filter::parse_any(&request.into_inner().filters)
            .map_err(|error| status(Error::from(error)))?;
        let (sender, receiver) = mpsc::channel(UNDER_WAY);
        let first: Vec<_> = self
            .upstreams
            .all()
            .map(|upstream| self.follow(upstream.clone(), sender.clone()))
            .collect();
        for subscribed in first {
            // An error means that the follower has ended, and its reason is in the stream.
            subscribed.await.ok();
        }
        Ok(Response::new(Box::pin(matching(receiver, filter))))
    }

    /// Not reached through the socket: the path is routed to the runtime.
    async fn publish(&self, _: Request<PublishRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("publish is answered by the runtime: not implemented"))
    }

    /// Not reached through the socket: the path is routed to the runtime.
    async fn forward(&self, _: Request<ForwardRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("forward is answered by the runtime: not implemented"))
    }
}

/// The events that match, up to the first error.
fn matching(
    receiver: mpsc::Receiver<Result<NodeEvent, Status>>,
    filter: Filter,
) -> impl Stream<Item = Result<Envelope, Status>> + Send {
    futures::stream::unfold(Some((receiver, filter)), |state| async move {
        let (mut receiver, filter) = state?;
        loop {
            let envelope = match receiver.recv().await? {
                Ok(event) => envelope(event),
                Err(status) => return Some((Err(status), None)),
            };
            if filter.matches(&Fields(&envelope)) {
                return Some((Ok(envelope), Some((receiver, filter))));
            }
        }
    })
}

fn envelope(event: NodeEvent) -> Envelope {
    let NodeEvent { timestamp, namespace, topic, event, .. } = event;
    Envelope { timestamp, namespace, topic, event }
}
