//! Creating a container: its root file system, its specification, its record. Whoever asks again for one that is being
//! made waits for that one.

use std::sync::Arc;

use berth_cri_spec as spec;
use berth_lifecycle::blocking;
use berth_proto::runtime::v1::{
    ContainerConfig, ContainerState, Mount, NamespaceMode, PodSandboxConfig,
};
use berth_runtime_spec::Spec;

use super::{Container, Containers, Shared, Standing};
use crate::events::Kind;
use crate::folders::remove;
use crate::images::Resolved;
use crate::joins::Begun;
use crate::peers::Packed;
use crate::peers::containers::{self, Record};
use crate::pods::Pod;
use crate::records::golang;
use crate::records::metadata::{Metadata, OfContainer, pack};
use crate::records::status::Status;
use crate::users::Users;
use crate::{Error, Result, handlers, ids, roots, time};

/// What a container is made of, once it is known.
struct Draft {
    pod: Arc<Pod>,
    pod_config: PodSandboxConfig,
    config: ContainerConfig,
    image: Resolved,
    metadata: OfContainer,
    /// Where mounts of images are of what is mounted.
    mounted: ContainerConfig,
    /// Folders for the image's volumes.
    volumes: Vec<Mount>,
    /// What the root file system is made by.
    snapshotter: String,
}

impl Containers {
    /// Makes a container in a pod, and answers its number. Asked again in the same words it answers the same, also
    /// while the container is being made; whoever leaves does not keep it from being made.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the pod or the image; [`Error::Refused`] for a pod that is not ready, and a name that
    /// another has; [`Error::Spec`] for what cannot be; [`Error::Peer`]. Nothing of it is left then.
    pub async fn create(
        &self,
        pod: &str,
        config: Option<ContainerConfig>,
        pod_config: Option<PodSandboxConfig>,
    ) -> Result<String> {
        let step = format!("failed to find sandbox id {pod:?}");
        let pod = self.0.parts.pods.find(pod).map_err(Error::within(step))?;
        pod.expect_usable()?;
        let (config, pod_config) = (config.unwrap_or_default(), pod_config.unwrap_or_default());
        let name = spec::container_name(&config, &pod_config)?;
        let asked = (pod.id.clone(), config.clone(), pod_config.clone());
        let begin = || self.begin(&name, pod, config, pod_config);
        self.0.runs.join(&self.0.parts.jobs, &name, asked, begin).await
    }

    fn begin(
        &self,
        name: &str,
        pod: Arc<Pod>,
        config: ContainerConfig,
        pod_config: PodSandboxConfig,
    ) -> Result<Begun<impl Future<Output = Result<String>> + Send + use<>>> {
        if let Some(id) = self.0.names.holder(name) {
            let there = self.0.there().get(&id).cloned();
            let is_same = |there: &Arc<Container>| {
                let is_new = there.standing().state() == ContainerState::ContainerCreated;
                is_new && there.metadata.sandbox_id == pod.id && there.config == config
            };
            if there.as_ref().is_some_and(is_same) {
                return Ok(Begun::Done(id));
            }
        }
        let id = ids::new()?;
        let step = format!("failed to reserve container name {name:?}");
        self.0.names.reserve(name, &id).map_err(Error::within(step))?;
        let (this, name) = (self.clone(), name.to_owned());
        Ok(Begun::Work(async move {
            let made = this.0.make(&id, name, pod, config, pod_config).await;
            // A name whose container could not be undone stays taken: two records would have it.
            if made.is_err() && this.0.undo(&id).await {
                this.0.names.release(&id);
            }
            made.map(|()| id)
        }))
    }
}

impl Shared {
    async fn make(
        &self,
        id: &str,
        name: String,
        pod: Arc<Pod>,
        config: ContainerConfig,
        pod_config: PodSandboxConfig,
    ) -> Result<()> {
        let asked = config.image.clone().unwrap_or_default().image;
        let none = || Error::NotFound(format!("failed to resolve image {asked:?}"));
        let image = self.parts.images.resolve(&asked).await?.ok_or_else(none)?;
        let log_path = spec::log_path(&pod_config, &config);
        let asked_signal = spec::stop_signal(config.stop_signal)?;
        let metadata = OfContainer {
            id: id.to_owned(),
            name,
            sandbox_id: pod.id.clone(),
            config: golang::to_json(&config),
            image_ref: image.id.clone(),
            image_digest: image.target.clone(),
            image_name: image.name.clone(),
            log_path: log_path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            stop_signal: asked_signal.unwrap_or_else(|| image.config.stop_signal.clone()),
            process_label: self.process_label(id, &pod, &config)?,
        };
        let options = spec::container_options(&config);
        let users = Users::of(options.userns_options.as_ref())?;
        let snapshotter = self.snapshotter_of(&pod)?.to_owned();
        let mounted = self.mount_images(&pod, &config).await?;
        let parent = self.parts.images.ensure_unpacked(&image, &snapshotter).await?;
        let volumes = self.make_volumes(&pod, id, (&image, &parent), &config).await?;
        let draft =
            Draft { pod, pod_config, config, image, metadata, mounted, volumes, snapshotter };
        let mounts = self.make_root((&draft.snapshotter, id), &draft.pod.id, parent, users).await?;
        let root = roots::look(&mounts)?;
        let step = format!("failed to generate container {id:?} spec");
        let spec = self.spec(&draft, root).await.map_err(Error::within(step))?;
        self.apparmor.ensure(&spec).await?;
        // It may have been stopped meanwhile, with the containers that it had then.
        draft.pod.expect_usable()?;
        self.record(&draft, &spec).await?;
        let status = Status { created_at: time::now(), ..Status::default() };
        self.parts.statuses.put(id, status.clone()).await?;
        let Draft { pod, metadata, config, snapshotter, .. } = draft;
        let standing = Standing { status, ..Standing::default() };
        let container = Arc::new(Container::new(metadata, config, snapshotter, standing, &spec));
        self.there().insert(id.to_owned(), container.clone());
        // Whoever has the pod stopped from now on sees it; who began before may not have.
        if let Err(refused) = pod.expect_usable() {
            self.there().remove(id);
            return Err(refused);
        }
        self.tell(&container, Kind::ContainerCreatedEvent);
        Ok(())
    }

    async fn spec(&self, draft: &Draft, root: berth_runtime_spec::RootView) -> Result<Spec> {
        let Draft { pod, pod_config, mounted, image, metadata, volumes, .. } = draft;
        let (name, handler) = handlers::of(&self.parts.cri, &pod.id, &pod.handler, &pod.config)?;
        let can = self.parts.features.of(name).await.unwrap_or_default();
        let base = self.parts.bases.of(handler);
        let handler = spec::Handler {
            base,
            recursive_read_only: can.recursive_read_only_mounts,
            ..handlers::facts(handler)
        };
        let settings = handlers::settings(&self.parts.cri);
        let folders = self.parts.folders.pod(&pod.id);
        let files = spec::PodFiles {
            hostname: folders.root.join("hostname"),
            hosts: folders.root.join("hosts"),
            resolv_conf: folders.root.join("resolv.conf"),
            shm: folders.state.join("shm"),
        };
        let (pod_config, config, image) = (pod_config.clone(), mounted.clone(), image.clone());
        let volumes = volumes.clone();
        let (id, pod_id, pod_pid) = (metadata.id.clone(), pod.id.clone(), pod.standing().pid);
        let target_pid = self.target(&config, &pod.id)?;
        let machine = self.machine.clone();
        let (label, selinux) =
            (pod.process_label.clone(), self.parts.pods.selinux().base(&pod.process_label));
        // It reads files of the machine, and of the image.
        let build = move || {
            let facts = spec::ContainerFacts {
                id: &id,
                pod_id: &pod_id,
                pod_pid,
                target_pid,
                image: &image.config,
                image_name: &image.name,
                files: &files,
                volumes: &volumes,
                selinux,
                pod_label: &label,
                handler: &handler,
                settings: &settings,
                node: &machine,
            };
            let mut made = spec::container(&config, &pod_config, &facts)?;
            spec::finish(&mut made, &config, &facts, &root)?;
            Ok(made)
        };
        blocking("container-spec", build).await?
    }

    /// The process whose pid namespace the container is to be in, where that is another container's.
    pub(super) fn target(&self, config: &ContainerConfig, pod: &str) -> Result<Option<u32>> {
        let options = spec::container_options(config);
        if options.pid() != NamespaceMode::Target {
            return Ok(None);
        }
        let id = &options.target_id;
        let step = format!("invalid target container: container {id:?} does not exist");
        let target = self.find(id).map_err(Error::within(step))?;
        let invalid = |why| Err(Error::Refused(format!("invalid target container: {why}")));
        let (other, standing) = (&target.metadata.sandbox_id, target.standing());
        if other != pod {
            return invalid(format!(
                "container {:?} (sandbox {other}) does not belong to sandbox {pod}",
                target.id()
            ));
        }
        match standing.state() {
            ContainerState::ContainerRunning => Ok(Some(standing.pid)),
            state => invalid(format!(
                "container {:?} is not running - in state {}",
                target.id(),
                state.as_str_name()
            )),
        }
    }

    async fn record(&self, draft: &Draft, spec: &Spec) -> Result<()> {
        let Draft { pod, config, image, metadata, .. } = draft;
        let (_, handler) = handlers::of(&self.parts.cri, &pod.id, &pod.handler, &pod.config)?;
        let labels =
            spec::container_labels(&image.config.labels, &config.labels, spec::Kind::Container);
        let record = Record {
            id: metadata.id.clone(),
            labels: labels.into_iter().collect(),
            image: image.name.clone(),
            runtime: (handler.runtime_type.clone(), handlers::options(handler)),
            spec: Packed::spec(spec),
            snapshotter: draft.snapshotter.clone(),
            snapshot_key: metadata.id.clone(),
            extensions: [(OfContainer::EXTENSION.to_owned(), pack(metadata))].into(),
            sandbox: pod.id.clone(),
            ..Record::default()
        };
        containers::create(&self.parts.node, record).await.map(drop)
    }

    /// Takes away what an attempt has made. What stays is found by the next start, as nobody knows it.
    async fn undo(&self, id: &str) -> bool {
        // Whoever removes the pod may have seen it, and be taking it away.
        let _alone = self.turns.alone(id).await;
        let undone = self.take_away(id).await;
        if let Err(error) = &undone {
            let error = berth_errors::chain(error);
            tracing::warn!(id, error, "undo a container that was not made");
        }
        undone.is_ok()
    }

    /// Takes all of a container away that has no process.
    pub(super) async fn take_away(&self, id: &str) -> Result<()> {
        self.end_process(id).await?;
        containers::delete(&self.parts.node, id).await?;
        self.remove_root(id).await?;
        self.parts.statuses.delete(id).await?;
        let folders = [self.parts.folders.container(id), self.parts.folders.streams(id)];
        let remove = move || folders.iter().try_for_each(|folder| remove(folder));
        blocking("container-files", remove).await?
    }
}
