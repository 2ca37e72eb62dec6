//! What the service is made of, and in which order: each is given what it needs of those before.

use std::path::PathBuf;
use std::sync::Arc;

use berth_config::{Config, ProxyKind, ProxyPlugin, Service};
use berth_introspection::kind::SANDBOX_CONTROLLER;
use berth_lifecycle::Tasks as Jobs;
use berth_store::Store;

use crate::check;
use crate::checkpoints::Checkpoints;
use crate::containers::Containers;
use crate::events::Events;
use crate::gate::{Gate, Neighbours};
use crate::networks::{self, Networks};
use crate::peers::{RemoteSandboxer, Services, Starter};
use crate::sandboxes::{self, Controller, Proxied, SHIM, Sandboxers, Sandboxes, Terms};
use crate::shims::{Launcher, Settings};
use crate::tasks::{self, Tasks};

/// What most parts are made with.
pub(super) struct Common<'a> {
    config: &'a Config,
    jobs: &'a Jobs,
    store: Store,
    events: Events,
    services: Services,
    pub(super) neighbours: Arc<dyn Neighbours>,
    pub(super) gate: Arc<Gate>,
    pub(super) launcher: Launcher,
    starter: Starter,
    /// The folder of this service's state.
    folder: PathBuf,
    /// The OCI runtime that shims run unless told otherwise.
    binary: String,
}

/// The parts.
pub(super) struct Parts {
    pub(super) containers: Containers,
    pub(super) networks: Networks,
    pub(super) sandboxes: Sandboxes,
    controller: Controller,
    pub(super) sandboxers: Sandboxers,
    pub(super) tasks: Tasks,
}

impl<'a> Common<'a> {
    pub(super) fn new(config: &'a Config, jobs: &'a Jobs, store: Store, events: Events) -> Self {
        let (distribution, bundle) =
            (config.socket(Service::Distribution), config.socket(Service::Bundle));
        let services = Services::new(&distribution, &bundle);
        let neighbours: Arc<dyn Neighbours> = Arc::new(services.clone());
        let gate = Arc::new(Gate::new(neighbours.clone()));
        let launcher = Launcher::new(Settings::of(config));
        let starter = Starter::new(launcher.clone());
        let folder = config.service_state(Service::Runtime);
        let binary = config.runtime.binary.to_string_lossy().into_owned();
        Self {
            config,
            jobs,
            store,
            events,
            services,
            neighbours,
            gate,
            launcher,
            starter,
            folder,
            binary,
        }
    }

    /// Has the others told of what changes here, from now on.
    pub(super) fn report_changes(&self) {
        let (changed, stop) = (self.gate.clone(), self.jobs.token());
        let reports = self.services.clone();
        self.jobs.spawn("report changes", async move {
            stop.run_until_cancelled(reports.report(changed.news())).await
        });
    }

    /// Makes all of them.
    ///
    /// # Errors
    /// As [`Networks::new`].
    pub(super) fn parts(&self) -> crate::Result<Parts> {
        let (store, gate) = (&self.store, &self.gate);
        let (events, jobs) = (&self.events, self.jobs);
        let containers = Containers::new(store.clone(), gate.clone(), events.clone(), jobs.clone());
        let networks = self.networks(&containers)?;
        let sandboxes = Sandboxes::new(store.clone(), gate.clone());
        let controller = self.controller(&sandboxes);
        let by_shims = self.config.plugins().has(SANDBOX_CONTROLLER, SHIM);
        let sandboxers = Sandboxers::new(controller.clone(), by_shims, self.proxied(&sandboxes));
        let checkpoints = self.config.service_root(Service::Runtime).join("checkpoints");
        let tasks = Tasks::new(tasks::Parts {
            containers: containers.clone(),
            launcher: self.launcher.clone(),
            starter: self.starter.clone(),
            controller: controller.clone(),
            sandboxers: sandboxers.clone(),
            networks: networks.clone(),
            neighbours: self.neighbours.clone(),
            checkpoints: Checkpoints::new(checkpoints, Arc::new(self.services.clone())),
            events: events.clone(),
            jobs: jobs.clone(),
            folder: self.folder.clone(),
            binary: self.binary.clone(),
        });
        Ok(Parts { containers, networks, sandboxes, controller, sandboxers, tasks })
    }

    fn networks(&self, containers: &Containers) -> crate::Result<Networks> {
        Networks::new(networks::Parts {
            store: self.store.clone(),
            gate: self.gate.clone(),
            jobs: self.jobs.clone(),
            departures: containers.departures(),
            settings: &self.config.network,
            root: self.config.service_root(Service::Runtime),
            state: self.folder.clone(),
        })
    }

    fn controller(&self, sandboxes: &Sandboxes) -> Controller {
        Controller::new(sandboxes::Parts {
            records: sandboxes.clone(),
            launcher: self.launcher.clone(),
            starter: self.starter.clone(),
            events: self.events.clone(),
            jobs: self.jobs.clone(),
            folder: self.folder.clone(),
            binary: self.binary.clone(),
        })
    }

    /// The sandbox controllers that are processes of others. Each is connected to when it is needed.
    fn proxied(&self, sandboxes: &Sandboxes) -> Vec<Proxied> {
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
                records: sandboxes.clone(),
                events: self.events.clone(),
                jobs: self.jobs.clone(),
            })
        };
        self.config.proxy_plugins.iter().filter(is_controller).map(proxied).collect()
    }

    /// What compares them with what is there.
    pub(super) fn check(&self, parts: &Parts) -> check::Runtime {
        check::Runtime::new(check::Parts {
            tasks: parts.tasks.clone(),
            controller: parts.controller.clone(),
            networks: parts.networks.clone(),
            folder: self.folder.clone(),
            sockets: self.launcher.settings().socket_folder.clone(),
            binary: self.binary.clone(),
        })
    }
}

impl Parts {
    /// Takes over the tasks and sandboxes of an earlier run. Answers whether there are any.
    ///
    /// # Errors
    /// What could not be read.
    pub(super) async fn recover(&self) -> crate::Result<bool> {
        self.sandboxers.proxied().try_for_each(Proxied::recover)?;
        let (pods, tasks) = (self.controller.recover().await?, self.tasks.recover().await?);
        if tasks + pods > 0 {
            tracing::info!(tasks, sandboxes = pods, "took over those of an earlier run");
        }
        Ok(tasks + pods > 0)
    }
}
