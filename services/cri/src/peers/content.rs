//! Blobs: small ones at once, others from and to files.

use std::sync::{Arc, OnceLock};

use berth_errors::Code;
use berth_grpc::code_of;
use berth_ids::{Algorithm, Digest};
use berth_proto::containerd::services::content::v1 as wire;
use futures::stream;
use prost_types::FieldMask;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Status;

use super::{Node, QUICK, call, endless, refused};
use crate::{Error, Result, ids};

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

/// A blob by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob {
    /// The name.
    pub digest: String,
    /// Its bytes.
    pub size: i64,
}

/// What is sent at once.
const PIECE: usize = 1 << 20;

/// Writes a blob to a file.
///
/// # Errors
/// [`Error::Peer`]; [`Error::Invalid`] names the file's fault.
pub async fn copy(node: &Node, digest: &str, file: &mut File) -> Result<()> {
    let request = wire::ReadContentRequest { digest: digest.to_owned(), ..Default::default() };
    let mut pieces = node.content().read(endless(request)).await.map_err(refused("read a blob"))?;
    let faulty = |error| Error::file("write", "a blob's copy")(error);
    while let Some(piece) = pieces.get_mut().message().await.map_err(refused("read a blob"))? {
        file.write_all(&piece.data).await.map_err(faulty)?;
    }
    file.flush().await.map_err(faulty)
}

/// Makes a blob of a file. The lease holds it, also if it is there already.
///
/// # Errors
/// [`Error::Peer`].
pub async fn write(node: &Node, file: File, lease: &str) -> Result<Blob> {
    let made = Arc::new(OnceLock::new());
    let writing = Writing {
        file,
        name: format!("checkpoint-{}", ids::new()?),
        offset: 0,
        hash: Sha256::new(),
        made: made.clone(),
    };
    let pieces = stream::unfold(writing, |mut writing| async move {
        let next = writing.next().await?;
        Some((next, writing))
    });
    let request = berth_grpc::with_lease(endless(pieces), lease)
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let written = async {
        let mut answers = node.content().write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    };
    match written.await {
        Err(status) if code_of(&status) != Code::AlreadyExists => {
            return Err(refused("write a blob")(status));
        }
        _ => {}
    }
    let unread = || Error::Refused("write a blob: its file could not be read".to_owned());
    made.get().cloned().ok_or_else(unread)
}

/// A file on its way to be a blob.
struct Writing {
    file: File,
    name: String,
    offset: i64,
    hash: Sha256,
    /// What it is, once all of it was sent.
    made: Arc<OnceLock<Blob>>,
}

impl Writing {
    /// The next message; the last one makes the blob whole. What cannot be read ends the stream before that, and
    /// nothing comes of it.
    async fn next(&mut self) -> Option<wire::WriteContentRequest> {
        if self.made.get().is_some() {
            return None;
        }
        let mut data = Vec::with_capacity(PIECE);
        (&mut self.file).take(PIECE as u64).read_to_end(&mut data).await.ok()?;
        let offset = self.offset;
        let message =
            wire::WriteContentRequest { r#ref: self.name.clone(), offset, ..Default::default() };
        if data.is_empty() {
            let digest = Digest::of_hash(Algorithm::Sha256, &self.hash.clone().finalize());
            let blob = Blob { digest: digest.ok()?.to_string(), size: offset };
            let expected = self.made.get_or_init(|| blob).digest.clone();
            let action = wire::WriteAction::Commit.into();
            return Some(wire::WriteContentRequest { action, total: offset, expected, ..message });
        }
        self.hash.update(&data);
        self.offset += i64::try_from(data.len()).unwrap_or(i64::MAX);
        let action = wire::WriteAction::Write.into();
        Some(wire::WriteContentRequest { action, data: data.into(), ..message })
    }
}
