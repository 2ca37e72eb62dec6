//! Names of the files that a checkpoint is made of, and the words in them. They are those of checkpointctl (its lib/
//! metadata), by which other tools read what is written here.

use std::sync::Arc;

use berth_proto::runtime::v1 as wire;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::containers::Container;
use crate::peers::containers::Record;
use crate::pods::Pod;
use crate::records::golang;
use crate::{Result, time};

/// What criu wrote.
pub const IMAGE: &str = "checkpoint";
/// What was written on top of the container's image: a layer.
pub const LAYER: &str = "rootfs-diff.tar";
/// The container's log.
pub const LOG: &str = "container.log";
/// What says that a folder holds a whole pod: it is written last.
pub const POD: &str = "pod.dump";
/// What other tools read of a pod.
const POD_OPTIONS: &str = "pod.options";
/// The version of a pod's files.
const VERSION: u32 = 1;

/// A pod's files, as they are found again.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OfPod {
    /// The version of these words.
    pub version: u32,
    /// The pod's number.
    pub id: String,
    /// The pod, in Go's words.
    pub config: Value,
    /// The handler that it was run by.
    pub runtime_handler: String,
    /// Its containers that were saved.
    pub containers: Vec<OfContainer>,
}

/// A container of a pod that was saved.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OfContainer {
    /// Its name in the pod.
    pub name: String,
    /// Its number.
    pub id: String,
    /// Its archive, in the same folder.
    pub archive: String,
}

impl OfPod {
    /// Whether its words are those that are known here.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.version == VERSION
    }
}

/// The name of a container's archive beside those of its pod's others.
pub fn archive(container: &Container) -> String {
    format!("{}.tar", container.id())
}

/// A container's name in its pod.
pub fn name(config: &wire::ContainerConfig) -> String {
    config.metadata.clone().unwrap_or_default().name
}

/// The small files of a container.
pub fn of_container(
    container: &Container,
    record: &Record,
    status: &wire::ContainerStatus,
) -> Vec<(&'static str, Vec<u8>)> {
    let image = status.image.clone().unwrap_or_default().image;
    let config = json!({
        "id": container.id(),
        "name": container.metadata.name,
        "rootfsImage": image,
        "rootfsImageRef": status.image_ref,
        "rootfsImageName": image,
        "runtime": record.runtime.0,
        "createdTime": time::text(record.created_at),
        "checkpointedTime": time::text(time::now()),
        "restoredTime": "0001-01-01T00:00:00Z",
        "restored": false,
    });
    let standing = container.standing();
    let kept = json!({
        "CreatedAt": standing.status.created_at,
        "StartedAt": standing.status.started_at,
        "FinishedAt": standing.status.finished_at,
        "ExitCode": standing.status.exit_code,
        "Pid": standing.pid,
        "Reason": standing.status.reason,
        "Message": standing.status.message,
    });
    vec![
        ("config.dump", config.to_string().into_bytes()),
        ("spec.dump", record.spec.value.clone()),
        ("status.dump", golang::to_json(status).to_string().into_bytes()),
        ("status", kept.to_string().into_bytes()),
    ]
}

/// The files of a pod, in the order in which they are written.
pub fn of_pod(pod: &Pod, runtime: &str, saved: &[Arc<Container>]) -> [(&'static str, String); 2] {
    let containers: Vec<_> = saved
        .iter()
        .map(|container| OfContainer {
            name: name(&container.config),
            id: container.id().to_owned(),
            archive: archive(container),
        })
        .collect();
    let full = containers.iter().map(|one| (one.name.clone(), one.id.clone().into()));
    let options = json!({
        "version": VERSION,
        "containers": Value::Object(full.collect()),
        "annotations": {
            "checkpointctl.pod.checkpoint.engine": "berth",
            "checkpointctl.pod.checkpoint.runtime": runtime,
            "checkpointctl.pod.checkpoint.sandbox.id": pod.id,
        },
    });
    let of_pod = json!(OfPod {
        version: VERSION,
        id: pod.id.clone(),
        config: golang::to_json(&pod.config),
        runtime_handler: pod.handler.clone(),
        containers,
    });
    [(POD_OPTIONS, options.to_string()), (POD, of_pod.to_string())]
}

/// What a pod's files say.
///
/// # Errors
/// [`crate::Error::Unreadable`].
pub fn read_pod(text: &[u8]) -> Result<OfPod> {
    let unreadable =
        |why: String| crate::Error::Unreadable { what: "checkpoint", id: POD.to_owned(), why };
    let found: OfPod =
        serde_json::from_slice(text).map_err(|error| unreadable(error.to_string()))?;
    match found.is_known() {
        true => Ok(found),
        false => Err(unreadable(format!("version {} is not known here", found.version))),
    }
}
