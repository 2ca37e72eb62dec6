//! The steps by which a pod comes to be, and by which it goes; each may be repeated.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use berth_config::Handler;
use berth_cri_spec as spec;
use berth_runtime_spec::Spec;
use serde_json::Value;

use super::program::Program;
use super::{Parts, Shared};
use crate::peers::containers::{self, Record};
use crate::peers::snapshots::RootMount;
use crate::peers::tasks::{self, Whose};
use crate::peers::{Packed, sandboxes};
use crate::records::metadata::{Metadata, OfPod, pack};
use crate::{Error, Result, handlers};

/// The extension with what the pod was told to use after it was made, and its type.
pub(super) const UPDATED: &str = "updated-resources";
const UPDATED_TYPE: &str = "io.containerd.cri.v1/UpdatedResources";
/// How long a pod's process may take to be gone that was killed.
const GONE: Duration = Duration::from_secs(30);

/// What specifications are made of beside a pod's configuration.
pub(super) struct SpecParts {
    pub settings: spec::Settings,
    pub handlers: HashMap<String, spec::Handler>,
    pub node: spec::Node,
}

impl SpecParts {
    pub(super) fn of(parts: &Parts) -> Self {
        let handler =
            |(name, handler): (&String, &Handler)| (name.clone(), handlers::facts(handler));
        Self {
            settings: handlers::settings(&parts.cri),
            handlers: parts.cri.runtimes.iter().map(handler).collect(),
            node: spec::Node::look(),
        }
    }
}

impl Shared {
    pub(super) async fn make_sandbox(&self, metadata: &OfPod, handler: &Handler) -> Result<()> {
        let runtime = (handler.runtime_type.clone(), handlers::options(handler));
        let named = (&*metadata.id, &*metadata.name);
        sandboxes::create(&self.parts.node, named, runtime, pack(metadata)).await
    }

    /// What the pod is to use from now on: kept for who asks, as nothing of the pod's own process follows from it.
    pub(super) async fn note_resources(&self, id: &str, updated: &Value) -> Result<()> {
        let value = updated.to_string().into_bytes();
        let held = Packed { kind: UPDATED_TYPE.to_owned(), value };
        sandboxes::put(&self.parts.node, id, UPDATED, held).await
    }

    /// The specification of the pod's own process.
    pub(super) fn spec(
        &self,
        metadata: &OfPod,
        handler: &str,
        program: &Program,
        userns: Option<PathBuf>,
    ) -> Result<Spec> {
        let (id, config) = (&metadata.id, metadata.config()?);
        let folders = self.parts.folders.pod(id);
        let none = || Error::Refused(format!("no runtime for {handler:?} is configured"));
        let facts = spec::PodFacts {
            id,
            image: &program.image,
            image_name: &program.name,
            root: program.folder.clone(),
            netns: Some(metadata.netns_path.clone().into())
                .filter(|_| !metadata.netns_path.is_empty()),
            userns,
            shm: folders.state.join("shm"),
            resolv_conf: folders.root.join("resolv.conf"),
            selinux: self.parts.selinux.base(&metadata.process_label),
            handler: self.spec.handlers.get(handler).ok_or_else(none)?,
            settings: &self.spec.settings,
            node: &self.spec.node,
        };
        Ok(spec::pod(&config, &facts, &program.view)?)
    }

    /// The record of the pod's own process, as of a container. Answers when it was made.
    pub(super) async fn make_record(
        &self,
        metadata: &OfPod,
        handler: &Handler,
        program: &Program,
        spec: &Spec,
    ) -> Result<i64> {
        let asked = metadata.config()?.labels;
        let labels = spec::container_labels(&program.image.labels, &asked, spec::Kind::Sandbox);
        let (snapshotter, snapshot_key) = match program.mounts.is_empty() {
            true => <_>::default(),
            false => (program.snapshotter.clone(), metadata.id.clone()),
        };
        let record = Record {
            id: metadata.id.clone(),
            labels: labels.into_iter().collect(),
            image: program.name.clone(),
            snapshotter,
            snapshot_key,
            runtime: (handler.runtime_type.clone(), handlers::options(handler)),
            spec: Packed::spec(spec),
            extensions: [(OfPod::EXTENSION.to_owned(), pack(metadata))].into(),
            ..Record::default()
        };
        containers::create(&self.parts.node, record).await
    }

    /// Starts the pod's own process. Answers its number.
    pub(super) async fn start(&self, id: &str, root: Vec<RootMount>) -> Result<u32> {
        let new = tasks::New { id: id.to_owned(), root, ..tasks::New::default() };
        tasks::run(&self.parts.node, new).await
    }

    /// Ends the pod's own process, and takes what is left of it away.
    pub(super) async fn end(&self, id: &str) -> Result<()> {
        tasks::end(&self.parts.node, &Whose::own(id), GONE).await
    }
}
