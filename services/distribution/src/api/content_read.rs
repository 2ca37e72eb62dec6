//! A blob's bytes as a stream: frames are read ahead on other threads while one is sent.

use std::fs::File;
use std::sync::Arc;

use berth_grpc::status;
use berth_ids::Digest;
use berth_proto::containerd::services::content::v1::ReadContentResponse;
use futures::{StreamExt, stream};

use super::wire::{Answers, to_size};
use crate::content::files::read_at;
use crate::error::{Error, Result};

/// Bytes in one message.
const FRAME: u64 = 1 << 20;
/// Frames that are read or sent at once.
const AHEAD: usize = 2;

/// The frames of a range; `size` 0 or less stands for all that follows.
///
/// # Errors
/// [`Error::PastEnd`].
pub fn frames(
    file: File,
    digest: Digest,
    total: u64,
    offset: i64,
    size: i64,
) -> Result<Answers<ReadContentResponse>> {
    let offset = u64::try_from(offset).unwrap_or(0);
    if offset > total {
        return Err(Error::PastEnd(total));
    }
    let wanted = u64::try_from(size).ok().filter(|size| *size > 0);
    let end = wanted.map_or(total, |size| offset.saturating_add(size).min(total));
    let file = Arc::new(file);
    let starts = (offset..end).step_by(FRAME as usize);
    let frames = stream::iter(starts).map(move |at| {
        let (file, digest) = (file.clone(), digest.clone());
        let length = (end - at).min(FRAME) as usize;
        async move {
            let read = tokio::task::spawn_blocking(move || read_at(&file, at, length)).await;
            let read = read.map_err(|_| status(Error::Worker("read blob")))?;
            let data = read.map_err(|_| status(Error::ShortBlob { digest, at, size: total }))?;
            Ok(ReadContentResponse { offset: to_size(at - offset), data })
        }
    });
    Ok(Box::pin(frames.buffered(AHEAD)))
}
