//! What a pod's own process runs: a program that berth brings, or an image's for who wants one (`sandbox_image`).

use std::path::PathBuf;

use berth_runtime_spec::{ImageConfig, RootView};

use super::Shared;
use crate::folders::INIT_NAME;
use crate::images::credentials::Credentials;
use crate::images::{Pull, Resolved};
use crate::peers::snapshots::{self, RootMount};
use crate::users::Users;
use crate::{Error, Result, roots};

/// A program, and where it is.
pub(super) struct Program {
    /// How it is run.
    pub image: ImageConfig,
    /// The image's name; empty for our own.
    pub name: String,
    /// The root file system, as a specification names it.
    pub folder: PathBuf,
    /// The same, to be looked into.
    pub view: RootView,
    /// What has made the root file system; empty where it is a folder that is there.
    pub snapshotter: String,
    /// What it is mounted from; empty where it is such a folder.
    pub mounts: Vec<RootMount>,
}

impl Shared {
    /// The program of a new pod, with a root file system where it is an image's.
    pub(super) async fn program(
        &self,
        id: &str,
        handler: &str,
        users: Option<Users>,
    ) -> Result<Program> {
        match &*self.parts.cri.sandbox_image {
            "" => self.own_program(),
            image => {
                let step = format!("failed to get sandbox image {image:?}");
                self.program_of(image, id, handler, users).await.map_err(Error::within(step))
            }
        }
    }

    fn own_program(&self) -> Result<Program> {
        let folder = self.parts.folders.init();
        let unread = |error: berth_runtime_spec::Error| Error::Refused(berth_errors::chain(&error));
        let view = RootView::of_layers([folder.clone()]).map_err(unread)?;
        let entrypoint = vec![format!("/{INIT_NAME}")];
        let image = ImageConfig { entrypoint, ..ImageConfig::default() };
        let (name, snapshotter) = <_>::default();
        Ok(Program { image, name, folder, view, snapshotter, mounts: Vec::new() })
    }

    async fn program_of(
        &self,
        image: &str,
        id: &str,
        handler: &str,
        users: Option<Users>,
    ) -> Result<Program> {
        let image = self.present(image, handler).await?;
        let snapshotter = self.parts.cri.snapshotter_of(handler);
        let parent = self.parts.images.ensure_unpacked(&image, snapshotter).await?;
        let labels = users.map(|users| users.labels()).unwrap_or_default();
        // Its lease keeps it until the record of the process does.
        let made = snapshots::prepare(&self.parts.node, (snapshotter, id), parent, labels, id);
        let mounts = made.await?;
        let view = roots::look(&mounts)?;
        let Resolved { name, config, .. } = image;
        let (folder, snapshotter) = (PathBuf::from("rootfs"), snapshotter.to_owned());
        Ok(Program { image: config, name, folder, view, snapshotter, mounts })
    }

    /// The image, pulled as nobody in particular if it is not here.
    async fn present(&self, name: &str, handler: &str) -> Result<Resolved> {
        let images = &self.parts.images;
        if let Some(image) = images.resolve(name).await? {
            return Ok(image);
        }
        let (image, handler) = (name.to_owned(), handler.to_owned());
        let pull = Pull { image, credentials: Credentials::default(), handler };
        let step = format!("failed to pull image {name:?}");
        images.pull(pull).await.map_err(Error::within(step))?;
        let gone = || Error::NotFound("it was removed right after it was pulled".to_owned());
        images.resolve(name).await?.ok_or_else(gone)
    }

    /// Takes away what it was mounted from. Where images are not used any more what earlier pods had of them is collected.
    pub(super) async fn remove_root(&self, id: &str) -> Result<()> {
        if self.parts.cri.sandbox_image.is_empty() {
            return Ok(());
        }
        snapshots::remove(&self.parts.node, &self.parts.cri.snapshotters(), id).await
    }
}
