//! Folders that could not be removed: the next removal that succeeds tries them again.
//!
//! Without that they would lie there until the next start, though what was in the way (no file
//! descriptors, say) is long gone. A name that has been given away meanwhile is left alone: whoever
//! got it has cleared its folder.

use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_ids::Namespace;

use crate::bundle::Bundle;
use crate::error::Result;
use crate::register::Register;
use crate::work::in_folder;

/// Folders of what is gone, by its name.
#[derive(Default)]
pub(crate) struct Leftovers(Mutex<Vec<(Namespace, String, Bundle)>>);

impl Leftovers {
    /// Removes a folder, and then those that could not be removed before.
    pub(crate) async fn remove<T>(
        &self,
        names: &Register<T>,
        (ns, id): (&Namespace, &str),
        bundle: &Bundle,
    ) -> Result<()> {
        let folder = bundle.clone();
        let removed = in_folder("remove-folder", move || folder.remove()).await;
        match &removed {
            Ok(()) => self.try_again(names).await,
            Err(_) => self.list().push((ns.clone(), id.to_owned(), bundle.clone())),
        }
        removed
    }

    async fn try_again<T>(&self, names: &Register<T>) {
        let left = std::mem::take(&mut *self.list());
        for (ns, id, bundle) in left {
            let folder = bundle.clone();
            let gone = match names.begin(&ns, &id) {
                Some(_held) => in_folder("remove-left", move || folder.remove()).await.is_ok(),
                None => false,
            };
            if !gone {
                self.list().push((ns, id, bundle));
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<(Namespace, String, Bundle)>> {
        // Changed by single calls: a panic cannot have torn it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_could_not_be_removed_goes_with_the_next_unless_its_name_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (left, names) = (Leftovers::default(), Register::<()>::default());
        let ns: Namespace = "ns".parse().unwrap();
        let bundle = |id: &str| {
            let bundle = Bundle::at(folder.path(), "ns", id);
            fs_err::create_dir_all(bundle.path()).unwrap();
            bundle
        };
        let (first, second) = (bundle("first"), bundle("second"));
        // In the way of the removal.
        let hidden = folder.path().join("ns/.first");
        fs_err::write(&hidden, "").unwrap();
        left.remove(&names, (&ns, "first"), &first).await.unwrap_err();
        fs_err::remove_file(&hidden).unwrap();

        let taken = names.begin(&ns, "first").unwrap();
        left.remove(&names, (&ns, "second"), &second).await.unwrap();
        assert!(first.path().exists() && !second.path().exists());
        drop(taken);
        left.remove(&names, (&ns, "third"), &bundle("third")).await.unwrap();
        assert!(!first.path().exists());
        assert!(names.begin(&ns, "first").is_some());
    }
}
