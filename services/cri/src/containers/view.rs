//! How containers are, as kubelets see it.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use berth_cri_spec as spec;
use berth_proto::runtime::v1 as wire;
use berth_runtime_spec::Spec;
use serde_json::json;

use super::{Container, Containers, Standing};
use crate::records::golang;
use crate::{Error, Result, handlers};

impl Containers {
    /// How a container is, with details where they are asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Peer`].
    pub async fn status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<(wire::ContainerStatus, HashMap<String, String>)> {
        let step = format!("an error occurred when try to find container {id:?}");
        let container = self.find(id).map_err(Error::within(step))?;
        let mut status = status(&container);
        // As it is called now, if it is still called anything; or as it was, where nobody says it.
        let names = self.0.parts.images.names(&container.metadata.image_digest).await;
        if let Some(tag) = names.tag {
            status.image = Some(wire::ImageSpec { image: tag, ..Default::default() });
        }
        status.image_ref = names.digest.unwrap_or(status.image_ref);
        let info = match verbose {
            true => self.info(&container, &self.0.spec_on_record(&container).await?),
            false => HashMap::new(),
        };
        Ok((status, info))
    }

    /// Those that a filter names; all without one.
    #[must_use]
    pub fn list(&self, filter: Option<wire::ContainerFilter>) -> Vec<wire::Container> {
        let filter = filter.unwrap_or_default();
        // What is no part of a number matches nothing.
        let id = match &*filter.id {
            "" => String::new(),
            part => self.find(part).map_or_else(|_| part.to_owned(), |found| found.id().to_owned()),
        };
        let pod = match &*filter.pod_sandbox_id {
            "" => String::new(),
            part => {
                self.0.parts.pods.find(part).map_or_else(|_| part.to_owned(), |pod| pod.id.clone())
            }
        };
        let all = self.all();
        let named = all.iter().filter(|container| {
            (id.is_empty() || container.id() == id)
                && (pod.is_empty() || container.metadata.sandbox_id == pod)
        });
        let wanted = named.map(|container| listed(container)).filter(|container| {
            filter.state.is_none_or(|state| state.state == container.state)
                && filter
                    .label_selector
                    .iter()
                    .all(|(key, value)| container.labels.get(key) == Some(value))
        });
        wanted.collect()
    }

    fn info(&self, container: &Container, spec: &Spec) -> HashMap<String, String> {
        let standing = container.standing();
        let pod = self.0.parts.pods.find(&container.metadata.sandbox_id).ok();
        let cri = &self.0.parts.cri;
        let runtime = pod.as_ref().and_then(|pod| {
            handlers::of(cri, &pod.id, &pod.handler, &pod.config).ok().map(|(_, handler)| handler)
        });
        let info = json!({
            "sandboxID": container.metadata.sandbox_id,
            "pid": standing.pid,
            "removing": standing.removing,
            "snapshotKey": container.id(),
            "snapshotter": container.snapshotter,
            "runtimeType": runtime.map(|handler| &handler.runtime_type),
            "runtimeOptions": runtime.map(handlers::shown_options),
            "config": golang::to_json(&container.config),
            "runtimeSpec": spec,
        });
        [("info".to_owned(), info.to_string())].into()
    }
}

/// What is told of a container's specification, so that nobody has to fetch it for that.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shown {
    user: Option<wire::ContainerUser>,
    resources: wire::ContainerResources,
}

impl Shown {
    pub(super) fn of(spec: &Spec) -> Self {
        let user = spec.process().as_ref().map(berth_runtime_spec::Process::user).map(|user| {
            let groups = user.additional_gids().iter().flatten();
            let supplemental_groups = groups.map(|gid| i64::from(*gid)).collect();
            let (uid, gid) = (user.uid().into(), user.gid().into());
            let linux = wire::LinuxContainerUser { uid, gid, supplemental_groups };
            wire::ContainerUser { linux: Some(linux) }
        });
        Self { user, resources: spec::resources_of(spec) }
    }
}

impl Container {
    /// Its specification is another one from now on.
    pub(super) fn show_spec(&self, spec: &Spec) {
        *self.shown() = Shown::of(spec);
    }

    /// What it is limited to now.
    #[must_use]
    pub fn limits(&self) -> Option<wire::LinuxContainerResources> {
        self.shown().resources.linux.clone()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // Each change is one move.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed(container: &Container) -> wire::Container {
    let Standing { status, .. } = container.standing();
    wire::Container {
        id: container.id().to_owned(),
        pod_sandbox_id: container.metadata.sandbox_id.clone(),
        metadata: container.config.metadata.clone(),
        image: container.config.image.clone(),
        image_ref: container.metadata.image_ref.clone(),
        image_id: container.metadata.image_ref.clone(),
        state: container.standing().state().into(),
        created_at: status.created_at,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
    }
}

fn status(container: &Container) -> wire::ContainerStatus {
    let standing = container.standing();
    let kept = &standing.status;
    let (reason, message) = (reason(&standing), kept.message.clone());
    let Shown { user, resources } = container.shown().clone();
    wire::ContainerStatus {
        id: container.id().to_owned(),
        metadata: container.config.metadata.clone(),
        state: standing.state().into(),
        created_at: kept.created_at,
        started_at: kept.started_at,
        finished_at: kept.finished_at,
        exit_code: kept.exit_code,
        image: container.config.image.clone(),
        image_ref: container.metadata.image_ref.clone(),
        image_id: container.metadata.image_ref.clone(),
        reason,
        message,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        mounts: container.config.mounts.clone(),
        log_path: container.metadata.log_path.clone(),
        resources: Some(resources),
        user,
        stop_signal: spec::status_signal(&container.metadata.stop_signal).into(),
    }
}

/// Why it ended, if it has.
fn reason(standing: &Standing) -> String {
    let kept = &standing.status;
    match standing.state() {
        wire::ContainerState::ContainerExited if !kept.reason.is_empty() => kept.reason.clone(),
        wire::ContainerState::ContainerExited if kept.exit_code == 0 => "Completed".to_owned(),
        wire::ContainerState::ContainerExited => "Error".to_owned(),
        _ => kept.reason.clone(),
    }
}
