//! Putting the parts together.

mod parts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use berth_config::{Config, Service};
use berth_events::Ring;
use berth_introspection::kind::CONTAINER_MONITOR;
use berth_lifecycle::Tasks as Jobs;
use berth_store::{Options, Store};

use crate::api::{Domain, Forwarder, RingSink, routes};
use crate::events::Events;
use crate::live::Live;
use crate::restart::Monitor;
use parts::{Common, Parts};

/// The version of this service's tables.
const SCHEMA: u32 = 1;
/// How long a shim's event that has arrived may take.
const EVENT_DRAIN: Duration = Duration::from_secs(2);

/// What serves.
#[derive(Debug)]
pub struct Served {
    /// To be closed after the jobs have ended.
    pub store: Store,
    /// What can be changed meanwhile.
    pub live: Live,
}

/// Opens the store, takes over the tasks that are there and serves. Returns when all sockets
/// answer; what runs on is in `jobs`.
///
/// # Errors
/// What could not be opened, bound or read.
pub async fn serve(config: &Config, jobs: &Jobs) -> anyhow::Result<Served> {
    let store = open(config)?;
    make_folder(&config.service_state(Service::Runtime))?;
    let ring = Ring::new(config.runtime.events);
    let events = Events::new(Arc::new(RingSink(ring.clone())));
    let common = Common::new(config, jobs, store.clone(), events);
    common.report_changes();
    let parts = common.parts()?;
    let live = Live::new(common.launcher.clone(), config);
    let check = common.check(&parts);
    crate::counts::register(&store, &parts.tasks, &live.measured());
    let recovered = parts.recover().await?;
    let forwarder = Forwarder { tasks: parts.tasks.clone(), ring: ring.clone() };
    serve_shims(&config.runtime, forwarder, jobs)?;
    let Common { gate, launcher, neighbours, .. } = common;
    let Parts { containers, tasks, sandboxes, sandboxers, networks, .. } = parts;
    if config.plugins().has(CONTAINER_MONITOR, "restart") {
        let interval = live.restart_interval();
        let (watched, started) = (containers.clone(), tasks.clone());
        Monitor { containers: watched, tasks: started, neighbours, interval }.spawn(jobs);
    }
    let stop = jobs.token();
    let domain = Domain {
        containers,
        tasks,
        sandboxes,
        sandboxers,
        networks,
        gate,
        ring,
        recovered,
        check,
        launcher,
        stop,
    };
    berth_grpc::server::serve(&config.socket(Service::Runtime), 0o600, routes(&domain), jobs)?;
    Ok(Served { store, live })
}

fn open(config: &Config) -> anyhow::Result<Store> {
    let cache_bytes = config.runtime.store_cache.bytes();
    let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
    Ok(Store::open(config.store(Service::Runtime), Options { cache_bytes, schema: SCHEMA })?)
}

fn serve_shims(
    settings: &berth_config::Runtime,
    forwarder: Forwarder,
    jobs: &Jobs,
) -> anyhow::Result<()> {
    let path = &settings.ttrpc_address;
    let listener = berth_grpc::server::bind(path, 0o600)?;
    std::os::unix::fs::chown(path, Some(settings.ttrpc_uid), Some(settings.ttrpc_gid))
        .with_context(|| format!("set the owner of {}", path.display()))?;
    let stop = jobs.token();
    jobs.spawn("shim-events", async move {
        let server = berth_ttrpc::Server::new(Arc::new(forwarder));
        if let Err(error) = server.serve(listener, stop.cancelled_owned(), EVENT_DRAIN).await {
            tracing::error!(error = berth_errors::chain(&error), "serve events of shims");
        }
    });
    Ok(())
}

/// Passable for users that containers are remapped to.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(folder)
        .with_context(|| format!("make {}", folder.display()))
}
