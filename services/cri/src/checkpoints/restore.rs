//! A pod made again of its files: its containers are made as others are, and each goes on where it was when it is
//! started.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use berth_lifecycle::blocking;
use berth_proto::runtime::v1::{ContainerConfig, PodSandboxConfig};
use tokio::fs::File;

use super::{Checkpoints, Parts, archive, layout, no_options, whole};
use crate::peers::{content, layers, leases};
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

impl Checkpoints {
    /// Makes a pod again with its containers. The configurations are those of a new pod and of each container in its
    /// files, by name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options, of which there are none, for a container without a configuration, or one too
    /// many; [`Error::File`], [`Error::Unreadable`] for its files; those of making pods and containers. Nothing of it is
    /// left then.
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
            let chosen = chosen(&files, containers)?;
            let (this, jobs) = (self.clone(), &self.0.jobs);
            let work = async move { this.make(&folder, config, handler, chosen).await };
            jobs.spawn("restore-pod", work).await.map_err(|_| Error::NotReady)?
        };
        run.await.map_err(Error::within(step))
    }

    async fn make(
        &self,
        folder: &Path,
        config: PodSandboxConfig,
        handler: String,
        chosen: Vec<(String, ContainerConfig)>,
    ) -> Result<Restored> {
        let Parts { pods, containers, .. } = &*self.0;
        let pod = pods.run(config.clone(), handler).await?;
        let mut restored = Restored { pod, containers: Vec::new() };
        for (archive, one) in chosen {
            let name = layout::name(&one);
            let made = async {
                let id = containers.create(&restored.pod, Some(one), Some(config.clone())).await?;
                self.fill(&id, folder.join(archive)).await?;
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

    /// Gives a new container the files of another, and the memory that it goes on with.
    async fn fill(&self, id: &str, archive: PathBuf) -> Result<()> {
        let _alone = self.0.containers.turn(id).await;
        let folders = &self.0.folders;
        let unpacked = folders.container(id).join(format!("restore-{}", ids::new()?));
        let into = unpacked.clone();
        let filled = async {
            blocking("checkpoint-archive", move || archive::unpack(&archive, &into)).await??;
            self.put_layer(id, unpacked.join(layout::LAYER)).await?;
            let (from, to) = (unpacked.join(layout::IMAGE), folders.saved(id));
            let name = move || {
                folders::remove(&to)?;
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
        let Parts { node, containers, .. } = &*self.0;
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

/// Each container of a pod's files with its archive and the configuration that it is to have.
fn chosen(
    files: &layout::OfPod,
    configs: Vec<ContainerConfig>,
) -> Result<Vec<(String, ContainerConfig)>> {
    let mut configs: HashMap<_, _> =
        configs.into_iter().map(|config| (layout::name(&config), config)).collect();
    let mut chosen = Vec::new();
    for layout::OfContainer { name, archive, .. } in &files.containers {
        let none = || Error::Invalid(format!("no configuration of container {name:?}"));
        if Path::new(archive).file_name().is_none_or(|file| file != &**archive) {
            return Err(Error::Invalid(format!("archive {archive:?} of container {name:?}")));
        }
        chosen.push((archive.clone(), configs.remove(name).ok_or_else(none)?));
    }
    match configs.keys().next() {
        Some(name) => Err(Error::Invalid(format!("container {name:?} is not in the checkpoint"))),
        None => Ok(chosen),
    }
}
