//! Putting the parts together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use berth_config::{Config, ProxyKind, ProxyPlugin, Service};
use berth_events::Ring;
use berth_introspection::kind::{CONTAINER_MONITOR, SANDBOX_CONTROLLER};
use berth_lifecycle::Tasks as Jobs;
use berth_store::{Options, Store};

use crate::api::{Domain, Forwarder, RingSink, routes};
use crate::check;
use crate::checkpoints::Checkpoints;
use crate::containers::Containers;
use crate::events::Events;
use crate::gate::{Gate, Neighbours};
use crate::live::Live;
use crate::networks::{self, Networks};
use crate::peers::{RemoteSandboxer, Services, Starter};
use crate::restart::Monitor;
use crate::sandboxes::{self, Controller, Proxied, SHIM, Sandboxers, Sandboxes, Terms};
use crate::shims::{Launcher, Settings};
use crate::tasks::{Parts, Tasks};

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
    let settings = &config.runtime;
    let cache_bytes = usize::try_from(settings.store_cache.bytes()).unwrap_or(usize::MAX);
    let store =
        Store::open(config.store(Service::Runtime), Options { cache_bytes, schema: SCHEMA })?;
    let folder = config.service_state(Service::Runtime);
    make_folder(&folder)?;
    let ring = Ring::new(settings.events);
    let events = Events::new(Arc::new(RingSink(ring.clone())));
    let (distribution, bundle) =
        (config.socket(Service::Distribution), config.socket(Service::Bundle));
    let services = Services::new(&distribution, &bundle);
    let neighbours: Arc<dyn Neighbours> = Arc::new(services.clone());
    let gate = Arc::new(Gate::new(neighbours.clone()));
    let (changed, stop) = (gate.clone(), jobs.token());
    let reports = services.clone();
    jobs.spawn("report changes", async move {
        stop.run_until_cancelled(reports.report(changed.news())).await
    });
    let containers = Containers::new(store.clone(), gate.clone(), events.clone(), jobs.clone());
    let networks = Networks::new(networks::Parts {
        store: store.clone(),
        gate: gate.clone(),
        jobs: jobs.clone(),
        departures: containers.departures(),
        settings: &config.network,
        root: config.service_root(Service::Runtime),
        state: folder.clone(),
    })?;
    let sandboxes = Sandboxes::new(store.clone(), gate.clone());
    let launcher = Launcher::new(Settings::of(config));
    let live = Live::new(launcher.clone(), config);
    let starter = Starter::new(launcher.clone());
    let binary = settings.binary.to_string_lossy().into_owned();
    let controller = Controller::new(sandboxes::Parts {
        records: sandboxes.clone(),
        launcher: launcher.clone(),
        starter: starter.clone(),
        events: events.clone(),
        jobs: jobs.clone(),
        folder: folder.clone(),
        binary: binary.clone(),
    });
    let checkpoints = config.service_root(Service::Runtime).join("checkpoints");
    let proxied = proxied(config, &sandboxes, &events, jobs);
    let plugins = config.plugins();
    let by_shims = plugins.has(SANDBOX_CONTROLLER, SHIM);
    let sandboxers = Sandboxers::new(controller.clone(), by_shims, proxied);
    let tasks = Tasks::new(Parts {
        containers: containers.clone(),
        launcher: launcher.clone(),
        starter,
        controller: controller.clone(),
        sandboxers: sandboxers.clone(),
        networks: networks.clone(),
        neighbours: neighbours.clone(),
        checkpoints: Checkpoints::new(checkpoints, Arc::new(services)),
        events,
        jobs: jobs.clone(),
        folder: folder.clone(),
        binary: binary.clone(),
    });
    let sockets = launcher.settings().socket_folder.clone();
    let (pods, checked) = (controller.clone(), tasks.clone());
    let check = check::Runtime::new(check::Parts {
        tasks: checked,
        controller: pods,
        networks: networks.clone(),
        folder,
        sockets,
        binary,
    });
    crate::counts::register(&store, &tasks, &live.measured());
    let forwarder = Forwarder { tasks: tasks.clone(), ring: ring.clone() };
    sandboxers.proxied().try_for_each(Proxied::recover)?;
    let (pods, recovered) = (controller.recover().await?, tasks.recover().await?);
    if recovered + pods > 0 {
        tracing::info!(tasks = recovered, sandboxes = pods, "took over those of an earlier run");
    }
    serve_shims(settings, forwarder, jobs)?;
    if plugins.has(CONTAINER_MONITOR, "restart") {
        let interval = live.restart_interval();
        let (watched, started) = (containers.clone(), tasks.clone());
        Monitor { containers: watched, tasks: started, neighbours, interval }.spawn(jobs);
    }
    let stop = jobs.token();
    let recovered = recovered + pods > 0;
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

/// The sandbox controllers that are processes of others. Each is connected to when it is needed.
fn proxied(config: &Config, records: &Sandboxes, events: &Events, jobs: &Jobs) -> Vec<Proxied> {
    let is_controller = |(_, plugin): &(&String, &ProxyPlugin)| {
        plugin.serves() == Some(ProxyKind::SandboxController)
    };
    let proxied = |(name, plugin): (&String, &ProxyPlugin)| {
        let own = match &*plugin.sandboxer {
            "" => name,
            sandboxer => sandboxer,
        };
        let there = RemoteSandboxer::new(name, own, &plugin.socket(), plugin.timeout());
        Proxied::new(Terms {
            name: name.clone(),
            exports: plugin.told(),
            capabilities: plugin.capabilities.clone(),
            platform: plugin.platform.clone(),
            there: Arc::new(there),
            records: records.clone(),
            events: events.clone(),
            jobs: jobs.clone(),
        })
    };
    config.proxy_plugins.iter().filter(is_controller).map(proxied).collect()
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
