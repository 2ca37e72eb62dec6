//! Small blobs.

use berth_errors::Code;
use berth_grpc::code_of;
use berth_proto::containerd::services::content::v1 as wire;
use prost_types::FieldMask;
use tonic::Status;

use super::{Node, QUICK, call, refused};
use crate::{Error, Result};

/// A blob of at most `limit` bytes.
///
/// # Errors
/// [`Error::Peer`], [`Error::Unreadable`] of a larger one; no such blob is none.
pub async fn read(node: &Node, digest: &str, limit: usize) -> Result<Option<Vec<u8>>> {
    let absent = |status: &Status| code_of(status) == Code::NotFound;
    let refused = || refused("read a manifest or config");
    let request = wire::ReadContentRequest { digest: digest.to_owned(), ..Default::default() };
    let mut pieces = match node.content().read(call(request, QUICK)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if absent(&status) => return Ok(None),
        Err(status) => return Err(refused()(status)),
    };
    let mut blob = Vec::new();
    loop {
        match pieces.message().await {
            Ok(Some(piece)) => blob.extend_from_slice(&piece.data),
            Ok(None) => return Ok(Some(blob)),
            Err(status) if absent(&status) => return Ok(None),
            Err(status) => return Err(refused()(status)),
        }
        if blob.len() > limit {
            let why = format!("it is larger than {limit} bytes");
            return Err(Error::Unreadable { what: "manifest or config", id: digest.into(), why });
        }
    }
}

/// Gives a blob a label.
///
/// # Errors
/// [`Error::Peer`].
pub async fn label(node: &Node, digest: &str, label: (String, String)) -> Result<()> {
    let paths = vec![format!("labels.{}", label.0)];
    let info =
        wire::Info { digest: digest.to_owned(), labels: [label].into(), ..Default::default() };
    let update_mask = Some(FieldMask { paths });
    let request = wire::UpdateRequest { info: Some(info), update_mask };
    let updated = node.content().update(call(request, QUICK)).await;
    updated.map(drop).map_err(refused("label a config"))
}
