//! Networks of the node, and what is attached to them.
//!
//! Owns: `root/runtime/networks` (configurations of those made here), `root/runtime/cni` (what plugins are to undo),
//! `state/runtime/.netns` (network namespaces), `state/runtime/.userns` (user namespaces that own some of them) and
//! `state/runtime/.networks` (files for containers, addresses that were given away). Must not know: what a container or a pod does, beyond that it is deleted.
//!
//! | module | what it does |
//! |---|---|
//! | `known` | which networks there are |
//! | `own`, `bridge`, `subnet`, `link` | making and removing them |
//! | `request` | what may be asked for |
//! | `attach`, `told` | attaching, and what plugins are told of it |
//! | `detach`, `departures` | undoing it, until that holds |
//! | `earlier` | what an earlier run has left |
//! | `collect` | what plugins have kept of what is gone |
//! | `stray` | what records and what is there do not say alike |
//! | `files`, `resolver` | hosts, hostname, resolv.conf |
//! | `view` | what is attached, as callers see it |
//!
//! Invariants: the record is there before the first plugin runs, and goes after the last one; of one container one thing
//! is done at a time; no plugin runs elsewhere in this process.

mod attach;
mod bridge;
mod collect;
mod departures;
mod detach;
mod earlier;
pub(crate) mod fault;
mod files;
mod known;
mod link;
mod own;
mod request;
mod resolver;
mod stray;
mod subnet;
mod told;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use berth_cni::{Cidr, Engine, Settings};
use berth_lifecycle::{Keyed, Tasks as Jobs, Turns};
use berth_store::Store;
use tokio::sync::{Notify, RwLock};

pub(crate) use detach::mark_leaving;
pub use fault::Fault;
pub use known::{All, Described};
pub use own::{Create, DEFAULT, MAX_OWN};
pub use request::{MAX_HOSTS, MAX_NETWORKS, MAX_PORTS};
pub(crate) use stray::Stray;
pub use view::{Attached, Interface};

use crate::error::Result;
use crate::gate::Gate;
use files::{Folders, Rewrites};
use known::Known;

/// Attachments that are made at once; and as many are undone, so that what hangs in the one keeps none of the others.
const AT_ONCE: usize = 8;

/// A container or sandbox: its namespace and id.
pub(crate) type Key = (String, String);

/// The networks of the node. Clones are the same.
#[derive(Clone)]
pub struct Networks(Arc<Shared>);

/// What they are made of.
pub struct Parts<'a> {
    /// Where attachments are on record.
    pub store: Store,
    /// What changes pass.
    pub gate: Arc<Gate>,
    /// Where work goes on.
    pub jobs: Jobs,
    /// Told when a container's record is gone that was attached.
    pub departures: Arc<Notify>,
    /// What is configured.
    pub settings: &'a berth_config::Network,
    /// The service's folder of what lasts.
    pub root: PathBuf,
    /// The service's folder of what a start of the machine takes away.
    pub state: PathBuf,
}

struct Shared {
    store: Store,
    gate: Arc<Gate>,
    jobs: Jobs,
    engine: Engine,
    known: Known,
    pools: Vec<Cidr>,
    folders: Folders,
    rewrites: Rewrites,
    names: Keyed<Key>,
    joining: Turns,
    leaving: Turns,
    asked: Turns,
    departures: Arc<Notify>,
}

impl Networks {
    /// Reads the folder of the pods' networks, and has what an earlier run has left undone from now on.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a pool that is none.
    pub fn new(parts: Parts<'_>) -> Result<Self> {
        let Parts { store, gate, jobs, departures, settings, root, state } = parts;
        let theirs = berth_cni::watch(settings.conf_dir.clone(), 0, &jobs);
        let known = Known {
            own: root.join("networks"),
            conf_dir: settings.conf_dir.clone(),
            theirs,
            max_conf_num: settings.max_conf_num,
            gc_conf_dir: settings.gc_conf_dir,
            changes: RwLock::default(),
        };
        let engine = Engine::new(Settings {
            bin_dirs: settings.bin_dirs.clone(),
            cache: root.join("cni"),
            deadline: settings.plugin_timeout.0,
        });
        let pool = |text: &String| {
            let wrong = |why| crate::Error::Invalid(format!("network.pools: {why}"));
            text.parse().map_err(wrong)
        };
        let networks = Self(Arc::new(Shared {
            store,
            gate,
            jobs,
            engine,
            known,
            pools: settings.pools.iter().map(pool).collect::<Result<_>>()?,
            folders: Folders::in_state(&state),
            rewrites: Rewrites::default(),
            names: Keyed::default(),
            joining: Turns::new(AT_ONCE),
            leaving: Turns::new(AT_ONCE),
            asked: Turns::new(1),
            departures,
        }));
        networks.follow_departures();
        networks.clear_earlier();
        networks.collect_earlier();
        Ok(networks)
    }

    /// All networks.
    ///
    /// # Errors
    /// [`Fault::Cut`].
    pub async fn all(&self) -> Result<All> {
        Ok(self.0.known.all().await?)
    }

    /// The first network that pods are attached to, if its plugins say that they can.
    ///
    /// # Errors
    /// [`Fault::NoPods`]; what a plugin says.
    pub async fn ready(&self) -> Result<String> {
        let pods = self.0.known.pods_networks()?;
        // Not those of attachments, which may take long.
        let _turn = self.0.asked.take().await;
        for network in &pods {
            self.0.engine.status(network).await.map_err(|error| Fault::from(Box::new(error)))?;
        }
        Ok(pods.first().map(|network| network.name().to_owned()).unwrap_or_default())
    }
}

/// What plugins call a container. No part has two of the signs that are between them.
fn container_id((ns, id): &Key) -> String {
    format!("{ns}--{id}")
}

/// The container that plugins call so.
fn key_of(container_id: &str) -> Option<Key> {
    let (ns, id) = container_id.split_once("--")?;
    Some((ns.to_owned(), id.to_owned()))
}
