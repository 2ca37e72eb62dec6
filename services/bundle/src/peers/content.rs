//! Writing a new blob into distribution's content, while it is being made.

use std::collections::HashMap;

use berth_grpc::Channel;
use berth_grpc::{MAX_MESSAGE, with_lease, with_namespace};
use berth_ids::{Digest, Labels, Namespace};
use berth_proto::containerd::services::content::v1 as wire;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use wire::content_client::ContentClient;

use crate::Error;

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

    /// Writes the chunks that come through `chunks`, then commits what `finished` answers. A
    /// closed channel without an answer there aborts.
    ///
    /// # Errors
    /// [`Error::Peer`]. A blob that is there already is fine.
    pub async fn write(
        self,
        reference: String,
        mut chunks: mpsc::Receiver<Bytes>,
        finished: oneshot::Receiver<Finished>,
    ) -> Result<(), Error> {
        let (requests, stream) = mpsc::channel(2);
        let mut request = with_namespace(ReceiverStream::new(stream), &self.namespace);
        if let Some(lease) = &self.lease {
            request = with_lease(request, lease)
                .map_err(|_| Error::NotFound { kind: "lease", name: lease.clone() })?;
        }
        let mut client = ContentClient::new(self.channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
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
            // The maker has failed, and tells why; what was written is an ingest that expires.
            let Ok(blob) = finished.await else {
                drop(requests);
                return;
            };
            let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
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
                    Err(status) if status.code() == tonic::Code::AlreadyExists => return Ok(()),
                    Err(status) => return Err(failed(status)),
                }
            }
            Ok(())
        };
        tokio::join!(send, receive).1
    }
}
