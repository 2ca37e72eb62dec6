//! Another name for an image.

use super::names;
use super::{Caller, ImageStore, Result, Transfers};

impl Transfers {
    /// Gives the image `from` the names of `to`.
    ///
    /// # Errors
    /// Any of [`super::Error`].
    pub async fn tag(&self, caller: &Caller, from: &ImageStore, to: &ImageStore) -> Result<()> {
        self.leased(caller, |store| async move {
            let target = store.image(&from.name)?;
            for (name, labels) in names::of_target(to, &target)? {
                store.save_image(&name, &target, labels).await?;
                caller.progress.image("saved", &name, &target);
            }
            Ok(())
        })
        .await
    }
}
