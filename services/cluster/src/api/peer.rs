//! `Peer`: what this node says of itself to other nodes.
//!
//! Whoever has a certificate of the configured authorities may ask. A node answers for itself alone.

mod door;
mod refused;

use std::sync::Arc;

use berth_grpc::status;
use berth_proto::berth::cluster::v1 as wire;
use berth_proto::berth::cluster::v1::peer_server;
use futures::stream::{self, BoxStream, StreamExt};
use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::inspect::{Itself, Shown};
use crate::names::NodeName;
use crate::peers::nodes::MAX_MESSAGE;
use crate::peers::shown;

pub use door::{Door, Settings};

/// The most nodes that this one describes itself to at once.
const AT_ONCE: usize = 8;
/// A piece ends with the object that goes beyond so many bytes.
const PIECE: usize = MAX_MESSAGE / 2;
/// The largest question.
const MAX_QUESTION: usize = 1 << 10;

/// The service, as the peer of one connection has it.
#[derive(Clone)]
struct Described {
    own: Arc<Itself>,
    turns: Arc<Semaphore>,
    /// Whom the peer's certificate is for, and where it connects from.
    peer: Arc<str>,
}

impl Described {
    fn server(self) -> peer_server::PeerServer<Self> {
        peer_server::PeerServer::new(self)
            .max_decoding_message_size(MAX_QUESTION)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl peer_server::Peer for Described {
    type DescribeStream = BoxStream<'static, Result<wire::InspectResponse, Status>>;

    async fn describe(
        &self,
        request: Request<wire::DescribeRequest>,
    ) -> Result<Response<Self::DescribeStream>, Status> {
        let asked: NodeName = request.into_inner().node.parse().map_err(status)?;
        let (peer, own) = (&*self.peer, self.own.name());
        if asked != *own {
            tracing::warn!(peer, %asked, "was asked about another node");
            let (asked, own) = (asked.to_string(), own.to_string());
            return Err(status(Error::OtherNode { asked, own }));
        }
        let turn = self.turns.clone().try_acquire_owned().map_err(|_| {
            status(Error::TooMany(format!("{AT_ONCE} others ask node {own} about itself already")))
        })?;
        tracing::info!(peer, "tells another node of itself");
        let messages = self.own.describe().flat_map(move |piece| {
            // It ends with the answer, which has it.
            let _turn = &turn;
            stream::iter(match piece {
                Ok(piece) => messages(piece).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(status(error))],
            })
        });
        Ok(Response::new(messages.boxed()))
    }
}

/// A piece as messages that the other side takes. What it would not take is left out: nodes that hold what
/// is not shown are told of the rest.
fn messages(piece: Vec<Shown>) -> Vec<wire::InspectResponse> {
    let (mut messages, mut objects, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (node, held, object) in piece {
        let object = shown::to_wire(&node, held.as_ref(), &object, 0);
        if let Err(error) = shown::from_wire(object.clone()) {
            tracing::warn!(%error, "left out of what another node is told");
            continue;
        }
        bytes += object.encoded_len();
        objects.push(object);
        if bytes > PIECE {
            let objects = std::mem::take(&mut objects);
            messages.push(wire::InspectResponse { objects });
            bytes = 0;
        }
    }
    if !objects.is_empty() {
        messages.push(wire::InspectResponse { objects });
    }
    messages
}
