//! The node's ImageHoldings service.

use std::collections::VecDeque;

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use futures::stream::try_unfold;
use prost::Message;
use tonic::{Request, Response, Status};

use super::namespaces::name;
use super::wire::{Answer, Answers};
use crate::holdings::{Asked, Holdings, Named};

/// The most images that can be asked for by name at once.
const MAX_KEYS: usize = 1000;
/// The most images of a piece of an answer.
const PIECE: usize = 200;
/// A piece of so many bytes is full.
const PIECE_BYTES: usize = 256 << 10;

pub struct Service(pub Holdings);

#[tonic::async_trait]
impl wire::image_holdings_server::ImageHoldings for Service {
    type ListStream = Answers<wire::ImageHoldingsResponse>;

    async fn list(&self, request: Request<wire::HoldingsRequest>) -> Answer<Self::ListStream> {
        let asked = asked(request.into_inner())?;
        let named = self.0.named(asked).await.map_err(status)?;
        let pieces = try_unfold((self.0.clone(), named), |(holdings, mut named)| async move {
            let images = piece(&holdings, &mut named).await?;
            let piece = wire::ImageHoldingsResponse { images };
            Ok((!piece.images.is_empty()).then_some((piece, (holdings, named))))
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn asked(request: wire::HoldingsRequest) -> Result<Asked, Status> {
    let wire::HoldingsRequest { keys, namespace } = request;
    if keys.len() > MAX_KEYS {
        let count = keys.len();
        return Err(Status::invalid_argument(format!(
            "{count} images are asked for, at most {MAX_KEYS} at once: invalid argument"
        )));
    }
    if !keys.is_empty() {
        let keys = keys.into_iter().map(|key| Ok((name(&key.namespace)?, key.name)));
        return Ok(Asked::These(keys.collect::<Result<_, Status>>()?));
    }
    Ok(if namespace.is_empty() { Asked::All } else { Asked::Namespace(name(&namespace)?) })
}

async fn piece(
    holdings: &Holdings,
    named: &mut VecDeque<Named>,
) -> Result<Vec<wire::HeldImage>, Status> {
    let (mut images, mut bytes) = (Vec::new(), 0);
    while images.len() < PIECE && bytes < PIECE_BYTES {
        let Some(image) = named.pop_front() else { break };
        let held = holdings.of(&image).await.map_err(status)?;
        let digest = |digest: berth_ids::Digest| digest.to_string();
        let image = wire::HeldImage {
            key: Some(wire::HeldKey { namespace: image.namespace.to_string(), name: image.name }),
            digest: digest(image.target.digest),
            media_type: image.target.media_type,
            size: held.size,
            complete: held.complete,
            layers: held.layers.into_iter().map(digest).collect(),
            missing: held.missing,
        };
        bytes += image.encoded_len();
        images.push(image);
        // What is remembered is found without waiting: others are to have their turn.
        tokio::task::yield_now().await;
    }
    Ok(images)
}
