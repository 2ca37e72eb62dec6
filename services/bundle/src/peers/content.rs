//! Writing a new blob into distribution's content, while it is being made.

use std::collections::HashMap;

use berth_grpc::Channel;
use berth_grpc::{NODE_MESSAGE, with_lease, with_media_type, with_namespace};
use berth_ids::{Digest, Labels, Namespace};
use berth_proto::containerd::services::content::v1 as wire;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use wire::content_client::ContentClient;

use crate::Error;
use crate::diff::UNCOMPRESSED;

/// Distribution's `Content.Write`, seen from the writing side.
pub struct ContentWriter {
    channel: Channel,
    namespace: Namespace,
    lease: Option<String>,
}

/// What a blob is called once it is whole.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
    /// Labels to give it.
    pub labels: Labels,
}

impl ContentWriter {
    pub(super) fn new(channel: Channel, namespace: Namespace, lease: Option<String>) -> Self {
        Self { channel, namespace, lease }
    }

    fn client(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone())
            .max_decoding_message_size(NODE_MESSAGE)
            .max_encoding_message_size(NODE_MESSAGE)
    }

    /// Writes the chunks that come through `chunks`, then commits what `finished` answers. A
    /// closed channel without an answer there aborts.
    ///
    /// # Errors
    /// [`Error::Peer`]. A blob that is there already is fine.
    pub async fn write(
        &self,
        reference: String,
        media_type: &str,
        mut chunks: mpsc::Receiver<Bytes>,
        finished: oneshot::Receiver<Finished>,
    ) -> Result<(), Error> {
        let (requests, stream) = mpsc::channel(2);
        let mut request = with_namespace(ReceiverStream::new(stream), &self.namespace);
        if let Some(lease) = &self.lease {
            request = with_lease(request, lease)
                .map_err(|_| Error::NotFound { kind: "lease", name: lease.clone() })?;
        }
        request = with_media_type(request, media_type).map_err(|_| {
            let reason = "it has other characters than those of media types";
            Error::Argument { what: "media type", value: media_type.to_owned(), reason }
        })?;
        let mut client = self.client();
        let mut known = None;
        let send = async {
            let mut offset = 0;
            while let Some(data) = chunks.recv().await {
                let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
                let message = wire::WriteContentRequest {
                    action: wire::WriteAction::Write.into(),
                    r#ref: reference.clone(),
                    offset,
                    data,
                    ..Default::default()
                };
                offset += length;
                if requests.send(message).await.is_err() {
                    // The answer tells why distribution has stopped listening.
                    return;
                }
            }
            // The maker has failed, and tells why; what was written is an ingest that expires, or
            // that whoever named it goes on with.
            let Ok(blob) = finished.await else {
                drop(requests);
                return;
            };
            let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
            known = Some(blob.clone());
            let message = wire::WriteContentRequest {
                action: wire::WriteAction::Commit.into(),
                r#ref: reference.clone(),
                total: size,
                expected: blob.digest.to_string(),
                offset: size,
                labels: blob.labels.into_iter().collect::<HashMap<_, _>>(),
                ..Default::default()
            };
            let _ = requests.send(message).await;
            drop(requests);
        };
        let receive = async {
            let failed = |status: tonic::Status| super::refused("write blob", &status);
            let mut answers = client.write(request).await.map_err(failed)?.into_inner();
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(_) => {}
                    Err(status) if status.code() == tonic::Code::AlreadyExists => return Ok(true),
                    Err(status) => return Err(failed(status)),
                }
            }
            Ok(false)
        };
        let was_there = tokio::join!(send, receive).1?;
        match known.filter(|_| was_there) {
            Some(blob) => self.tell_uncompressed(&blob).await,
            None => Ok(()),
        }
    }

    /// Labels a blob that was there before with the digest of its tar, unless it is.
    async fn tell_uncompressed(&self, blob: &Finished) -> Result<(), Error> {
        let Some(uncompressed) = blob.labels.get(UNCOMPRESSED) else { return Ok(()) };
        let failed = |status: tonic::Status| super::refused("label blob", &status);
        let digest = blob.digest.to_string();
        let asked = wire::InfoRequest { digest: digest.clone() };
        let mut asked = with_namespace(asked, &self.namespace);
        asked.set_timeout(super::DEADLINE);
        let found = self.client().info(asked).await.map_err(failed)?.into_inner().info;
        if found.is_some_and(|info| info.labels.contains_key(UNCOMPRESSED)) {
            return Ok(());
        }
        let labels = HashMap::from([(UNCOMPRESSED.to_owned(), uncompressed.clone())]);
        let update = wire::UpdateRequest {
            info: Some(wire::Info { digest, labels, ..Default::default() }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec![format!("labels.{UNCOMPRESSED}")],
            }),
        };
        let mut update = with_namespace(update, &self.namespace);
        update.set_timeout(super::DEADLINE);
        self.client().update(update).await.map(drop).map_err(failed)
    }

    /// Throws away what was written under a reference and is no blob. If that fails it expires.
    pub async fn abort(&self, reference: String) {
        let mut abort = with_namespace(wire::AbortRequest { r#ref: reference }, &self.namespace);
        abort.set_timeout(super::DEADLINE);
        match self.client().abort(abort).await {
            Err(status) if status.code() != tonic::Code::NotFound => {
                tracing::warn!(error = status.message(), "abort the ingest of a layer");
            }
            _ => {}
        }
    }
}
