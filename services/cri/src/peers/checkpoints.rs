//! Processes that stand still, and what is written of them.

use std::path::Path;
use std::time::Duration;

use berth_proto::containerd::runc::v1::CheckpointOptions;
use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::v1::types::Status;
use berth_proto::pack;

use super::{Node, QUICK, WORK, call, gone_is_fine, refused};
use crate::Result;

/// Has all processes of a container stand still.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn pause(node: &Node, container: &str) -> Result<()> {
    let request = wire::PauseTaskRequest { container_id: container.to_owned() };
    let paused = node.tasks().pause(call(request, WORK)).await;
    paused.map(drop).map_err(refused("pause task"))
}

/// Has them go on. It is no error if there are none.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn resume(node: &Node, container: &str) -> Result<()> {
    let request = wire::ResumeTaskRequest { container_id: container.to_owned() };
    gone_is_fine(node.tasks().resume(call(request, WORK)).await).map_err(refused("resume task"))
}

/// Whether its processes stand still.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn stands_still(node: &Node, container: &str) -> Result<bool> {
    let request = wire::GetRequest { container_id: container.to_owned(), ..Default::default() };
    match node.tasks().get(call(request, QUICK)).await {
        Ok(answer) => {
            let process = answer.into_inner().process.unwrap_or_default();
            Ok(matches!(process.status(), Status::Paused | Status::Pausing))
        }
        Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
        Err(status) => Err(refused("look for task")(status)),
    }
}

/// Writes what runs in a container to the folder `image`, and what is said of that to `work`. It goes on running.
///
/// # Errors
/// [`crate::Error::Peer`].
pub async fn write(
    node: &Node,
    container: &str,
    (image, work): (&Path, &Path),
    within: Duration,
) -> Result<()> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let options =
        CheckpointOptions { image_path: text(image), work_path: text(work), ..Default::default() };
    let request = wire::CheckpointTaskRequest {
        container_id: container.to_owned(),
        options: Some(pack(&options)),
        ..Default::default()
    };
    let written = node.tasks().checkpoint(call(request, within)).await;
    written.map(drop).map_err(refused("checkpoint task"))
}
