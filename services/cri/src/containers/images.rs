//! What a container is given of images: those that its mounts name, and the volumes that its own declares.

use std::path::PathBuf;
use std::time::Duration;

use berth_cri_spec as spec;
use berth_lifecycle::blocking;
use berth_proto::runtime::v1::{ContainerConfig, IdMapping, Mount};
use berth_tree::{Bounds, copy_folder};

use super::Shared;
use crate::images::Resolved;
use crate::peers::views::{View, hide, show};
use crate::pods::Pod;
use crate::users::Users;
use crate::{Error, Result, folders, ids, views};

/// How many mounts of images a container has.
const MAX_IMAGES: usize = 128;
/// What kubelets know a failure of one by, when its words begin so.
const FAILED: &str = "ImageVolumeMountFailed: failed to mount image volume";
/// How much is copied for one volume. A layer of an image has the same bounds, or lower ones.
const BOUNDS: Bounds =
    Bounds { entries: 4_000_000, bytes: 512 << 30, depth: 512, time: Duration::from_secs(600) };

impl Shared {
    /// The configuration with each mount of an image as one of where it is mounted.
    pub(super) async fn mount_images(
        &self,
        pod: &Pod,
        config: &ContainerConfig,
    ) -> Result<ContainerConfig> {
        let mut config = config.clone();
        let of_images = config.mounts.iter_mut().filter(|mount| mount.image.is_some());
        for (at, mount) in of_images.enumerate() {
            if at >= MAX_IMAGES {
                return Err(Error::TooMany(format!("{FAILED}: more than {MAX_IMAGES} of them")));
            }
            self.mount_image(pod, mount).await.map_err(Error::within(FAILED))?;
        }
        Ok(config)
    }

    async fn mount_image(&self, pod: &Pod, mount: &mut Mount) -> Result<()> {
        let text = mount.image.take().unwrap_or_default().image;
        let place = &mount.container_path;
        let refused = |why: &str| Err(Error::Refused(format!("{why} (containerPath={place:?})")));
        if !mount.host_path.is_empty() {
            return refused("hostpath must be empty while mount image");
        }
        if !mount.readonly {
            return refused("readonly must be true while mount image");
        }
        if text.is_empty() {
            return refused("image not specified");
        }
        let none = || Error::NotFound(format!("failed to resolve image {text:?}"));
        let image = self.parts.images.resolve(&text).await?.ok_or_else(none)?;
        let snapshotter = self.snapshotter_of(pod)?.to_owned();
        let parent = self.parts.images.ensure_unpacked(&image, &snapshotter).await?;
        // Whose files are is said by the view, which the runtime cannot map again.
        let owners = [&mut mount.uid_mappings, &mut mount.gid_mappings];
        let owners = owners.map(|ids| mapped(&std::mem::take(ids)));
        let (name, lease) = (views::of_pod(&pod.id, &image.target), pod.id.clone());
        // What is mounted read-only can't be labelled: it is mounted so.
        mount.selinux_relabel = false;
        let options = self.parts.pods.selinux().shared();
        let view = View { name, snapshotter, parent, lease, owners, options };
        let root = show(&self.parts.node, &view).await?;
        let inside = std::mem::take(&mut mount.image_sub_path);
        let look = move || if inside.is_empty() { Ok(root) } else { views::below(&root, &inside) };
        let found = blocking("image-mount", look).await??;
        mount.host_path = found.to_string_lossy().into_owned();
        Ok(())
    }

    /// Makes a folder for each volume of the image that no mount takes, with what the image has there. They go with
    /// the container's own folder.
    pub(super) async fn make_volumes(
        &self,
        pod: &Pod,
        id: &str,
        (image, parent): (&Resolved, &str),
        config: &ContainerConfig,
    ) -> Result<Vec<Mount>> {
        if self.parts.cri.ignore_image_defined_volumes {
            return Ok(Vec::new());
        }
        let paths = spec::image_volumes(&image.config, config)?;
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let folder = self.parts.folders.container(id).join("volumes");
        let mut volumes = Vec::with_capacity(paths.len());
        for path in paths {
            volumes.push((folder.join(ids::new()?), path));
        }
        // Shown as the pod's users own it, it is copied so, and nobody has to map the copies.
        let users = Users::of(spec::container_options(config).userns_options.as_ref())?;
        let view = View {
            name: views::for_container(&pod.id, id),
            snapshotter: self.snapshotter_of(pod)?.to_owned(),
            parent: parent.to_owned(),
            lease: pod.id.clone(),
            owners: users.map(|users| users.owners()).unwrap_or_default(),
            options: Vec::new(),
        };
        let root = show(&self.parts.node, &view).await?;
        let wanted = volumes.clone();
        let filled = blocking("container-volumes", move || fill(&wanted, &root)).await;
        if let Err(error) = hide(&self.parts.node, &[&*view.snapshotter], &view.name).await {
            let error = berth_errors::chain(&error);
            tracing::warn!(id, error, "a view of an image stays until its pod goes");
        }
        filled??;
        let mount = |(folder, path): (PathBuf, String)| Mount {
            container_path: path,
            host_path: folder.to_string_lossy().into_owned(),
            selinux_relabel: true,
            ..Mount::default()
        };
        Ok(volumes.into_iter().map(mount).collect())
    }
}

/// Makes folders with what a root file system has at these paths. Blocks.
fn fill(volumes: &[(PathBuf, String)], root: &std::path::Path) -> Result<()> {
    for (folder, path) in volumes {
        folders::make(folder, 0o755)?;
        copy_folder(root, path.as_ref(), folder, BOUNDS).map_err(|error| {
            let why = berth_errors::chain(&error);
            Error::Refused(format!("taking runtime copy of volume {path:?}: {why}"))
        })?;
    }
    Ok(())
}

/// Ranges of ids, as labels of snapshots have them.
fn mapped(ids: &[IdMapping]) -> String {
    let range = |ids: &IdMapping| format!("{}:{}:{}", ids.container_id, ids.host_id, ids.length);
    ids.iter().map(range).collect::<Vec<_>>().join(",")
}
