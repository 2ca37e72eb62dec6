//! Root file systems, looked into without mounting them.

use berth_runtime_spec::RootView;

use crate::peers::snapshots::RootMount;
use crate::{Error, Result};

/// A look into what these mounts would show.
///
/// # Errors
/// [`Error::Refused`] for a kind of mount that cannot be looked into.
pub fn look(mounts: &[RootMount]) -> Result<RootView> {
    let unread = |error: berth_runtime_spec::Error| Error::Refused(berth_errors::chain(&error));
    match mounts.last() {
        Some(mount) if matches!(&*mount.kind, "bind" | "overlay") => {
            RootView::of_mount(&mount.kind, &mount.source, &mount.options).map_err(unread)
        }
        None => RootView::of_layers([]).map_err(unread),
        Some(mount) => {
            let kind = &mount.kind;
            Err(Error::Refused(format!(
                "look into root file system: one of type {kind:?} cannot be looked into, choose another [cri] snapshotter"
            )))
        }
    }
}
