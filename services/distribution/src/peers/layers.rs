//! Bundle, as unpacking needs it: layers over gRPC, their bytes over the descriptor socket.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use berth_errors::Code;
use berth_fdpass::FdServer;
use berth_grpc::Channel;
use berth_grpc::{channel, told};
use berth_ids::{Digest, Namespace};
use berth_proto::berth::node::v1 as wire;
use tonic::{Response, Status};
use wire::layers_client::LayersClient;

use crate::unpack::{Applied, Apply, Capabilities, Commit, Failure, Hold, Layers, Work};

/// The most that a small call may take, waiting for a restart included.
const CALL: Duration = Duration::from_secs(15);
/// The most that making a layer durable may take.
const COMMIT: Duration = Duration::from_secs(300);
/// What applying a layer may take however small it is.
const APPLY: Duration = Duration::from_secs(600);
/// Compressed bytes per second that a layer is applied at in the worst case.
const SLOWEST: u64 = 256 << 10;

/// Bundle behind its socket.
pub struct Bundle {
    channel: Channel,
    descriptors: FdServer,
}

impl Bundle {
    /// At this socket; bytes are handed over by `descriptors`.
    #[must_use]
    pub fn new(socket: &Path, descriptors: FdServer) -> Self {
        Self { channel: channel(socket), descriptors }
    }

    fn client(&self) -> LayersClient<Channel> {
        LayersClient::new(self.channel.clone())
    }
}

async fn ask<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => {
            let (code, message) = told(&status, "bundle");
            Err(Failure { code, message })
        }
        Err(_) => {
            let message = format!("bundle gave no answer within {deadline:?}: unavailable");
            Err(Failure { code: Code::Unavailable, message })
        }
    }
}

fn text(digest: Option<&Digest>) -> String {
    digest.map(ToString::to_string).unwrap_or_default()
}

impl Layers for Bundle {
    fn capabilities<'a>(&'a self, snapshotter: &'a str) -> Work<'a, Capabilities> {
        Box::pin(async move {
            let request = wire::LayerCapabilitiesRequest { snapshotter: snapshotter.to_owned() };
            let mut client = self.client();
            let answer = ask(CALL, client.capabilities(request)).await?;
            Ok(Capabilities {
                snapshotter: answer.snapshotter,
                parallel: answer.parallel,
                remote: answer.remote,
                annotated: answer.annotated,
            })
        })
    }

    fn hold<'a>(&'a self, hold: Hold<'a>) -> Work<'a, bool> {
        Box::pin(async move {
            // A snapshotter that is asked may have to ask a registry.
            let deadline = if hold.labels.is_empty() { CALL } else { COMMIT };
            let request = wire::HoldLayerRequest {
                namespace: hold.namespace.to_string(),
                snapshotter: hold.snapshotter.to_owned(),
                chain_id: hold.chain_id.to_string(),
                lease: hold.lease.unwrap_or_default().to_owned(),
                parent: text(hold.parent),
                labels: hold.labels.into_iter().collect(),
            };
            let mut client = self.client();
            Ok(ask(deadline, client.hold(request)).await?.present)
        })
    }

    fn apply<'a>(&'a self, apply: Apply<'a>) -> Work<'a, Applied> {
        Box::pin(async move {
            let token = self.descriptors.offer(apply.bytes).map_err(|error| Failure {
                code: berth_errors::Coded::code(&error),
                message: berth_errors::chain(&error),
            })?;
            let request = wire::ApplyLayerRequest {
                namespace: apply.namespace.to_string(),
                snapshotter: apply.snapshotter.to_owned(),
                staging: apply.staging.to_owned(),
                media_type: apply.media_type.to_owned(),
                token: token.as_str().to_owned(),
                parent: text(apply.parent),
                size: apply.size,
                digest: apply.digest.to_string(),
            };
            let deadline = APPLY + Duration::from_secs(apply.size / SLOWEST);
            let mut client = self.client();
            let answer = ask(deadline, client.apply(request)).await;
            // Of no use to anybody else; the pipe's writer must see that nobody reads.
            self.descriptors.withdraw(&token);
            answer.map(|answer| Applied {
                diff_id: answer.diff_id,
                size: answer.size,
                waited: Duration::from_micros(answer.waited_us),
                synced: Duration::from_micros(answer.synced_us),
            })
        })
    }

    fn commit<'a>(&'a self, commit: Commit<'a>) -> Work<'a, ()> {
        Box::pin(async move {
            let request = wire::CommitLayerRequest {
                namespace: commit.namespace.to_string(),
                snapshotter: commit.snapshotter.to_owned(),
                staging: commit.staging.to_owned(),
                chain_id: commit.chain_id.to_string(),
                parent: text(commit.parent),
                labels: commit.labels.into_iter().collect(),
                lease: commit.lease.unwrap_or_default().to_owned(),
            };
            let mut client = self.client();
            match ask(COMMIT, client.commit(request)).await {
                Err(failure) if failure.code != Code::AlreadyExists => Err(failure),
                _ => Ok(()),
            }
        })
    }

    fn discard<'a>(
        &'a self,
        namespace: &'a Namespace,
        snapshotter: &'a str,
        staging: &'a str,
    ) -> Work<'a, ()> {
        Box::pin(async move {
            let request = wire::DiscardLayerRequest {
                namespace: namespace.to_string(),
                snapshotter: snapshotter.to_owned(),
                staging: staging.to_owned(),
            };
            let mut client = self.client();
            ask(CALL, client.discard(request)).await.map(drop)
        })
    }
}
