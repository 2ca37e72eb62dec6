//! Calls for which a service has to have memory: it holds the message of each, and waits for its end.

use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::snapshots::{StatSnapshotRequest, StatSnapshotResponse};
use containerd_client::services::v1::{
    GetContainerRequest, GetContainerResponse, GetImageRequest, GetImageResponse,
};
use containerd_client::tonic::client::Grpc;
use containerd_client::tonic::codegen::http::uri::PathAndQuery;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Status};
use futures::stream::{FuturesUnordered, StreamExt, once, pending};
use prost::Message;
use tonic_prost::ProstCodec;

use crate::effect::within;
use crate::fault::{BUNDLE, RUNTIME};

/// Less than a message may have.
const LARGE: usize = 3 << 20;
/// Together more than a process has reserved for its heaps, which is 64 MiB for each of two.
const MANY: usize = 64;
/// How long it may take to hold them, on a machine that is busy.
const HELD: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// Has a service hold more than it has room for, until `is_over`, or it answers one of the calls: with
/// that code. None says that nothing came of it.
pub async fn burden(address: &Path, service: &str, is_over: impl Fn() -> bool) -> Option<Code> {
    let Ok(channel) = containerd_client::connect(address).await else {
        tokio::time::sleep(LOOK).await;
        return None;
    };
    let mut held: FuturesUnordered<_> = (0..MANY).map(|_| hold(channel.clone(), service)).collect();
    let over = async {
        while !is_over() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        told = held.next() => told.map(|status| status.code()),
        () = over => None,
        () = tokio::time::sleep(HELD) => None,
    }
}

/// A call that the service answers only if it fails: its message is there, and not its end.
async fn hold(channel: Channel, service: &str) -> Status {
    let text = "x".repeat(LARGE);
    match service {
        BUNDLE => {
            let stat = StatSnapshotRequest { key: text, ..Default::default() };
            let path = "/containerd.services.snapshots.v1.Snapshots/Stat";
            unended::<_, StatSnapshotResponse>(channel, path, stat).await
        }
        RUNTIME => {
            let path = "/containerd.services.containers.v1.Containers/Get";
            let get = GetContainerRequest { id: text };
            unended::<_, GetContainerResponse>(channel, path, get).await
        }
        _ => {
            let path = "/containerd.services.images.v1.Images/Get";
            let get = GetImageRequest { name: text };
            unended::<_, GetImageResponse>(channel, path, get).await
        }
    }
}

async fn unended<M, A>(channel: Channel, path: &'static str, message: M) -> Status
where
    M: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Status::unavailable(error.to_string());
    }
    let sent = within(once(async { message }).chain(pending()));
    let codec = ProstCodec::<M, A>::default();
    let answered = client.client_streaming(sent, PathAndQuery::from_static(path), codec).await;
    answered.err().unwrap_or_else(|| Status::internal("answered before its end"))
}
