//! From a configuration to a service that answers: wiring only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use berth_config::{Config, Service};
use berth_lifecycle::{Tasks, blocking};
use berth_store::{Options, Store};
use berth_streaming::Limits;
use tokio::sync::watch;

use crate::Error;
use crate::api::{self, Domain};
use crate::bases::Bases;
use crate::checkpoints::{self, Checkpoints};
use crate::containers::{self, Containers};
use crate::counts;
use crate::described::described;
use crate::details::Details;
use crate::events;
use crate::exits::Exits;
use crate::features::Features;
use crate::folders::Folders;
use crate::images::Images;
use crate::peers::Node;
use crate::pods::{self, Pods};
use crate::records::status::Statuses;
use crate::selinux::Selinux;
use crate::stats::{self, Stats};
use crate::streaming::Streaming;
use crate::there;

/// The version of this service's tables.
const SCHEMA: u32 = 1;
/// Memory for what was read of the store: it is small.
const CACHE: usize = 1 << 20;
/// Between two attempts to find out what an earlier run has left.
const PAUSE: Duration = Duration::from_millis(500);
/// How long nobody is answered meanwhile; then they are refused.
const SOON: Duration = Duration::from_secs(5);

/// What serves.
#[derive(Debug)]
pub struct Served {
    /// To be closed after the jobs have ended.
    pub store: Store,
}

/// Opens the store, takes over what an earlier run has left, and serves. Where the other services are away, calls are
/// refused until they are there.
///
/// # Errors
/// What could not be opened, made or bound.
pub async fn serve(config: &Config, tasks: &Tasks) -> anyhow::Result<Served> {
    let options = Options { cache_bytes: CACHE, schema: SCHEMA };
    let store = Store::open(config.store(Service::Cri), options)?;
    let (folders, node, cri) = (Folders::of(config), Node::new(config), config.cri.clone());
    let (made, of) = (folders.clone(), cri.clone());
    let make = move || {
        made.make()?;
        let selinux = Selinux::look(Path::new("/"), &of);
        selinux.share(&made.init()).map(|()| selinux)
    };
    let selinux = blocking("make folders", make).await?.context("make folders")?;
    let read = cri.clone();
    let bases = blocking("read base specifications", move || Bases::read(&read)).await??;
    let (events, teller) = events::channel();
    let images = Images::new(node.clone(), config);
    let features = Features::new(node.clone(), cri.clone(), tasks.clone());
    let pods = Pods::new(pods::Parts {
        node: node.clone(),
        cri: cri.clone(),
        folders: folders.clone(),
        images: images.clone(),
        jobs: tasks.clone(),
        events: events.clone(),
        selinux,
    });
    let containers = Containers::new(containers::Parts {
        node: node.clone(),
        cri: cri.clone(),
        bases,
        folders: folders.clone(),
        jobs: tasks.clone(),
        images: images.clone(),
        pods: pods.clone(),
        statuses: Statuses::new(store.clone()),
        events: events.clone(),
        features: features.clone(),
    });
    let limits = Limits { idle: *config.cri.stream_idle_timeout, ..Limits::default() };
    let streaming =
        Streaming::listen(&config.cri, limits, (containers.clone(), pods.clone()), tasks).await?;
    let (of_pods, of_containers) = (pods.clone(), containers.clone());
    let describe =
        async move |id, pod, kind| described((id, pod), kind, &of_pods, &of_containers).await;
    tasks.spawn("events", teller.run(describe, tasks.token()));
    let checkpoints = Checkpoints::new(checkpoints::Parts {
        node: node.clone(),
        cri: cri.clone(),
        folders,
        jobs: tasks.clone(),
        pods: pods.clone(),
        containers: containers.clone(),
    });
    let (told, recovered) = watch::channel(false);
    let stats = figures(config, &node, (pods.clone(), containers.clone()), tasks);
    begin(stats.clone(), features.clone(), recovered.clone(), tasks);
    recover(
        Exits { pods: pods.clone(), containers: containers.clone() },
        checkpoints.clone(),
        node.clone(),
        told,
        tasks,
    );
    // Who waits for this service to be there waits for that too, unless it takes long.
    let mut soon = recovered.clone();
    let _ = tokio::time::timeout(SOON, soon.wait_for(|recovered| *recovered)).await;
    let domain = Domain {
        images,
        pods,
        containers,
        checkpoints,
        streaming,
        stats,
        events,
        features,
        details: Arc::new(Details::of(config)),
        node,
        cri: Arc::new(cri),
        recovered,
        stop: tasks.token(),
    };
    berth_grpc::server::serve(&config.socket(Service::Cri), 0o600, api::routes(&domain), tasks)?;
    Ok(Served { store })
}

fn figures(
    config: &Config,
    node: &Node,
    (pods, containers): (Pods, Containers),
    jobs: &Tasks,
) -> Stats {
    counts::register();
    there::register(pods.clone(), containers.clone());
    Stats::new(stats::Parts {
        node: node.clone(),
        pods,
        containers,
        jobs: jobs.clone(),
        folder: config.service_root(Service::Bundle),
    })
}

/// Asks what handlers can do, and measures what an earlier run has left, once that is known.
fn begin(stats: Stats, features: Features, mut recovered: watch::Receiver<bool>, tasks: &Tasks) {
    let stop = tasks.token();
    let work = async move {
        let begun = async {
            features.begin().await;
            if recovered.wait_for(|recovered| *recovered).await.is_ok()
                && let Err(error) = stats.begin().await
            {
                let error = berth_errors::chain(&error);
                tracing::warn!(error, "measure pods: there is no rate in the first answer");
            }
        };
        stop.run_until_cancelled(begun).await;
    };
    tasks.spawn("first-figures", work);
}

/// Finds out what an earlier run has left, as soon as the other services can say it, and follows what ends from then on.
fn recover(
    exits: Exits,
    checkpoints: Checkpoints,
    node: Node,
    told: watch::Sender<bool>,
    tasks: &Tasks,
) {
    let stop = tasks.token();
    let work = async move {
        let Exits { pods, containers } = &exits;
        let found = async {
            loop {
                let recovered = async {
                    let unfinished = pods.recover().await?;
                    containers.recover().await?;
                    checkpoints.recover().await?;
                    Ok::<_, Error>(unfinished)
                };
                match recovered.await {
                    Ok(unfinished) => return unfinished,
                    Err(error) => {
                        let error = berth_errors::chain(&error);
                        tracing::warn!(error, "find out which pods there are: it is tried again");
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let Some(unfinished) = stop.run_until_cancelled(found).await else { return };
        told.send_replace(true);
        // What plugins of networks take for that keeps nobody from being answered.
        pods.undo(unfinished);
        let (pods, containers) = (pods.all().len(), containers.all().len());
        if pods + containers > 0 {
            tracing::info!(pods, containers, "took over those of an earlier run");
        }
        exits.follow(node, stop).await;
    };
    tasks.spawn("pods", work);
}
