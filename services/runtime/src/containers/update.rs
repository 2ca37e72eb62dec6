//! What an update may change, by containerd's rules.

use crate::error::{Error, Result};
use crate::records::Container;

/// New values and the paths of those that count; no paths: all that may change.
#[derive(Clone, Debug)]
pub struct Update {
    /// The new values. Its id says which container.
    pub new: Container,
    /// The field mask.
    pub paths: Vec<String>,
}

const ALL: [&str; 5] = ["labels", "spec", "extensions", "image", "snapshotkey"];

impl Update {
    /// Makes the change.
    pub(super) fn apply(&self, mut current: Container) -> Result<Container> {
        if !self.paths.is_empty() {
            for path in &self.paths {
                self.apply_path(&mut current, path)?;
            }
            return Ok(current);
        }
        let immutable = |field: &str| Err(Error::Invalid(format!("{field} field is immutable")));
        if current.snapshotter != self.new.snapshotter {
            return immutable("container.Snapshotter");
        }
        if current.runtime.name != self.new.runtime.name {
            return immutable("container.Runtime.Name");
        }
        for path in ALL {
            self.apply_path(&mut current, path)?;
        }
        Ok(current)
    }

    fn apply_path(&self, current: &mut Container, path: &str) -> Result<()> {
        let new = &self.new;
        if let Some(key) = path.strip_prefix("labels.") {
            match new.labels.get(key).filter(|value| !value.is_empty()) {
                Some(value) => current.labels.insert(key.to_owned(), value.clone()),
                None => current.labels.remove(key),
            };
            return Ok(());
        }
        if let Some(key) = path.strip_prefix("extensions.") {
            match new.extensions.get(key) {
                Some(value) => current.extensions.insert(key.to_owned(), value.clone()),
                None => current.extensions.remove(key),
            };
            return Ok(());
        }
        match path {
            "labels" => {
                current.labels.clone_from(&new.labels);
                current.labels.retain(|_, value| !value.is_empty());
            }
            "spec" => current.spec.clone_from(&new.spec),
            "extensions" => current.extensions.clone_from(&new.extensions),
            "image" => current.image.clone_from(&new.image),
            "snapshotkey" => current.snapshot_key.clone_from(&new.snapshot_key),
            _ => {
                let text = format!("cannot update {path:?} field on {:?}", current.id);
                return Err(Error::Invalid(text));
            }
        }
        Ok(())
    }
}
