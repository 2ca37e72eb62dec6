//! `berth.node.v1.ContainerHoldings`.

use std::collections::VecDeque;

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};
use tonic::{Request, Response, Status};

use super::namespaces::parse;
use super::wire::time;
use crate::error::Error;
use crate::holdings::{Asked, Holdings, Recorded};
use crate::process;
use crate::tasks::Doing;

/// The most containers that can be asked for by name at once.
const MAX_KEYS: usize = 1000;
/// The most containers of a piece of an answer.
const PIECE: usize = 200;
/// A piece with so many bytes of labels is full.
const PIECE_BYTES: usize = 256 << 10;

/// Serves what containers there are, and what their tasks do.
pub(super) struct Service(pub(super) Holdings);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl wire::container_holdings_server::ContainerHoldings for Service {
    type ListStream = BoxStream<'static, Result<wire::ContainerHoldingsResponse, Status>>;

    async fn list(&self, request: Request<wire::HoldingsRequest>) -> Answer<Self::ListStream> {
        let asked = asked(request.into_inner())?;
        let recorded = self.0.recorded(asked).await.map_err(status)?;
        let pieces = unfold((self.0.clone(), recorded), |(holdings, mut rest)| async move {
            let piece = piece(&mut rest);
            if piece.is_empty() {
                return None;
            }
            let looked = holdings.doing(piece).await;
            let containers = looked.into_iter().map(|(it, doing)| to_wire(it, doing)).collect();
            Some((Ok(wire::ContainerHoldingsResponse { containers }), (holdings, rest)))
        });
        Ok(Response::new(pieces.boxed()))
    }
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn asked(request: wire::HoldingsRequest) -> Result<Asked, Status> {
    let wire::HoldingsRequest { keys, namespace } = request;
    if keys.len() > MAX_KEYS {
        let count = keys.len();
        let why = format!("{count} containers are asked for, at most {MAX_KEYS} at once");
        return Err(status(Error::Invalid(why)));
    }
    if !keys.is_empty() {
        let keys = keys.into_iter().map(|key| Ok((parse(&key.namespace)?, key.name)));
        return Ok(Asked::These(keys.collect::<Result<_, Status>>()?));
    }
    Ok(if namespace.is_empty() { Asked::All } else { Asked::Namespace(parse(&namespace)?) })
}

/// The next of them.
fn piece(rest: &mut VecDeque<Recorded>) -> Vec<Recorded> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    while piece.len() < PIECE && bytes < PIECE_BYTES {
        let Some(next) = rest.pop_front() else { break };
        bytes += next.labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        piece.push(next);
    }
    piece
}

fn to_wire(container: Recorded, doing: Option<Doing>) -> wire::HeldContainer {
    let Recorded { ns, id, image, runtime, labels, created } = container;
    let exit = doing.and_then(|doing| doing.exit);
    wire::HeldContainer {
        key: Some(wire::HeldKey { namespace: ns.to_string(), name: id }),
        image,
        runtime,
        labels: labels.into_iter().collect(),
        created: time(created),
        state: state(doing).to_owned(),
        pid: doing.map_or(0, |doing| doing.pid),
        exit_status: exit.map_or(0, |exit| exit.status),
        exited: exit.and_then(|exit| time(exit.at)),
    }
}

fn state(doing: Option<Doing>) -> &'static str {
    match doing.map(|doing| doing.status) {
        None => "none",
        Some(process::Status::Created) => "created",
        Some(process::Status::Running) => "running",
        Some(process::Status::Paused | process::Status::Pausing) => "paused",
        Some(process::Status::Stopped) => "stopped",
        Some(process::Status::Unknown) => "unknown",
    }
}
