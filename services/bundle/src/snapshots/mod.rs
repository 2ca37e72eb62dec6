//! Snapshots: directories with a name, a kind and a parent.
//!
//! Owns: the records in the store and the directories that belong to them. Must not know: any
//! wire type, who listens to events, how other services are called.
//!
//! Invariants:
//! - A record's directory is there and whole before the record is; a directory without a record is
//!   nothing and is removed at start.
//! - A committed snapshot's content is durable before its record says that it is committed.
//! - A record with children is not removed: `children` counts them in the same transaction.
//! - A directory's number is not used twice while the process runs.

mod adopt;
mod check;
mod commit;
mod copy;
mod create;
mod driver;
mod holds;
mod mapping;
mod owners;
mod proxied;
mod read;
mod records;
mod recover;
mod remove;
mod staging;
mod undeleted;
mod usage;

pub use driver::{
    Absent, BLOCKFILE, BTRFS, BlockfileSettings, BtrfsSettings, EROFS, ErofsSettings, NATIVE,
    OVERLAYFS, OverlaySettings, folders,
};
pub use holds::Node;
pub(crate) use holds::{back_references, drop_rows, node_now, references};
pub use proxied::{Backend, Proxy, Work};
pub use read::LabelChange;
pub use records::{Info, Kind, LeaseRow, Usage};
pub(crate) use records::{Moment, every_snapshot};
pub(crate) use remove::drop_dead;
pub use staging::StagedLayer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use berth_epochs::{News, Whole};
use berth_ids::{Labels, Namespace};
use berth_lifecycle::{Keyed, Turns};
use berth_store::{Store, Write};
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::gc::{self, Change as Entered, Epochs, NodeKey, Owners};
use crate::namespaces::Fences;
use driver::Driver;
use proxied::Proxied;

/// Names another snapshot that stands for the one about to be prepared.
const REF_LABEL: &str = "containerd.io/snapshot.ref";

/// The number of the first directory.
const FIRST: u64 = 1;

/// What happened to a snapshot, told after it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An active snapshot was made.
    Prepared {
        /// Its key.
        key: String,
        /// Its parent, or empty.
        parent: String,
    },
    /// An active snapshot was committed.
    Committed {
        /// The key that it had.
        key: String,
        /// The name that it has.
        name: String,
    },
    /// A snapshot was removed.
    Removed {
        /// The key that it had.
        key: String,
    },
}

/// Who is told of changes: namespace, snapshotter, change.
pub type Listener = Arc<dyn Fn(&Namespace, &str, Change) + Send + Sync>;

/// In whose name something is done.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The namespace.
    pub namespace: Namespace,
    /// The lease that shall hold what is made, with its incarnation.
    pub lease: Option<(String, u64)>,
}

/// What is configured of snapshotters.
#[derive(Clone, Default)]
pub struct Settings {
    /// Those that are processes of their own.
    pub proxies: Vec<Proxy>,
    /// Where layers are applied to their mounts.
    pub temporary: PathBuf,
    /// Of overlayfs.
    pub overlay: OverlaySettings,
    /// Where native keeps its snapshots, if not below bundle's own folder.
    pub native_root: Option<PathBuf>,
    /// Of btrfs.
    pub btrfs: BtrfsSettings,
    /// Of blockfile.
    pub blockfile: BlockfileSettings,
    /// For layers that are extracted, while this machine works at them alone: a process of others
    /// that hangs would hold up all the others.
    pub turns: Turns,
    /// Of erofs.
    pub erofs: ErofsSettings,
    /// The names of those that are left out. What they keep stays as it is.
    pub left_out: Vec<String>,
}

/// All snapshotters of the node.
#[derive(Clone)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) epochs: Epochs,
    news: News,
    pub(crate) fences: Fences,
    drivers: Vec<Driver>,
    absent: Vec<Absent>,
    default: &'static str,
    listener: Listener,
    owners: Arc<dyn Owners>,
    next_id: AtomicU64,
    staged: Mutex<HashMap<staging::Key, staging::Staged>>,
    proxied: Vec<Proxied>,
    turns: Turns,
    /// Held by whoever commits the snapshot of a number.
    committing: Keyed<u64>,
    /// Held while directories without records are looked for, and by those that make one.
    making: tokio::sync::RwLock<()>,
    /// Directories of snapshots that are gone, until they are deleted.
    deletions: TaskTracker,
    undeleted: undeleted::Undeleted,
    /// They empty the trash of the run before.
    emptying: Vec<std::thread::JoinHandle<()>>,
}

impl Snapshots {
    /// Opens the snapshotters below `root` and clears away what a crash has left there.
    ///
    /// `default` names the snapshotter that is meant when none is named; without it overlayfs is,
    /// where the file system below `root` carries it.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Store`], or [`Error::NotFound`] for an unknown default.
    pub fn open(
        root: &Path,
        store: Store,
        default: Option<&str>,
        listener: Listener,
        owners: Arc<dyn Owners>,
    ) -> Result<Self, Error> {
        Self::open_with(root, store, default, listener, owners, Settings::default())
    }

    /// The same with what is configured.
    ///
    /// # Errors
    /// As [`Snapshots::open`].
    pub fn open_with(
        root: &Path,
        store: Store,
        default: Option<&str>,
        listener: Listener,
        owners: Arc<dyn Owners>,
        settings: Settings,
    ) -> Result<Self, Error> {
        let (mut drivers, mut absent) = Driver::open_all(root, &settings)?;
        let is_left_out = |name: &str| settings.left_out.iter().any(|left_out| left_out == name);
        drivers.retain(|driver| !is_left_out(driver.name()));
        absent.retain(|absent| !is_left_out(absent.name));
        let drivers = recover::present(&store, drivers, &mut absent)?;
        let Settings { proxies, temporary, turns, .. } = settings;
        let proxied: Vec<_> =
            proxies.into_iter().map(|proxy| Proxied::new(proxy, temporary.clone())).collect();
        let proxy = |name: &str| Some(proxied.iter().find(|p| p.name() == name)?.name());
        let default = match default {
            Some(name) => match proxy(name) {
                Some(name) => name,
                None => find(&drivers, name)?.name(),
            },
            None => {
                let proxied = || proxied.first().map_or(driver::OVERLAYFS, Proxied::name);
                drivers.first().map_or_else(proxied, Driver::name)
            }
        };
        let (next_id, emptying) = recover::run(&store, &drivers)?;
        let news = News::default();
        if next_id > FIRST {
            // Until it has been in one, distribution is asked for each snapshot that is relied on.
            news.ask();
        }
        let shared = Shared {
            store,
            epochs: Epochs::default(),
            news,
            fences: Fences::default(),
            drivers,
            absent,
            default,
            listener,
            owners,
            next_id: AtomicU64::new(next_id),
            staged: Mutex::default(),
            proxied,
            turns,
            committing: Keyed::default(),
            making: tokio::sync::RwLock::default(),
            deletions: TaskTracker::new(),
            undeleted: undeleted::Undeleted::default(),
            emptying,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The names of those that keep directories here.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.shared.drivers.iter().map(Driver::name).collect()
    }

    /// Those that do not work on this node.
    #[must_use]
    pub fn absent(&self) -> &[Absent] {
        &self.shared.absent
    }

    /// The name that `name` stands for: itself, or the default if it is empty.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn resolve(&self, name: &str) -> Result<&'static str, Error> {
        if name.is_empty() {
            return Ok(self.shared.default);
        }
        match self.shared.proxied(name) {
            Some(proxied) => Ok(proxied.name()),
            None => self.shared.driver(name).map(Driver::name),
        }
    }

    /// What a snapshotter can do, as containerd calls it.
    ///
    /// # Errors
    /// [`Error::NotLoaded`].
    pub fn capabilities(&self, name: &str) -> Result<Vec<&'static str>, Error> {
        Ok(self.shared.driver(name)?.capabilities())
    }

    /// The snapshotters that are processes of their own.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.shared.proxied.iter().map(|proxied| &proxied.proxy)
    }

    /// Where a snapshotter keeps its directories.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn root(&self, name: &str) -> Result<PathBuf, Error> {
        Ok(self.shared.driver(name)?.root().to_owned())
    }

    /// What other parts of the domain share with snapshots: the store, epochs and fences.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The collector's state.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.shared.epochs
    }

    /// What was changed since it was told last.
    #[must_use]
    pub fn news(&self) -> &News {
        &self.shared.news
    }

    /// Opens an epoch. When this returns, what was not announced in it is recorded or given up.
    pub async fn begin(&self, epoch: u64) {
        self.shared.epochs.open(epoch);
        self.shared.epochs.settle().await;
    }

    /// Closes an epoch. When this returns no sweep of it is under way, and none will be.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn end(&self, epoch: u64) -> Result<(), Error> {
        self.shared.epochs.close(epoch);
        // On the writer's thread, behind every sweep that has found the epoch open.
        self.shared.store.commit("end epoch", |_: &Write| Ok(())).await
    }

    fn tell(&self, namespace: &Namespace, snapshotter: &str, change: Change) {
        (self.shared.listener)(namespace, snapshotter, change);
    }
}

impl Shared {
    /// The snapshotter of this name, if it is a process of its own.
    fn proxied(&self, name: &str) -> Option<&Proxied> {
        self.proxied.iter().find(|proxied| proxied.name() == name)
    }

    fn driver(&self, name: &str) -> Result<&Driver, Error> {
        find(&self.drivers, name)
    }

    /// Enters a change that will refer to what `labels` name.
    pub(crate) async fn enter(&self, namespace: &str, labels: &Labels) -> Result<Entered, Error> {
        self.news.changed();
        let change = self.epochs.enter();
        if !change.is_quiet() {
            for (kind, key) in holds::references(labels) {
                let node = (namespace.to_owned(), kind, key);
                if gc::is_own(&node) {
                    self.rely(node).await?;
                } else {
                    self.owners.pin(node, false).await?;
                }
            }
        }
        Ok(change)
    }

    /// Counts a node as used before the caller relies on it. If a flat lease alone kept it, the owners
    /// of what it refers to are told, who may be about to drop that. A run that has just begun does not
    /// know what such leases keep: the owners may.
    pub(crate) async fn rely(&self, node: NodeKey) -> Result<(), Error> {
        if self.epochs.is_blind() && self.is_there(&node)? {
            return self.owners.pin(node, false).await;
        }
        let whole = self.epochs.touch(node);
        self.rely_on_all(whole).await
    }

    /// Counts nodes as used, of which each that one keeps alive is among them.
    async fn rely_on_all(&self, whole: Whole<NodeKey>) -> Result<(), Error> {
        for node in whole.things().iter().cloned() {
            if gc::is_own(&node) {
                self.epochs.touch(node);
            } else {
                self.owners.pin(node, true).await?;
            }
        }
        whole.told();
        Ok(())
    }

    fn is_there(&self, node: &NodeKey) -> Result<bool, Error> {
        let Some(snapshotter) = node.1.strip_prefix("snapshots/") else {
            // An activation may be.
            return Ok(gc::is_own(node));
        };
        let place = (&*node.0, snapshotter, &*node.2);
        Ok(self.store.read(|txn| txn.get(&records::SNAPSHOTS, &place))?.is_some())
    }

    async fn rely_on(&self, namespace: &str, snapshotter: &str, key: &str) -> Result<(), Error> {
        match key {
            "" => Ok(()),
            key => self.rely((namespace.to_owned(), node_kind(snapshotter), key.to_owned())).await,
        }
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

fn find<'a>(drivers: &'a [Driver], name: &str) -> Result<&'a Driver, Error> {
    let found = drivers.iter().find(|driver| driver.name() == name);
    found.ok_or_else(|| Error::NotLoaded(name.to_owned()))
}

/// The node kind of a snapshotter's snapshots, as the collector and leases call it.
#[must_use]
pub fn node_kind(snapshotter: &str) -> String {
    format!("snapshots/{snapshotter}")
}

/// Runs what blocks away from the tasks.
pub(crate) async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    berth_lifecycle::blocking(name, work).await?
}
