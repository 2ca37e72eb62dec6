//! A service's ring of events over gRPC: `berth.node.v1.NodeEvents`, served, and followed by other
//! processes of the node ([`follow`]).
//!
//! Owns: how a place in a ring and its events look on the wire. Must not know: what an event means,
//! nor which service's ring it is.

mod attendance;
mod counts;
pub mod follow;

use berth_events::{Event, Position, Ring, Start, Subscription};
use berth_grpc::{NODE_MESSAGE, status, time};
use berth_proto::berth::node::v1 as wire;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use wire::node_events_server::{NodeEvents, NodeEventsServer};

use crate::attendance::Attendance;

/// The service of a ring. `stop` ends its streams, which have no end of their own.
#[must_use]
pub fn service(ring: Ring, stop: CancellationToken) -> NodeEventsServer<Service> {
    serving(Attendance::new(ring.clone()), ring, stop)
}

/// As [`service`], in a run that took over what an earlier one left and tells what has become of it:
/// who lost the gateway together with that run is told all of that.
#[must_use]
pub fn successor(ring: Ring, stop: CancellationToken) -> NodeEventsServer<Service> {
    serving(Attendance::succeeding(ring.clone()), ring, stop)
}

fn serving(
    attendance: Attendance,
    ring: Ring,
    stop: CancellationToken,
) -> NodeEventsServer<Service> {
    counts::register(ring.clone());
    NodeEventsServer::new(Service { ring, attendance, stop })
        .max_decoding_message_size(NODE_MESSAGE)
        .max_encoding_message_size(NODE_MESSAGE)
}

/// Serves a ring.
#[derive(Debug)]
pub struct Service {
    ring: Ring,
    attendance: Attendance,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl NodeEvents for Service {
    type SubscribeStream = BoxStream<'static, Result<wire::NodeEvent, Status>>;

    async fn subscribe(
        &self,
        request: Request<wire::NodeSubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let subscription = self.ring.subscribe(self.start(&request.into_inner()));
        let position = subscription.position();
        let first = wire::NodeEvent {
            seq: position.seq.saturating_sub(1),
            incarnation: position.incarnation,
            ..Default::default()
        };
        let first = futures::stream::once(std::future::ready(Ok(first)));
        let rest = futures::stream::unfold(Some(subscription), next);
        let rest = rest.take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(first.chain(rest))))
    }

    type AttendStream = BoxStream<'static, Result<(), Status>>;

    async fn attend(&self, _: Request<()>) -> Result<Response<Self::AttendStream>, Status> {
        let present = self.attendance.present();
        let first = futures::stream::once(std::future::ready(Ok(())));
        let open = first.chain(futures::stream::pending());
        let open = open.take_until(self.stop.clone().cancelled_owned());
        // Gone with the stream.
        Ok(Response::new(Box::pin(open.inspect(move |_| _ = &present))))
    }
}

impl Service {
    /// Where the request says to start.
    fn start(&self, request: &wire::NodeSubscribeRequest) -> Start {
        let (seq, incarnation) = (request.from_seq, request.incarnation);
        match (request.from_start, seq) {
            (true, _) => Start::Oldest,
            (false, 0) if request.after_predecessor => self.attendance.left(),
            (false, 0) => Start::Now,
            (false, _) => Start::At(Position { incarnation, seq }),
        }
    }
}

type Next = Option<(Result<wire::NodeEvent, Status>, Option<Subscription>)>;

/// The next event; after a loss the stream ends with its count.
async fn next(subscription: Option<Subscription>) -> Next {
    let mut subscription = subscription?;
    match subscription.next().await {
        Ok(event) => Some((Ok(to_wire(event)), Some(subscription))),
        Err(lagged) => Some((Err(status(lagged)), None)),
    }
}

fn to_wire(event: Event) -> wire::NodeEvent {
    let value = event.value.to_vec();
    wire::NodeEvent {
        seq: event.position.seq,
        timestamp: Some(time::to_wire(event.timestamp)),
        namespace: event.namespace.to_string(),
        topic: event.topic.into_owned(),
        event: Some(prost_types::Any { type_url: event.type_url.into_owned(), value }),
        incarnation: event.position.incarnation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Result<wire::NodeEvent, Status>;

    fn served(ring: &Ring) -> Service {
        let attendance = Attendance::new(ring.clone());
        Service { attendance, ring: ring.clone(), stop: CancellationToken::new() }
    }

    fn publish(ring: &Ring, topics: &[&'static str]) {
        for topic in topics {
            ring.publish("default".parse().expect("a name"), *topic, "x.Y", &b"v"[..]);
        }
    }

    async fn asked(
        service: &Service,
        request: wire::NodeSubscribeRequest,
    ) -> BoxStream<'static, Answer> {
        service.subscribe(Request::new(request)).await.expect("subscribed").into_inner()
    }

    async fn subscribe(ring: &Ring, from_seq: u64) -> BoxStream<'static, Answer> {
        let incarnation = ring.incarnation();
        let request = wire::NodeSubscribeRequest { from_seq, incarnation, ..Default::default() };
        asked(&served(ring), request).await
    }

    #[tokio::test]
    async fn a_stream_begins_with_its_place_and_ends_with_what_was_lost() {
        let ring = Ring::new(2);
        publish(&ring, &["/a", "/b", "/c"]);
        let mut kept = subscribe(&ring, 2).await;
        let place = kept.next().await.expect("a place").expect("no loss");
        assert_eq!((place.seq, place.incarnation, place.event), (1, ring.incarnation(), None));
        let event = kept.next().await.expect("an event").expect("no loss");
        assert_eq!((event.seq, event.topic.as_str()), (2, "/b"));
        let mut late = subscribe(&ring, 1).await;
        late.next().await.expect("a place").expect("no loss");
        let lost = late.next().await.expect("an end").expect_err("one was lost");
        assert_eq!(lost.code(), tonic::Code::ResourceExhausted, "{lost}");
        assert!(late.next().await.is_none());
    }

    /// The topics that a client gets who comes back when there is another gateway.
    async fn after_predecessor(service: &Service, count: usize) -> Vec<String> {
        let request = wire::NodeSubscribeRequest { after_predecessor: true, ..Default::default() };
        let told = asked(service, request).await.skip(1).take(count);
        told.map(|event| event.expect("no loss").topic).collect().await
    }

    #[tokio::test]
    async fn who_lost_a_gateway_begins_where_it_was_gone() {
        let ring = Ring::new(3);
        let service = served(&ring);
        publish(&ring, &["/before"]);
        let mut there = service.attend(Request::new(())).await.expect("there").into_inner();
        there.next().await.expect("a message").expect("no failure");
        publish(&ring, &["/during"]);
        drop(there);
        publish(&ring, &["/after"]);
        assert_eq!(after_predecessor(&service, 1).await, ["/after"]);
        let mut now = asked(&service, wire::NodeSubscribeRequest::default()).await.skip(1);
        publish(&ring, &["/now"]);
        assert_eq!(now.next().await.expect("an event").expect("no loss").topic, "/now");
        // What is not kept is not counted as lost either: nobody knows who had got it.
        publish(&ring, &["/2", "/3", "/4"]);
        assert_eq!(after_predecessor(&service, 3).await, ["/2", "/3", "/4"]);
    }
}
