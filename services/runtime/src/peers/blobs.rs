//! The content store: blobs through distribution, tars of folders through bundle.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use berth_grpc::{NODE_MESSAGE, code_of, with_lease, with_media_type, with_namespace};
use berth_ids::{Algorithm, Digest, Namespace};
use berth_lifecycle::Pauses;
use berth_proto::containerd::services::content::v1::content_client::ContentClient;
use berth_proto::containerd::services::content::v1::{WriteAction, WriteContentRequest};
use berth_proto::containerd::services::diff::v1::diff_client::DiffClient;
use berth_proto::containerd::services::diff::v1::{ApplyRequest, DiffRequest};
use berth_proto::containerd::services::leases::v1::CreateRequest;
use berth_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use berth_proto::containerd::types::{Descriptor, Mount};
use bytes::Bytes;
use futures::future::BoxFuture;
use sha2::Digest as _;

use super::Services;
use super::services::refused;
use crate::checkpoints::{Blob, Blobs};
use crate::error::{Error, Result};

/// Under this label a lease says when it ends.
const EXPIRE: &str = "containerd.io/gc.expire";
/// The media type of the tar of what the OCI runtime wrote. Bundle makes and takes it itself, whatever
/// differs and stream processors there are for layers.
pub const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/// That of a container's specification.
pub const CHECKPOINT_CONFIG: &str =
    "application/vnd.containerd.container.checkpoint.config.v1+proto";
/// How long a call is repeated while its service, or one that this calls, is away, ends or is fenced.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two calls, at first and at most: a service that is there refuses at once.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// The memory of a container on its way.
const PACKING: Duration = Duration::from_secs(600);
/// How long what is quick may take.
const QUICK: Duration = Duration::from_secs(20);
/// The most of a blob in one message.
const CHUNK: usize = 1 << 20;

impl Blobs for Services {
    fn hold<'a>(
        &'a self,
        namespace: &'a Namespace,
        until: SystemTime,
    ) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let until = berth_grpc::time::to_wire(until).to_string();
            let made = patiently(|| async {
                // One of a call that broke off ends by itself.
                let id = unique("checkpoint");
                let labels = [(EXPIRE.to_owned(), until.clone())].into();
                let request = CreateRequest { id: id.clone(), labels };
                let mut request = with_namespace(request, namespace);
                request.set_timeout(QUICK);
                LeasesClient::new(self.distribution.clone()).create(request).await?;
                Ok(id)
            });
            made.await.map_err(refused("make a lease"))
        })
    }

    fn pack<'a>(
        &'a self,
        namespace: &'a Namespace,
        lease: &'a str,
        folder: &'a Path,
    ) -> BoxFuture<'a, Result<Blob>> {
        Box::pin(async move {
            let answer = patiently(|| async {
                let request = DiffRequest {
                    right: vec![bind(folder)],
                    media_type: CHECKPOINT.to_owned(),
                    ..DiffRequest::default()
                };
                let mut request = with_lease(with_namespace(request, namespace), lease)
                    .map_err(berth_grpc::status)?;
                request.set_timeout(PACKING);
                DiffClient::new(self.bundle.clone()).diff(request).await
            });
            let answer = answer.await;
            let diff = answer.map_err(refused("pack checkpoint"))?.into_inner().diff;
            let Descriptor { digest, size, .. } = diff.unwrap_or_default();
            blob(&digest, size)
        })
    }

    fn write<'a>(
        &'a self,
        namespace: &'a Namespace,
        lease: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<Blob>> {
        Box::pin(async move {
            let digest = digest_of(&bytes)?;
            let written = patiently(|| async {
                let reference = unique("checkpoint-config");
                let messages = messages(&reference, &digest.to_string(), &bytes);
                let request = with_namespace(tokio_stream::iter(messages), namespace);
                let request = with_lease(request, lease).map_err(berth_grpc::status)?;
                let request = with_media_type(request, CHECKPOINT_CONFIG);
                let mut request = request.map_err(berth_grpc::status)?;
                request.set_timeout(QUICK);
                let mut client = ContentClient::new(self.distribution.clone())
                    .max_decoding_message_size(NODE_MESSAGE)
                    .max_encoding_message_size(NODE_MESSAGE);
                let mut answers = client.write(request).await?.into_inner();
                while answers.message().await?.is_some() {}
                Ok(())
            });
            match written.await {
                Err(status) if code_of(&status) == berth_errors::Code::AlreadyExists => {}
                written => written.map_err(refused("write blob"))?,
            }
            Ok(Blob { digest, size: bytes.len() as u64 })
        })
    }

    fn unpack<'a>(
        &'a self,
        namespace: &'a Namespace,
        tar: &'a Blob,
        folder: &'a Path,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let diff = Descriptor {
                media_type: CHECKPOINT.to_owned(),
                digest: tar.digest.to_string(),
                size: i64::try_from(tar.size).unwrap_or(i64::MAX),
                ..Descriptor::default()
            };
            let mounts = vec![bind(folder)];
            let request = ApplyRequest { diff: Some(diff), mounts, ..ApplyRequest::default() };
            let mut request = with_namespace(request, namespace);
            request.set_timeout(PACKING);
            let applied = DiffClient::new(self.bundle.clone()).apply(request).await;
            applied.map(drop).map_err(refused("unpack checkpoint"))
        })
    }
}

/// Makes a call that may be repeated as often as it takes its services to serve again, within bounds.
async fn patiently<T, F>(call: impl Fn() -> F) -> std::result::Result<T, tonic::Status>
where
    F: Future<Output = std::result::Result<T, tonic::Status>>,
{
    patiently_within(PATIENCE, call).await
}

/// No call begins later than that.
async fn patiently_within<T, F>(
    patience: Duration,
    call: impl Fn() -> F,
) -> std::result::Result<T, tonic::Status>
where
    F: Future<Output = std::result::Result<T, tonic::Status>>,
{
    let (until, mut pauses) = (Instant::now() + patience, Pauses::new(PAUSES));
    loop {
        match call().await {
            Err(status) if status.code() == tonic::Code::Unavailable && Instant::now() < until => {
                tracing::debug!(message = status.message(), "repeat a call for a checkpoint");
            }
            answer => return answer,
        }
        pauses.wait().await;
    }
}

/// A blob in pieces, and the commit.
fn messages(reference: &str, digest: &str, bytes: &Bytes) -> Vec<WriteContentRequest> {
    let reference = reference.to_owned();
    let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let starts = (0..bytes.len()).step_by(CHUNK);
    let mut messages: Vec<_> = starts
        .map(|start| WriteContentRequest {
            action: WriteAction::Write.into(),
            r#ref: reference.clone(),
            offset: i64::try_from(start).unwrap_or(i64::MAX),
            data: bytes.slice(start..bytes.len().min(start + CHUNK)),
            ..WriteContentRequest::default()
        })
        .collect();
    messages.push(WriteContentRequest {
        action: WriteAction::Commit.into(),
        r#ref: reference,
        offset: size,
        total: size,
        expected: digest.to_owned(),
        ..WriteContentRequest::default()
    });
    messages
}

fn bind(folder: &Path) -> Mount {
    Mount {
        r#type: "bind".into(),
        source: folder.to_string_lossy().into_owned(),
        target: String::new(),
        options: ["rbind", "rw"].map(str::to_owned).into(),
    }
}

fn digest_of(bytes: &[u8]) -> Result<Digest> {
    let hash = sha2::Sha256::digest(bytes);
    Digest::of_hash(Algorithm::Sha256, hash.as_ref()).map_err(named)
}

fn named(source: berth_ids::Error) -> Error {
    Error::Name { what: "digest of checkpoint", source }
}

fn blob(digest: &str, size: i64) -> Result<Blob> {
    let digest = digest.parse().map_err(named)?;
    Ok(Blob { digest, size: u64::try_from(size).unwrap_or_default() })
}

/// A name that nothing else has: by the time, and a count of those of this process.
fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("berth-{what}-{}-{}-{count}", std::process::id(), now.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_goes_in_pieces_that_lie_end_to_end() {
        let bytes = Bytes::from(vec![7; CHUNK * 2 + 5]);
        let sent = messages("r", "sha256:x", &bytes);
        let places: Vec<_> = sent.iter().map(|m| (m.offset, m.data.len())).collect();
        let chunk = i64::try_from(CHUNK).unwrap();
        assert_eq!(places, [(0, CHUNK), (chunk, CHUNK), (2 * chunk, 5), (2 * chunk + 5, 0)]);
        assert_eq!(sent[3].action, i32::from(WriteAction::Commit));
    }

    #[tokio::test]
    async fn a_call_is_repeated_while_its_service_is_away_and_not_for_ever() {
        const FOREVER: Duration = Duration::from_secs(86_400);
        for (refusals, code, patience, calls) in [
            (0, tonic::Code::Unavailable, FOREVER, 1),
            (4, tonic::Code::Unavailable, FOREVER, 5),
            (9, tonic::Code::Unavailable, Duration::ZERO, 1),
            (9, tonic::Code::NotFound, FOREVER, 1),
        ] {
            let made = AtomicU64::new(0);
            let answer = patiently_within(patience, || async {
                match made.fetch_add(1, Ordering::Relaxed) < refusals {
                    true => Err(tonic::Status::new(code, "no")),
                    false => Ok(()),
                }
            });
            assert_eq!(answer.await.is_ok(), refusals < 9, "{refusals} {code}");
            assert_eq!(made.into_inner(), calls, "{refusals} {code}");
        }
    }
}
