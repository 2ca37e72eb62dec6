//! Root file systems of which another service has to make a part, before a shim mounts the rest.

use std::path::Path;

use berth_ids::Namespace;

use super::{Create, Tasks};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::gate::Activated;

/// In the folder of a task whose root file system was activated.
const ACTIVATED: &str = "berth-activated";
/// What every shim mounts by itself, and nobody needs to be asked about.
const PLAIN: [&str; 4] = ["bind", "rbind", "overlay", "tmpfs"];

impl Tasks {
    /// Has the mounts activated that are not the shim's to make; answers what it is to mount, or
    /// nothing if that is all as it is.
    pub(super) async fn activate(
        &self,
        ns: &Namespace,
        create: &Create,
        program: &Path,
    ) -> Result<Option<Activated>> {
        let Create { id, rootfs, .. } = create;
        if rootfs.iter().all(|mount| PLAIN.contains(&mount.kind.as_str())) {
            return Ok(None);
        }
        let allowed = match program.as_os_str().is_empty() {
            true => Vec::new(),
            false => self.0.parts.starter.own_mounts(program).await?,
        };
        if rootfs.iter().all(|mount| is_shims(&mount.kind, &allowed)) {
            return Ok(None);
        }
        self.0.parts.neighbours.activate(ns, id, rootfs).await
    }

    /// Undoes an activation. Where that fails it goes with its container.
    pub(super) async fn deactivate(&self, ns: &Namespace, id: &str) {
        if let Err(error) = self.0.parts.neighbours.deactivate(ns, id).await
            && !error.is_not_found()
        {
            let error = berth_errors::chain(&error);
            tracing::warn!(namespace = %ns, id, error, "deactivate mounts of task");
        }
    }
}

/// Notes that a task's root file system was activated.
pub(super) fn note(bundle: &Bundle) -> Result<()> {
    bundle.write(ACTIVATED, b"")
}

/// Whether a task's root file system was activated.
pub(super) fn noted(bundle: &Bundle) -> bool {
    bundle.read(ACTIVATED).is_some()
}

/// Whether a shim makes mounts of this type: `allowed` is what it says of itself, types or `NAME/*`
/// for what is done before a mount.
fn is_shims(kind: &str, allowed: &[String]) -> bool {
    let allows = |allowed: &String| match allowed.strip_suffix('*') {
        Some(prefix) => prefix.ends_with('/') && kind.starts_with(prefix),
        None => kind == allowed,
    };
    PLAIN.contains(&kind) || allowed.iter().any(allows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_says_what_it_mounts_by_itself() {
        let allowed = ["erofs", "format/*"].map(str::to_owned);
        for (kind, own) in [
            ("overlay", true),
            ("erofs", true),
            ("format/overlay", true),
            ("format/mkdir/overlay", true),
            ("mkdir/overlay", false),
            ("loop", false),
            ("ext4", false),
        ] {
            assert_eq!(is_shims(kind, &allowed), own, "{kind}");
        }
        assert!(!is_shims("format/overlay", &["*".to_owned(), "format".to_owned()]));
    }
}
