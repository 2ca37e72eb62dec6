//! Asking a service what it holds.

use std::time::Duration;

use berth_grpc::{Channel, NODE_MESSAGE};
use berth_proto::berth::node::v1 as wire;
use futures::{Stream, TryStreamExt};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use wire::container_holdings_client::ContainerHoldingsClient;
use wire::image_holdings_client::ImageHoldingsClient;

use super::convert;
use crate::keys::Held;
use crate::objects::{Object, TaskState};
use crate::truth::{Asked, Holding, Holdings};
use crate::{Error, Result};

/// How long a service may take for everything that it holds.
const ALL_WITHIN: Duration = Duration::from_secs(30);
/// For some of it.
const SOME_WITHIN: Duration = Duration::from_secs(10);
/// The most that is asked for by name at once; the services take no more.
const MAX_KEYS: usize = 1000;
/// The most of one answer that is kept. What is beyond counts as left out.
const MAX_FOUND: usize = 100_000;

/// Images, from distribution.
pub(super) async fn images(channel: &Channel, asked: Asked) -> Result<Holdings> {
    let mut all = Holdings::default();
    for (request, within) in requests(asked) {
        let mut client = ImageHoldingsClient::new(channel.clone())
            .max_decoding_message_size(NODE_MESSAGE)
            .max_encoding_message_size(NODE_MESSAGE);
        let step = "list images";
        let told = async {
            let pieces = client.list(request).await?.into_inner();
            let pieces = pieces.map_ok(|piece| piece.images);
            collect(pieces, &mut all, convert::image).await
        };
        in_time("distribution", step, within, told).await?;
    }
    Ok(all)
}

/// Containers with their tasks, from runtime.
pub(super) async fn containers(channel: &Channel, asked: Asked) -> Result<Holdings> {
    let mut all = Holdings::default();
    for (request, within) in requests(asked) {
        let mut client = ContainerHoldingsClient::new(channel.clone())
            .max_decoding_message_size(NODE_MESSAGE)
            .max_encoding_message_size(NODE_MESSAGE);
        let step = "list containers";
        let told = async {
            let pieces = client.list(request).await?.into_inner();
            let pieces = pieces.map_ok(|piece| piece.containers);
            collect(pieces, &mut all, convert::container).await
        };
        in_time("runtime", step, within, told).await?;
    }
    Ok(all)
}

/// Those whose state nobody could tell.
pub(super) fn unknown(held: &Holdings) -> impl Iterator<Item = Held> {
    let is_unknown = |holding: &&Holding| match &holding.object {
        Object::Container(container) => container.state == TaskState::Unknown,
        Object::Node(_) | Object::Image(_) => false,
    };
    held.found.iter().filter(is_unknown).map(|holding| holding.held.clone())
}

/// The requests that a question takes, and how long each may take. None for no names: an empty list
/// would be everything.
fn requests(asked: Asked) -> Vec<(wire::HoldingsRequest, Duration)> {
    let of = |keys, namespace| wire::HoldingsRequest { keys, namespace };
    match asked {
        Asked::All(_) => vec![(of(Vec::new(), String::new()), ALL_WITHIN)],
        Asked::Namespace(_, namespace) => vec![(of(Vec::new(), namespace.to_string()), ALL_WITHIN)],
        Asked::These(kind, held) => {
            let own: Vec<_> = held.into_iter().filter(|held| held.kind == kind).collect();
            let key = |held: &Held| {
                let (namespace, name) = (held.namespace.to_string(), held.name.to_string());
                wire::HeldKey { namespace, name }
            };
            let some =
                |held: &[Held]| (of(held.iter().map(key).collect(), String::new()), SOME_WITHIN);
            own.chunks(MAX_KEYS).map(some).collect()
        }
    }
}

async fn collect<T>(
    mut pieces: impl Stream<Item = Result<Vec<T>, Status>> + Unpin,
    all: &mut Holdings,
    object: fn(T) -> Option<Holding>,
) -> Result<(), Status> {
    while let Some(piece) = pieces.try_next().await? {
        for held in piece {
            match object(held) {
                Some(holding) if all.found.len() < MAX_FOUND => all.found.push(holding),
                _ => all.left_out += 1,
            }
        }
    }
    Ok(())
}

async fn in_time(
    service: &'static str,
    step: &'static str,
    within: Duration,
    told: impl Future<Output = Result<(), Status>>,
) -> Result<()> {
    let wrong = |reason| Error::Service { service, step, reason };
    match timeout_at(Instant::now() + within, told).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(status)) => Err(wrong(status.message().to_owned())),
        Err(_) => Err(wrong(format!("no answer within {within:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Kind;

    #[test]
    fn many_names_are_asked_for_in_parts_and_none_not_at_all() {
        let held = |n: usize| Held::new(Kind::Images, "n", &n.to_string()).unwrap();
        let these = |count| requests(Asked::These(Kind::Images, (0..count).map(held).collect()));
        assert_eq!(these(0), []);
        let parts: Vec<_> = these(2001).iter().map(|(request, _)| request.keys.len()).collect();
        assert_eq!(parts, [1000, 1000, 1]);
        assert_eq!(requests(Asked::These(Kind::Containers, vec![held(1)])), []);
        let all = requests(Asked::All(Kind::Images));
        assert_eq!(all, [(wire::HoldingsRequest::default(), ALL_WITHIN)]);
        let own = requests(Asked::Namespace(Kind::Images, "n".into()));
        assert_eq!(own[0].0.namespace, "n");
    }

    #[tokio::test]
    async fn what_cannot_be_shown_is_counted_and_a_failure_is_no_answer() {
        let object = |n: u32| {
            let held = Held::new(Kind::Images, "n", &n.to_string()).ok()?;
            let object = Object::Node(Box::default());
            n.is_multiple_of(2).then_some(Holding { held, object })
        };
        let mut all = Holdings::default();
        let pieces = futures::stream::iter([Ok(vec![1, 2]), Ok(vec![3])]);
        collect(pieces, &mut all, object).await.unwrap();
        assert_eq!((all.found.len(), all.left_out), (1, 2));
        let broken = futures::stream::iter([Ok(vec![1]), Err(Status::aborted("x"))]);
        let told = collect(broken, &mut all, object);
        let error = in_time("runtime", "list containers", ALL_WITHIN, told).await.unwrap_err();
        assert_eq!(error.to_string(), "list containers of runtime: x: unavailable");
    }
}
