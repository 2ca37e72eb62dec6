//! A container's parts, in a folder, and of that an archive.

use std::path::{Path, PathBuf};

use berth_lifecycle::blocking;
use tokio::fs::OpenOptions;
use tokio_util::sync::CancellationToken;

use super::{Checkpoints, LONGEST, Parts, archive, layout};
use crate::containers::Container;
use crate::peers::{checkpoints, containers, content, layers, leases};
use crate::{Error, Result};

impl Checkpoints {
    /// Saves a container that stands still.
    pub(super) async fn save(
        &self,
        container: &Container,
        location: &Path,
        left: &CancellationToken,
    ) -> Result<()> {
        let Parts { node, folders, .. } = &self.0.parts;
        let (id, folder) = (container.id(), folders.checkpoints().join(container.id()));
        let image = folder.join(layout::IMAGE);
        checkpoints::write(node, id, (&image, &folder), LONGEST).await?;
        self.save_layer(container, &folder).await?;
        let record = containers::get(node, id).await?;
        let (status, _) = self.0.parts.containers.status(id, false).await?;
        let small = layout::of_container(container, &record, &status);
        let log = PathBuf::from(&container.metadata.log_path);
        let (location, left) = (location.to_owned(), left.clone());
        let mark = folders.archive_mark(id);
        let pack = move || {
            for (name, bytes) in small {
                let path = folder.join(name);
                fs_err::write(&path, bytes).map_err(Error::file("write", &path))?;
            }
            archive::copy_log(&log, &folder.join(layout::LOG))?;
            archive::pack(&folder, &location, &mark, || left.is_cancelled())
        };
        blocking("checkpoint-archive", pack).await?
    }

    /// What was written on top of the container's image.
    async fn save_layer(&self, container: &Container, folder: &Path) -> Result<()> {
        let Parts { node, .. } = &self.0.parts;
        let named = (&*container.snapshotter, container.id());
        let lease = leases::create_short(node).await?;
        let saved = async {
            let blob = layers::make(node, named, &lease).await?;
            let path = folder.join(layout::LAYER);
            let mut options = OpenOptions::new();
            let made = options.write(true).create_new(true).open(&path).await;
            let mut file = made.map_err(Error::file("make", &path))?;
            content::copy(node, &blob.digest, &mut file).await
        };
        let saved = saved.await;
        leases::delete(node, &lease).await?;
        saved
    }
}
