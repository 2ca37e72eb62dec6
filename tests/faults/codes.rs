//! What a client sees that looks at codes, and gives its calls no deadline.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_testkit::sha256;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::snapshots::ListSnapshotsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    ListImagesRequest, ListTasksRequest, WriteAction, WriteContentRequest,
};
use containerd_client::tonic::{Code, IntoRequest, Request, Status};

use crate::fault::{BUNDLE, DISTRIBUTION, Fault, RUNTIME};
use crate::stage::Stage;

/// A service that is silent for twice 20 s is given up; the rest is for a machine that is busy.
const BOUND: Duration = Duration::from_secs(90);

/// More than a store has in hand.
const SIZE: usize = 256 << 10;

fn within<T>(message: T) -> Request<T> {
    let mut request = message.into_request();
    request.metadata_mut().insert("containerd-namespace", "default".parse().expect("a value"));
    request
}

/// Begins a call that the fault concerns, if there is one of which the code is certain. A gateway that
/// is stopped too tells nobody.
pub fn begin(
    stage: &Stage,
    fault: Fault,
    service: &'static str,
    number: usize,
) -> JoinHandle<Result<()>> {
    let address = stage.node.address();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (expected, call) = match (fault, service) {
                (Fault::Stopped, DISTRIBUTION | BUNDLE | RUNTIME) => {
                    (Code::Unavailable, tokio::time::timeout(BOUND, list(&address, service)).await)
                }
                (Fault::Disk | Fault::Descriptors, DISTRIBUTION) => {
                    let written = tokio::time::timeout(BOUND, write(&address, number)).await;
                    (Code::ResourceExhausted, written)
                }
                _ => return Ok(()),
            };
            let code = call?.err().map(|status| status.code());
            ensure!(code == Some(expected), "{service}: {code:?}, expected {expected:?}");
            Ok(())
        })
    })
}

async fn list(address: &Path, service: &str) -> Result<(), Status> {
    let channel = containerd_client::connect(address).await;
    let channel = channel.map_err(|error| Status::internal(error.to_string()))?;
    match service {
        DISTRIBUTION => {
            let list = ListImagesRequest::default();
            ImagesClient::new(channel).list(within(list)).await.map(drop)
        }
        BUNDLE => {
            let list = ListSnapshotsRequest::default();
            let mut listed = SnapshotsClient::new(channel).list(within(list)).await?.into_inner();
            listed.message().await.map(drop)
        }
        _ => {
            let list = ListTasksRequest::default();
            TasksClient::new(channel).list(within(list)).await.map(drop)
        }
    }
}

async fn write(address: &Path, number: usize) -> Result<(), Status> {
    let channel = containerd_client::connect(address).await;
    let channel = channel.map_err(|error| Status::internal(error.to_string()))?;
    let data = vec![number.to_le_bytes()[0]; SIZE];
    let commit = WriteContentRequest {
        action: WriteAction::Commit.into(),
        r#ref: format!("code-{number}"),
        expected: sha256(&data),
        data,
        ..Default::default()
    };
    let sent = tokio_stream::iter([commit]);
    let mut answers = ContentClient::new(channel).write(within(sent)).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}
