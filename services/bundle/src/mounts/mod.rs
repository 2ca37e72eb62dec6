//! Activated mounts: what a client cannot mount by one call to the kernel is made here, under a
//! name, and the client gets what is left to do.
//!
//! Owns: the records of activations, their directories and what is mounted there. Must not know:
//! any wire type, or what is mounted.
//!
//! Invariants:
//! - A record is there before its first mount is, and goes before its mounts go: what is mounted
//!   without a record is undone at start, and by whoever finds it.
//! - Mounts do not survive a reboot, records do: those whose mounts are gone are dropped at start.
//! - Two calls about one name come one after the other.

mod activate;
mod check;
mod collect;
mod device;
mod format;
mod mkdir;
mod mkfs;
mod plan;
mod records;
mod recover;
mod roots;
mod transient;

pub(crate) use collect::{drop_dead, node_now};
pub use records::{Activation, Active};
pub use transient::Transient;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_ids::Labels;
use berth_lifecycle::{Held, Keyed, Tasks};
use berth_mount::Mount;
use berth_store::failpoint;

use crate::Error;
use crate::snapshots::{Caller, Shared};
use records::{ACTIVATIONS, Record};

/// The kind of activations in the collector's graph.
pub const KIND: &str = "mounts";

/// A request to activate mounts.
#[derive(Clone, Debug)]
pub struct Activating {
    /// In whose name.
    pub caller: Caller,
    /// The activation's name.
    pub name: String,
    /// The mounts, the first first.
    pub mounts: Vec<Mount>,
    /// The activation's labels.
    pub labels: Labels,
    /// Make all mounts here, and leave one bind mount to the client.
    pub temporary: bool,
}

/// The activations of the node.
#[derive(Clone)]
pub struct Activations(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// Where mounts are made: a directory per activation, by number.
    targets: PathBuf,
    /// Below these, directories may be made for mounts.
    roots: Vec<PathBuf>,
    next: AtomicU64,
    /// By namespace and name: held by whoever is at it.
    names: Keyed<(String, String)>,
    tasks: Tasks,
}

impl Activations {
    /// What is known of an activation.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn info(&self, namespace: &str, name: &str) -> Result<Activation, Error> {
        let found = self.0.shared.store.read(|txn| txn.get(&ACTIVATIONS, &(namespace, name)))?;
        let record = found.filter(|record| record.whole).ok_or_else(|| not_found(name))?;
        Ok(record.activation(name.to_owned()))
    }

    /// All activations of a namespace that `wanted` accepts.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(
        &self,
        namespace: &str,
        wanted: impl Fn(&Activation) -> bool,
    ) -> Result<Vec<Activation>, Error> {
        self.0.shared.store.read(|txn| {
            let mut found = Vec::new();
            for row in txn.range(&ACTIVATIONS, (namespace,))? {
                let ((_, name), record) = row?;
                let whole = record.whole;
                let activation = record.activation(name);
                if whole && wanted(&activation) {
                    found.push(activation);
                }
            }
            Ok(found)
        })
    }

    /// Below these, files and directories may be made for mounts.
    #[must_use]
    pub fn roots(&self) -> Vec<PathBuf> {
        self.0.roots.clone()
    }

    /// Waits for others that are at this name.
    async fn lock(&self, namespace: &str, name: &str) -> Held<(String, String)> {
        self.0.names.alone(&(namespace.to_owned(), name.to_owned())).await
    }

    fn next(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    fn target(&self, id: u64) -> PathBuf {
        self.0.targets.join(id.to_string())
    }
}

/// Undoes what is mounted and attached below an activation's directory and removes it.
pub(crate) fn clear(target: &Path) -> Result<(), Error> {
    berth_mount::unmount_beneath(target)?;
    failpoint::file("activation", "unmounted");
    let failed = |source| Error::File { step: "clear", path: target.to_owned(), source };
    let entries = match fs_err::read_dir(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_symlink() {
            device::detach(&entry.path())?;
        } else {
            // Empty directories only, never what a mount that is still there shows.
            fs_err::remove_dir(entry.path()).map_err(failed)?;
        }
    }
    fs_err::remove_dir(target).map_err(failed)?;
    failpoint::file("activation", "cleared");
    Ok(())
}

fn not_found(name: &str) -> Error {
    Error::NotFound { kind: "mount", name: name.to_owned() }
}

impl Record {
    fn activation(self, name: String) -> Activation {
        let active = self.active.into_iter().map(records::ActiveRow::active).collect();
        let system = self.system.into_iter().map(Mount::from).collect();
        Activation { name, active, system, labels: self.labels }
    }
}
