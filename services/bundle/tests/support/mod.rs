//! What these tests share: a node's snapshotters on folders of their own, archives, listings.

#![allow(dead_code, unused_imports, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod archive;
mod tree;

pub use archive::Tar;
pub use berth_testkit::is_root;
pub use tree::{inside, tree};

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use berth_bundle::Error;
use berth_bundle::gc::{NodeKey, Owners};
use berth_bundle::layer::{Applied, Limits};
use berth_bundle::mounts::{Activations, Transient};
use berth_bundle::snapshots::{
    BLOCKFILE, BTRFS, Caller, Change, EROFS, Kind, NATIVE, OVERLAYFS, Settings, Snapshots,
    StagedLayer,
};
use berth_ids::{Labels, Namespace};
use berth_lifecycle::Tasks;
use berth_mount::{Mount, TempMount};
use berth_store::{Options, Store};
use berth_testkit::Disk;
use futures::future::BoxFuture;

/// Keeps what was announced.
#[derive(Default)]
pub struct Pins(pub Mutex<Vec<NodeKey>>);

impl Owners for Pins {
    fn pin(&self, node: NodeKey, _: bool) -> BoxFuture<'_, Result<(), Error>> {
        self.0.lock().unwrap().push(node);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// All snapshotters of this service's own.
pub const ALL: [&str; 5] = [OVERLAYFS, NATIVE, BTRFS, BLOCKFILE, EROFS];

/// Where block files are mounted, below a root.
const MOUNTS: &str = "mounts";

/// Gives a snapshotter what it needs below `root`.
pub fn furnish(name: &str, root: &Path) -> Option<Disk> {
    match name {
        BTRFS => Some(Disk::btrfs(&root.join("btrfs.img"), &root.join(BTRFS)).unwrap()),
        BLOCKFILE => {
            berth_testkit::scratch(&root.join(BLOCKFILE).join("scratch"), 16 << 20).unwrap();
            None
        }
        _ => None,
    }
}

/// What is configured, and no mount left of a process that was killed: the service sees to that.
pub fn settings(root: &Path) -> Settings {
    let temporary = root.join(MOUNTS);
    fs_err::create_dir_all(&temporary).unwrap();
    berth_mount::unmount_beneath(&temporary).unwrap();
    Settings { temporary, ..Settings::default() }
}

/// Folders, and what was told of them.
pub struct Node {
    disk: Option<Disk>,
    pub dir: tempfile::TempDir,
    pub changes: Arc<Mutex<Vec<Change>>>,
    pub pins: Arc<Pins>,
    store: Mutex<Option<Store>>,
}

impl Node {
    pub fn new() -> Self {
        Self::with(OVERLAYFS)
    }

    /// With what a snapshotter needs.
    pub fn with(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = furnish(name, dir.path());
        let (changes, pins, store) = (Arc::default(), Arc::default(), Mutex::default());
        Self { disk, dir, changes, pins, store }
    }

    /// Opens the snapshotters, in place of those that were open.
    pub async fn open(&self) -> Snapshots {
        self.open_at(self.dir.path()).await
    }

    pub async fn open_at(&self, root: &Path) -> Snapshots {
        self.open_with(root, settings(self.dir.path())).await
    }

    pub async fn open_as(&self, settings: Settings) -> Snapshots {
        self.open_with(self.dir.path(), settings).await
    }

    pub async fn open_with(&self, root: &Path, settings: Settings) -> Snapshots {
        let earlier = self.store.lock().unwrap().take();
        if let Some(earlier) = earlier {
            earlier.close().await;
        }
        let store = Store::open(self.dir.path().join("b.redb"), Options::default()).unwrap();
        *self.store.lock().unwrap() = Some(store.clone());
        let changes = Arc::clone(&self.changes);
        let listener = Arc::new(move |_: &berth_ids::Namespace, _: &str, change| {
            changes.lock().unwrap().push(change);
        });
        let owners = self.pins.clone();
        Snapshots::open_with(root, store, None, listener, owners, settings).unwrap()
    }

    pub fn store(&self) -> Store {
        self.store.lock().unwrap().clone().unwrap()
    }

    pub fn mount(&self, mounts: &[Mount]) -> Shown {
        Shown::new(mounts, self.dir.path())
    }
}

/// What mounts show, until it is dropped: those that a client has activated first, too.
pub struct Shown {
    top: TempMount,
    _below: Transient,
}

impl Shown {
    /// Mounts below `folder`, which the snapshotters are in.
    pub fn new(mounts: &[Mount], folder: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let roots = [folder.to_owned()];
        let below = Transient::new(mounts, folder.join(format!("b{n}")), &roots).unwrap();
        let top = TempMount::new(below.left(), folder, &format!("m{n}")).unwrap();
        Self { top, _below: below }
    }

    pub fn path(&self) -> &Path {
        self.top.path()
    }
}

pub fn caller() -> Caller {
    Caller { namespace: space(), lease: None }
}

pub fn space() -> Namespace {
    "default".parse().unwrap()
}

/// Sweeps as the service does, in the epoch `number`.
pub async fn sweep(node: &Node, s: &Snapshots, number: u64, dead: Vec<NodeKey>) -> Vec<NodeKey> {
    let targets = node.dir.path().join("targets");
    fs_err::create_dir_all(&targets).unwrap();
    let activations = Activations::open(s, targets, Vec::new(), &Tasks::new()).await.unwrap();
    berth_bundle::sweep::sweep(s, &activations, number, dead).await.unwrap()
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub async fn prepare(
    s: &Snapshots,
    name: &str,
    key: &str,
    parent: &str,
) -> Result<Vec<Mount>, Error> {
    s.create(caller(), name, Kind::Active, key, parent, Labels::new()).await
}

pub async fn commit(s: &Snapshots, name: &str, to: &str, key: &str) -> Result<(), Error> {
    s.commit(caller(), name, to, key, "", Labels::new()).await
}

/// Extracts a layer under the name `staging`.
pub async fn stage(
    s: &Snapshots,
    name: &str,
    staging: &str,
    parent: &str,
    bytes: Vec<u8>,
) -> Result<Applied, Error> {
    let layer = StagedLayer {
        caller: caller(),
        snapshotter: name.to_owned(),
        staging: staging.to_owned(),
        layer: format!("sha256:{staging}"),
        parent: parent.to_owned(),
    };
    s.stage(layer, std::io::Cursor::new(bytes), Limits::default()).await
}

/// Makes the staged layer `staging` the snapshot `to`.
pub async fn put(
    s: &Snapshots,
    name: &str,
    staging: &str,
    to: &str,
    parent: &str,
) -> Result<(), Error> {
    s.commit_staged(caller(), name, staging, to, parent, Labels::new()).await
}

/// How many entries a part of a snapshotter's folder has.
pub fn directories(root: &Path, name: &str, part: &str) -> usize {
    std::fs::read_dir(root.join(name).join(part)).unwrap().count()
}

/// Runs one case on a fresh node for each snapshotter.
pub async fn on_all(case: impl AsyncFn(&Node, &Snapshots, &str)) {
    if !is_root() {
        return;
    }
    for name in ALL {
        let node = Node::with(name);
        let snapshots = node.open().await;
        assert!(snapshots.names().contains(&name), "{name}");
        case(&node, &snapshots, name).await;
    }
}
