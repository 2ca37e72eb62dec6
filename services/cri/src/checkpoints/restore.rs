//! A pod made again of its files: its containers are made as others are, and each goes on where it was when it is
//! started.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_lifecycle::blocking;
use berth_proto::runtime::v1::{ContainerConfig, ContainerState, PodSandboxConfig};
use tokio::fs::File;

use super::{Checkpoints, Parts, Shared, archive, layout, no_options, whole};
use crate::joins::Begun;
use crate::peers::{content, layers, leases};
use crate::pods::Pod;
use crate::{Error, Result, folders, ids, teardown};

/// The most that is read of what a pod's files say.
const LONGEST: u64 = 4 << 20;

/// A pod that was made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its number.
    pub pod: String,
    /// Its containers: names in the pod, and numbers.
    pub containers: Vec<(String, String)>,
}

/// What a pod is made again of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    config: PodSandboxConfig,
    handler: String,
    /// Archives, and what the containers of them are to be.
    chosen: Vec<(PathBuf, ContainerConfig)>,
}

impl Checkpoints {
    /// Makes a pod again with its containers. The configurations are those of a new pod and of each container in its
    /// files, by name. Asked again in the same words it answers the same, also while it is being made, until one of
    /// its containers is started.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options, of which there are none, for a container without a configuration, or one too
    /// many; [`Error::File`], [`Error::Unreadable`] for its files; [`Error::Refused`] for a pod that is there and is
    /// not as this makes it, which stays; those of making pods and containers. Nothing of it is left then.
    pub async fn restore(
        &self,
        folder: &str,
        config: PodSandboxConfig,
        handler: String,
        options: HashMap<String, String>,
        containers: Vec<ContainerConfig>,
    ) -> Result<Restored> {
        let step = format!("failed to restore pod from {folder:?}");
        let run = async {
            no_options(&options)?;
            let folder = whole(folder, "checkpoint path")?;
            let read = folder.clone();
            let files = blocking("checkpoint-pod", move || read_pod(&read)).await??;
            let chosen = chosen(&folder, &files, containers)?;
            let name = berth_cri_spec::pod_name(&config)?;
            let asked = Asked { config, handler, chosen };
            let (this, work) = (self.clone(), asked.clone());
            let work = async move { this.make(work).await };
            let Shared { parts, restores } = &*self.0;
            restores.join(&parts.jobs, &name, asked, || Ok(Begun::Work(work))).await
        };
        run.await.map_err(Error::within(step))
    }

    async fn make(&self, asked: Asked) -> Result<Restored> {
        let Parts { pods, containers, .. } = &self.0.parts;
        if let Some(pod) = pods.named(&berth_cri_spec::pod_name(&asked.config)?) {
            return self.made_before(&pod, asked).await;
        }
        let Asked { config, handler, chosen } = asked;
        let pod = pods.run_new(config.clone(), handler).await?;
        let mut restored = Restored { pod, containers: Vec::new() };
        for (archive, one) in chosen {
            let name = layout::name(&one);
            let made = async {
                let id = containers.create(&restored.pod, Some(one), Some(config.clone())).await?;
                self.fill(&id, archive).await?;
                Ok(id)
            };
            match made.await {
                Ok(id) => restored.containers.push((name, id)),
                Err(error) => {
                    let step = format!("container {name:?}");
                    let undone = teardown::remove(pods, containers, &restored.pod).await;
                    if let Err(error) = undone {
                        let (id, error) = (&restored.pod, berth_errors::chain(&error));
                        tracing::warn!(id, error, "undo a pod that was not restored");
                    }
                    return Err(Error::within(step)(error));
                }
            }
        }
        Ok(restored)
    }

    /// A pod that is there, if it is as it is asked for now: each container was given these files, and is new still.
    async fn made_before(&self, pod: &Pod, asked: Asked) -> Result<Restored> {
        let Parts { containers, folders, .. } = &self.0.parts;
        let refuse =
            |why: String| Err(Error::Refused(format!("pod {:?} is there already: {why}", pod.id)));
        let Asked { config, handler, chosen } = asked;
        if !pod.is_usable() || pod.config != config || pod.handler != handler {
            return refuse("it is not ready, or of another configuration".to_owned());
        }
        let mut there = containers.of_pod(&pod.id);
        let mut restored = Restored { pod: pod.id.clone(), containers: Vec::new() };
        for (archive, config) in chosen {
            let name = layout::name(&config);
            let Some(at) = there.iter().position(|one| one.config == config) else {
                return refuse(format!("it has no such container {name:?}"));
            };
            let found = there.swap_remove(at);
            let (id, state) = (found.id().to_owned(), found.standing().state());
            if state != ContainerState::ContainerCreated {
                return refuse(format!("container {name:?} is in {} state", state.as_str_name()));
            }
            let (saved, mark) = (folders.saved(&id), folders.restored(&id));
            let is_of = move || {
                let of = fs_err::read(mark).unwrap_or_default();
                saved.is_dir() && of == archive.as_os_str().as_bytes()
            };
            if !blocking("checkpoint-archive", is_of).await? {
                return refuse(format!("container {name:?} was not restored from here"));
            }
            restored.containers.push((name, id));
        }
        match there.first() {
            Some(other) => refuse(format!("it has another container {:?}", other.id())),
            None => Ok(restored),
        }
    }

    /// Gives a new container the files of another, and the memory that it goes on with.
    async fn fill(&self, id: &str, archive: PathBuf) -> Result<()> {
        let Parts { folders, containers, .. } = &self.0.parts;
        let _alone = containers.turn(id).await;
        let (mark, of) = (folders.restored(id), archive.clone());
        let unpacked = folders.container(id).join(format!("restore-{}", ids::new()?));
        let into = unpacked.clone();
        let filled = async {
            blocking("checkpoint-archive", move || archive::unpack(&archive, &into)).await??;
            self.put_layer(id, unpacked.join(layout::LAYER)).await?;
            let (from, to) = (unpacked.join(layout::IMAGE), folders.saved(id));
            let name = move || {
                folders::remove(&to)?;
                berth_durable::replace(&mark, of.as_os_str().as_bytes(), 0o600)
                    .map_err(Error::file("write", &mark))?;
                fs_err::rename(&from, &to).map_err(Error::file("name", &to))?;
                let above = to.parent().unwrap_or(&to);
                berth_durable::sync_folder(above).map_err(Error::file("flush", above))
            };
            blocking("checkpoint-archive", name).await?
        };
        let filled = filled.await;
        let removed = blocking("checkpoint-archive", move || folders::remove(&unpacked)).await?;
        filled.and(removed)
    }

    async fn put_layer(&self, id: &str, layer: PathBuf) -> Result<()> {
        if !layer.exists() {
            return Ok(());
        }
        let Parts { node, containers, .. } = &self.0.parts;
        let container = containers.find(id)?;
        let path = layer.clone();
        let is_packed = blocking("checkpoint-layer", move || archive::is_packed(&path)).await??;
        let file = File::open(&layer).await.map_err(Error::file("open", &layer))?;
        let lease = leases::create_short(node).await?;
        let put = async {
            let blob = content::write(node, file, &lease).await?;
            layers::put(node, (&container.snapshotter, id), &lease, (blob, is_packed)).await
        };
        let put = put.await;
        leases::delete(node, &lease).await?;
        put
    }
}

fn read_pod(folder: &Path) -> Result<layout::OfPod> {
    let path = folder.join(layout::POD);
    let file = archive::open(&path)?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(Error::file("read", &path))?;
    layout::read_pod(&text)
}

/// Each container of a pod's files: its archive, and the configuration that it is to have.
fn chosen(
    folder: &Path,
    files: &layout::OfPod,
    configs: Vec<ContainerConfig>,
) -> Result<Vec<(PathBuf, ContainerConfig)>> {
    let mut configs: HashMap<_, _> =
        configs.into_iter().map(|config| (layout::name(&config), config)).collect();
    let mut chosen = Vec::new();
    for layout::OfContainer { name, archive, .. } in &files.containers {
        let none = || Error::Invalid(format!("no configuration of container {name:?}"));
        if Path::new(archive).file_name().is_none_or(|file| file != &**archive) {
            return Err(Error::Invalid(format!("archive {archive:?} of container {name:?}")));
        }
        chosen.push((folder.join(archive), configs.remove(name).ok_or_else(none)?));
    }
    match configs.keys().next() {
        Some(name) => Err(Error::Invalid(format!("container {name:?} is not in the checkpoint"))),
        None => Ok(chosen),
    }
}
