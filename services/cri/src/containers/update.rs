//! Other limits for a container, and a log that was moved.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use berth_cri_spec as spec;
use berth_lifecycle::blocking;
use berth_proto::runtime::v1::{ContainerState, LinuxContainerResources};
use berth_runtime_spec::Spec;

use super::{Container, Containers, Shared};
use crate::peers::{containers, tasks};
use crate::{Error, Result, handlers};

impl Containers {
    /// Changes a container's limits, on record and where it runs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for one that is being removed; [`Error::Deadline`] for one that is being
    /// saved for long; [`Error::Spec`]; [`Error::Peer`]: they are as before then.
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
        let state = container.standing().state();
        if state != ContainerState::ContainerRunning {
            let why = format!("container is not running: it is in {} state", state.as_str_name());
            return Err(Error::Refused(why));
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
        let _alone = self.turn(container.id()).await?;
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
        let told = self.tell_limits(container, &after).await;
        if told.is_err() {
            self.keep(container, &before).await?;
            // What was set before the refusal the runtime does not take back.
            if let Err(error) = self.tell_limits(container, &before).await {
                let error = berth_errors::chain(&error);
                tracing::warn!(id = container.id(), error, "put limits back that were in force");
            }
        }
        told
    }

    async fn tell_limits(&self, container: &Container, spec: &Spec) -> Result<()> {
        let limits = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
        tasks::update(&self.parts.node, container.id(), &limits).await
    }

    pub(super) async fn spec_on_record(&self, container: &Container) -> Result<Spec> {
        containers::get(&self.parts.node, container.id()).await?.spec()
    }

    async fn keep(&self, container: &Container, spec: &Spec) -> Result<()> {
        containers::put_spec(&self.parts.node, container.id(), spec).await?;
        container.show_spec(spec);
        Ok(())
    }
}
