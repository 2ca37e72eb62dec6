//! Other limits for a container, and a log that was moved.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use berth_cri_spec as spec;
use berth_lifecycle::blocking;
use berth_proto::containerd::services::containers::v1 as records;
use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::runtime::v1::{ContainerState, LinuxContainerResources};
use berth_runtime_spec::Spec;
use prost_types::{Any, FieldMask};

use super::{Container, Containers, Shared};
use crate::peers::{QUICK, WORK, call, gone_is_fine, refused};
use crate::pods::packed;
use crate::{Error, Result, handlers};

/// The type of limits that a task is given.
const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

impl Containers {
    /// Changes a container's limits, on record and where it runs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for one that is being removed; [`Error::Spec`]; [`Error::Peer`]: they
    /// are as before then.
    pub async fn update(&self, id: &str, asked: Option<LinuxContainerResources>) -> Result<()> {
        let container = self.find(id).map_err(Error::within("failed to find container"))?;
        let this = self.clone();
        let work = async move { this.0.update(&container, &asked.unwrap_or_default()).await };
        let updated = self.to_the_end("update-container", work).await;
        updated.map_err(Error::within("failed to update resources"))
    }

    /// Makes the log anew at its path, from where it was moved: the shim goes on there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for one that does not run; [`Error::File`].
    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        let step = format!("an error occurred when try to find container {id:?}");
        let container = self.find(id).map_err(Error::within(step))?;
        if container.standing().state() != ContainerState::ContainerRunning {
            return Err(Error::Refused("container is not running".to_owned()));
        }
        let path = container.metadata.log_path.clone();
        if path.is_empty() {
            return Ok(());
        }
        let open = move || {
            let path = Path::new(&path);
            // A pipe that somebody has put there keeps nobody.
            let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
            let mut options = std::fs::OpenOptions::new();
            options.create(true).append(true).mode(0o640).custom_flags(nonblock);
            options.open(path).map(drop).map_err(Error::file("open log", path))
        };
        blocking("reopen-log", open).await?
    }

    /// A container's specification, as its record has it.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::Unreadable`].
    pub async fn spec(&self, container: &Container) -> Result<Spec> {
        self.0.spec_on_record(container).await
    }
}

impl Shared {
    async fn update(&self, container: &Container, asked: &LinuxContainerResources) -> Result<()> {
        let _alone = self.turns.alone(container.id()).await;
        let standing = container.standing();
        if standing.removing {
            return Err(Error::Refused(format!(
                "container {:?} is in removing state",
                container.id()
            )));
        }
        let before = self.spec_on_record(container).await?;
        let mut after = before.clone();
        let settings = handlers::settings(&self.parts.cri);
        spec::update(&mut after, asked, &settings, &self.machine)?;
        self.keep(container, &after).await?;
        if standing.state() != ContainerState::ContainerRunning {
            return Ok(());
        }
        let limits = after.linux().as_ref().and_then(|linux| linux.resources().clone());
        let value = serde_json::to_vec(&limits).unwrap_or_default();
        let request = wire::UpdateTaskRequest {
            container_id: container.id().to_owned(),
            resources: Some(Any { type_url: RESOURCES.to_owned(), value }),
            ..Default::default()
        };
        let told = gone_is_fine(self.parts.node.tasks().update(call(request, WORK)).await);
        if let Err(status) = told {
            self.keep(container, &before).await?;
            return Err(refused("update task")(status));
        }
        Ok(())
    }

    pub(super) async fn spec_on_record(&self, container: &Container) -> Result<Spec> {
        let request = call(records::GetContainerRequest { id: container.id().to_owned() }, QUICK);
        let found = self.parts.node.containers().get(request).await;
        let record = found.map_err(refused("look for record of container"))?.into_inner().container;
        let spec = record.unwrap_or_default().spec.unwrap_or_default();
        let unreadable = |error: serde_json::Error| Error::Unreadable {
            what: "specification of container",
            id: container.id().to_owned(),
            why: error.to_string(),
        };
        serde_json::from_slice(&spec.value).map_err(unreadable)
    }

    async fn keep(&self, container: &Container, spec: &Spec) -> Result<()> {
        let record = records::Container {
            id: container.id().to_owned(),
            spec: Some(packed(spec)),
            ..Default::default()
        };
        let request = records::UpdateContainerRequest {
            container: Some(record),
            update_mask: Some(FieldMask { paths: vec!["spec".to_owned()] }),
        };
        let kept = self.parts.node.containers().update(call(request, QUICK)).await;
        kept.map(drop).map_err(refused("update record of container"))
    }
}
