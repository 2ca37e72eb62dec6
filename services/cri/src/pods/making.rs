//! The steps by which a pod comes to be, and by which it goes; each may be repeated.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use berth_config::Handler;
use berth_cri_spec as spec;
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::sandbox::v1 as sandboxes;
use berth_proto::containerd::services::tasks::v1 as tasks;
use berth_proto::containerd::types;
use berth_runtime_spec::{ImageConfig, RootView, SPEC_TYPE_URL, Spec};
use prost_types::Any;
use serde_json::Value;

use super::{Parts, Shared};
use crate::folders::INIT_NAME;
use crate::peers::{KILL, QUICK, WORK, call, gone_is_fine, refused};
use crate::records::metadata::{Metadata, OfPod, pack};
use crate::{Error, Result, handlers, time};

/// Who makes sandboxes, as their records say it.
pub(super) const SANDBOXER: &str = "podsandbox";
/// The extension of a sandbox's record with what is said of the pod.
pub(super) const OF_SANDBOX: &str = "metadata";
/// The extension with what the pod was told to use after it was made, and its type.
const UPDATED: &str = "updated-resources";
const UPDATED_TYPE: &str = "io.containerd.cri.v1/UpdatedResources";
/// How long a pod's process may take to be gone that was killed.
const GONE: Duration = Duration::from_secs(30);

/// What specifications are made of beside a pod's configuration.
pub(super) struct SpecParts {
    pub settings: spec::Settings,
    pub handlers: HashMap<String, spec::Handler>,
    pub node: spec::Node,
    image: ImageConfig,
}

impl SpecParts {
    pub(super) fn of(parts: &Parts) -> Self {
        let handler =
            |(name, handler): (&String, &Handler)| (name.clone(), handlers::facts(handler));
        Self {
            settings: handlers::settings(&parts.cri),
            handlers: parts.cri.runtimes.iter().map(handler).collect(),
            node: spec::Node::look(),
            image: ImageConfig {
                entrypoint: vec![format!("/{INIT_NAME}")],
                ..ImageConfig::default()
            },
        }
    }
}

impl Shared {
    /// What keeps from collection all that is made for the pod.
    pub(super) async fn make_lease(&self, id: &str) -> Result<()> {
        let request = leases::CreateRequest { id: id.to_owned(), labels: HashMap::new() };
        let made = self.parts.node.leases().create(call(request, QUICK)).await;
        made.map(drop).map_err(refused("create lease of pod"))
    }

    pub(super) async fn delete_lease(&self, id: &str) -> Result<()> {
        let request = leases::DeleteRequest { id: id.to_owned(), sync: false };
        gone_is_fine(self.parts.node.leases().delete(call(request, QUICK)).await)
            .map_err(refused("delete lease of pod"))
    }

    pub(super) async fn make_sandbox(&self, metadata: &OfPod, handler: &Handler) -> Result<()> {
        let sandbox = types::Sandbox {
            sandbox_id: metadata.id.clone(),
            runtime: Some(types::sandbox::Runtime {
                name: handler.runtime_type.clone(),
                options: handlers::options(handler),
            }),
            labels: [("name".to_owned(), metadata.name.clone())].into(),
            extensions: [(OF_SANDBOX.to_owned(), pack(metadata))].into(),
            sandboxer: SANDBOXER.to_owned(),
            ..Default::default()
        };
        let request = call(sandboxes::StoreCreateRequest { sandbox: Some(sandbox) }, QUICK);
        let made = self.parts.node.sandboxes().create(request).await;
        made.map(drop).map_err(refused("create record of sandbox"))
    }

    /// What is known of the pod now: its network.
    pub(super) async fn note_sandbox(&self, metadata: &OfPod) -> Result<()> {
        let sandbox = types::Sandbox {
            sandbox_id: metadata.id.clone(),
            extensions: [(OF_SANDBOX.to_owned(), pack(metadata))].into(),
            ..Default::default()
        };
        let fields = vec![format!("extensions.{OF_SANDBOX}")];
        let request = call(sandboxes::StoreUpdateRequest { sandbox: Some(sandbox), fields }, QUICK);
        let noted = self.parts.node.sandboxes().update(request).await;
        noted.map(drop).map_err(refused("update record of sandbox"))
    }

    pub(super) async fn delete_sandbox(&self, id: &str) -> Result<()> {
        let request = sandboxes::StoreDeleteRequest { sandbox_id: id.to_owned() };
        gone_is_fine(self.parts.node.sandboxes().delete(call(request, QUICK)).await)
            .map_err(refused("delete record of sandbox"))
    }

    /// What the pod is to use from now on: kept for who asks, as nothing of the pod's own process follows from it.
    pub(super) async fn note_resources(&self, id: &str, updated: &Value) -> Result<()> {
        let value = updated.to_string().into_bytes();
        let any = Any { type_url: UPDATED_TYPE.to_owned(), value };
        let sandbox = types::Sandbox {
            sandbox_id: id.to_owned(),
            extensions: [(UPDATED.to_owned(), any)].into(),
            ..Default::default()
        };
        let fields = vec![format!("extensions.{UPDATED}")];
        let request = call(sandboxes::StoreUpdateRequest { sandbox: Some(sandbox), fields }, QUICK);
        let noted = self.parts.node.sandboxes().update(request).await;
        noted.map(drop).map_err(refused("update record of sandbox"))
    }

    /// The specification of the pod's own process.
    pub(super) fn spec(
        &self,
        metadata: &OfPod,
        handler: &str,
        userns: Option<PathBuf>,
    ) -> Result<Spec> {
        let (id, config) = (&metadata.id, metadata.config()?);
        let folders = self.parts.folders.pod(id);
        let none = || Error::Refused(format!("no runtime for {handler:?} is configured"));
        let facts = spec::PodFacts {
            id,
            image: &self.spec.image,
            image_name: "",
            root: self.parts.folders.init(),
            netns: Some(metadata.netns_path.clone().into())
                .filter(|_| !metadata.netns_path.is_empty()),
            userns,
            shm: folders.state.join("shm"),
            resolv_conf: folders.root.join("resolv.conf"),
            selinux: None,
            handler: self.spec.handlers.get(handler).ok_or_else(none)?,
            settings: &self.spec.settings,
            node: &self.spec.node,
        };
        let none = |error: berth_runtime_spec::Error| Error::Refused(berth_errors::chain(&error));
        let root = RootView::of_layers([self.parts.folders.init()]).map_err(none)?;
        Ok(spec::pod(&config, &facts, &root)?)
    }

    /// The record of the pod's own process, as of a container. Answers when it was made.
    pub(super) async fn make_record(
        &self,
        metadata: &OfPod,
        handler: &Handler,
        spec: &Spec,
    ) -> Result<i64> {
        let config = metadata.config()?;
        let mut labels = config.labels;
        labels.insert(spec::KIND_LABEL.to_owned(), spec::Kind::Sandbox.as_str().to_owned());
        let container = containers::Container {
            id: metadata.id.clone(),
            labels,
            runtime: Some(containers::container::Runtime {
                name: handler.runtime_type.clone(),
                options: handlers::options(handler),
            }),
            spec: Some(packed(spec)),
            extensions: [(OfPod::EXTENSION.to_owned(), pack(metadata))].into(),
            ..Default::default()
        };
        let request =
            call(containers::CreateContainerRequest { container: Some(container) }, QUICK);
        let made = self.parts.node.containers().create(request).await;
        let made = made.map_err(refused("create record of pod"))?.into_inner().container;
        Ok(time::of_record(made.unwrap_or_default().created_at.as_ref()))
    }

    pub(super) async fn delete_record(&self, id: &str) -> Result<()> {
        let request = containers::DeleteContainerRequest { id: id.to_owned() };
        gone_is_fine(self.parts.node.containers().delete(call(request, QUICK)).await)
            .map_err(refused("delete record of pod"))
    }

    /// Starts the pod's own process. Answers its number.
    pub(super) async fn start(&self, id: &str) -> Result<u32> {
        let request =
            tasks::CreateTaskRequest { container_id: id.to_owned(), ..Default::default() };
        let made = self.parts.node.tasks().create(call(request, WORK)).await;
        let pid = made.map_err(refused("create process of pod"))?.into_inner().pid;
        let request = tasks::StartRequest { container_id: id.to_owned(), ..Default::default() };
        let started = self.parts.node.tasks().start(call(request, WORK)).await;
        let started = started.map_err(refused("start process of pod"))?.into_inner().pid;
        Ok(if started == 0 { pid } else { started })
    }

    /// Ends the pod's own process, and takes what is left of it away.
    pub(super) async fn end(&self, id: &str) -> Result<()> {
        let mut tasks = self.parts.node.tasks();
        let request = tasks::KillRequest {
            container_id: id.to_owned(),
            signal: KILL,
            all: true,
            ..Default::default()
        };
        gone_is_fine(tasks.kill(call(request, WORK)).await)
            .map_err(refused("kill process of pod"))?;
        let request = tasks::WaitRequest { container_id: id.to_owned(), ..Default::default() };
        gone_is_fine(tasks.wait(call(request, GONE)).await)
            .map_err(refused("wait for process of pod"))?;
        let request = tasks::DeleteTaskRequest { container_id: id.to_owned() };
        gone_is_fine(tasks.delete(call(request, WORK)).await)
            .map_err(refused("delete process of pod"))
    }
}

/// A specification, as records keep it.
pub(crate) fn packed(spec: &Spec) -> Any {
    // Text, numbers and lists: nothing that JSON has not.
    let value = serde_json::to_vec(spec).unwrap_or_default();
    Any { type_url: SPEC_TYPE_URL.to_owned(), value }
}
