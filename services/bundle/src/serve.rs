//! The service put together.

use std::path::Path;
use std::sync::Arc;

use berth_config::{Config, ProxyKind, ProxyPlugin, Service};
use berth_events::Ring;
use berth_introspection::kind::SNAPSHOTTER;
use berth_lifecycle::{Tasks, Turns};
use berth_store::{Options, Store};

use crate::Error;
use crate::api::{Context, listener, routes};
use crate::differs::{self, Differs};
use crate::live::Live;
use crate::mounts::{self, Activations};
use crate::peers::{Differ, Distribution, Snapshotter};
use crate::processors::Processors;
use crate::snapshots::{
    BlockfileSettings, BtrfsSettings, ErofsSettings, OverlaySettings, Proxy, Settings, Snapshots,
    folders,
};
use crate::walking::{self, Walking};

/// The version of the store's tables.
const SCHEMA: u32 = 1;

/// What serves.
#[derive(Debug)]
pub struct Served {
    /// To be closed after the tasks have ended.
    pub store: Store,
    /// What can be changed meanwhile.
    pub live: Live,
}

/// Opens everything and serves until the token of `tasks` is cancelled. Returns as soon as the
/// socket answers.
///
/// # Errors
/// What could not be opened or bound.
pub async fn serve(config: &Config, tasks: &Tasks) -> Result<Served, Error> {
    let root = config.service_root(Service::Bundle);
    let mounts = config.service_state(Service::Bundle).join("mounts");
    make_private(&root)?;
    make_private(&mounts)?;
    // Temporary mounts of a run that was killed. Mounts of others are nowhere near.
    clear_all(&mounts)?;

    let live = Live::new(config);
    let turns = live.turns();
    let settings = settings(config, &mounts, &turns);
    let cache_bytes = usize::try_from(config.bundle.store_cache.bytes()).unwrap_or(usize::MAX);
    let options = Options { cache_bytes, schema: SCHEMA };
    let path = config.store(Service::Bundle);
    // What is in them without a record is deleted.
    berth_store::refuse_lost(&path, folders(&root, &settings))?;
    let store = Store::open(path, options)?;
    let ring = Ring::new(config.bundle.events);
    let default = config.bundle.snapshotter.as_deref();
    let distribution =
        Distribution::new(&config.socket(Service::Distribution), &config.fd_socket());
    let owners = Arc::new(distribution.clone());
    let listener = listener(ring.clone());
    crate::counts::register(&store, &turns);
    let snapshots =
        Snapshots::open_with(&root, store.clone(), default, listener, owners, settings)?;
    snapshots.start_reaping(tasks);
    let targets = config.service_state(Service::Bundle).join("activations");
    make_private(&targets)?;
    let mut roots = vec![config.root.clone()];
    let berth_config::Bundle { overlayfs, native, btrfs, blockfile, erofs, .. } = &config.bundle;
    let configured = [
        &overlayfs.root_path,
        &native.root_path,
        &btrfs.root_path,
        &blockfile.root_path,
        &erofs.root_path,
    ];
    roots.extend(configured.into_iter().flatten().cloned());
    let activations = Activations::open(&snapshots, targets, roots, tasks).await?;
    let (reporter, changed) = (distribution.clone(), snapshots.clone());
    let stop = tasks.token();
    tasks.spawn("report changes", async move {
        stop.run_until_cancelled(reporter.report(changed.news())).await
    });
    let processors = Processors::new(&config.stream_processors);
    let walking = Walking {
        distribution: distribution.clone(),
        processors: processors.clone(),
        live: live.clone(),
        turns,
        temporary: mounts,
        roots: activations.roots(),
    };
    let context = Context {
        activations,
        snapshots,
        distribution,
        ring,
        processors,
        live: live.clone(),
        differs: differs(config, walking),
        tasks: tasks.clone(),
    };
    let path = config.socket(Service::Bundle);
    berth_grpc::server::serve(&path, 0o600, routes(&context), tasks)?;
    Ok(Served { store, live })
}

fn settings(config: &Config, mounts: &Path, turns: &Turns) -> Settings {
    let berth_config::Bundle { overlayfs, btrfs, blockfile, .. } = &config.bundle;
    let overlay = OverlaySettings {
        root: overlayfs.root_path.clone(),
        upperdir_label: overlayfs.upperdir_label,
        sync_remove: overlayfs.sync_remove,
        mount_options: overlayfs.mount_options.clone(),
        slow_chown: overlayfs.slow_chown,
    };
    let btrfs = BtrfsSettings { root_path: btrfs.root_path.clone() };
    let blockfile = BlockfileSettings {
        root_path: blockfile.root_path.clone(),
        scratch_file: blockfile.scratch_file.clone(),
        fs_type: blockfile.fs_type.clone(),
        mount_options: blockfile.mount_options.clone(),
        recreate_scratch: blockfile.recreate_scratch,
    };
    let (proxies, temporary) = (proxies(config), mounts.to_owned());
    Settings {
        proxies,
        temporary,
        overlay,
        native_root: config.bundle.native.root_path.clone(),
        btrfs,
        blockfile,
        erofs: erofs(config),
        turns: turns.clone(),
        left_out: config.plugins().disabled(SNAPSHOTTER),
    }
}

fn erofs(config: &Config) -> ErofsSettings {
    let configured = &config.bundle.erofs;
    ErofsSettings {
        root: configured.root_path.clone(),
        mount_options: configured.ovl_mount_options.clone(),
        mkfs_options: configured.mkfs_options.clone(),
        fsverity: configured.enable_fsverity,
        immutable: configured.set_immutable,
        writable: configured.default_size.map_or(0, |size| size.bytes()),
    }
}

/// The snapshotters that are processes of their own. Each is connected to when it is needed.
fn proxies(config: &Config) -> Vec<Proxy> {
    let plugins = configured(config, ProxyKind::Snapshotter);
    let proxy = |(name, plugin): (&String, &ProxyPlugin)| {
        let own = match &*plugin.snapshotter {
            "" => name,
            snapshotter => snapshotter,
        };
        let backend = Snapshotter::new(name, own, &plugin.socket(), plugin.timeout());
        Proxy {
            // As long-lived as the process: names are compared and passed on everywhere.
            name: name.clone().leak(),
            exports: plugin.told(),
            capabilities: plugin.capabilities.clone(),
            platform: plugin.platform.clone(),
            backend: Arc::new(backend),
        }
    };
    plugins.map(proxy).collect()
}

/// The differs, in their order.
fn differs(config: &Config, walking: Walking) -> Differs {
    let walking: Arc<dyn differs::Differ> = Arc::new(walking);
    let differ = |name: &String| match &**name {
        walking::NAME => Some(walking.clone()),
        // The configuration has only those that are there.
        theirs => config.proxy_plugins.get(theirs).map(|plugin| {
            let differ = Differ::new(theirs, &plugin.socket(), plugin.timeout());
            Arc::new(differ) as Arc<dyn differs::Differ>
        }),
    };
    let proxy = |(name, plugin): (&String, &ProxyPlugin)| differs::Proxy {
        name: name.clone(),
        exports: plugin.told(),
        capabilities: plugin.capabilities.clone(),
        platform: plugin.platform.clone(),
    };
    let order = config.bundle.differs.iter().filter_map(differ).collect();
    Differs::new(walking, order, configured(config, ProxyKind::Differ).map(proxy).collect())
}

/// The plugins of a kind, by name.
fn configured(config: &Config, kind: ProxyKind) -> impl Iterator<Item = (&String, &ProxyPlugin)> {
    config.proxy_plugins.iter().filter(move |(_, plugin)| plugin.serves() == Some(kind))
}

fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| Error::File { step: "make directory", path: path.to_owned(), source })
}

/// Undoes temporary mounts, with the directories that they were on.
fn clear_all(directory: &Path) -> Result<(), Error> {
    let failed = |source| Error::File { step: "clear", path: directory.to_owned(), source };
    for entry in fs_err::read_dir(directory).map_err(failed)? {
        mounts::clear(&entry.map_err(failed)?.path())?;
    }
    Ok(())
}
