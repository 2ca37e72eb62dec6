//! The parts of the domain, built once and handed around.

use std::sync::Arc;

use berth_config::{Config, Service};
use berth_lifecycle::Tasks;
use berth_store::{Options, Store};

use crate::content::Content;
use crate::content::files::Files;
use crate::content::there::There;
use crate::error::{Error, Result};
use crate::events::Events;
use crate::gc::collect::Collector;
use crate::gc::demand::Demand;
use crate::gc::pace::Pace;
use crate::images::Images;
use crate::leases::Leases;
use crate::namespaces::Namespaces;
use crate::neighbour::Peers;
use crate::records::META;
use crate::shared::Shared;
use crate::streams::Streams;

/// The version of the tables in [`crate::records`].
const SCHEMA: u32 = 1;
const UUID: &str = "uuid";

/// All of the domain. Cheap to clone.
#[derive(Clone)]
pub struct Distribution {
    /// Blobs and ingests.
    pub content: Content,
    /// Images.
    pub images: Images,
    /// Leases.
    pub leases: Leases,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Clients' streams.
    pub streams: Streams,
    /// The collection of what is not referred to.
    pub collector: Collector,
    /// Where events go.
    pub events: Events,
    /// The other services.
    pub peers: Peers,
    /// The records' store, to be closed at the end.
    pub store: Store,
    /// The node's configuration.
    pub config: Arc<Config>,
    /// The node's name for itself, the same in every run.
    pub uuid: Arc<str>,
}

impl Distribution {
    /// Opens the store and the files, and takes in what an earlier run left. What has begun and is
    /// to end whoever waits for it is among `tasks`.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub async fn open(
        config: Arc<Config>,
        events: Events,
        peers: Peers,
        tasks: &Tasks,
    ) -> Result<Self> {
        let backend = crate::peers::content_store(&config)?;
        let root = config.service_root(Service::Distribution);
        fs_err::create_dir_all(&root).map_err(Error::io("create root", &root))?;
        let settings = &config.distribution;
        let cache_bytes = usize::try_from(settings.store_cache.bytes()).unwrap_or(usize::MAX);
        let options = Options { cache_bytes, schema: SCHEMA };
        let path = config.store(Service::Distribution);
        // Nothing would hold them any more, nor the snapshots that its images and leases hold.
        berth_store::refuse_lost(&path, Files::folders(&root))?;
        let store = Store::open(path, options)?;
        let uuid = persistent_uuid(&store).await?;
        let gc = &settings.gc;
        let files = Files::open(&root)?;
        let there = backend.map(|backend| There::new(backend, store.clone(), &files));
        let shared = Arc::new(Shared {
            store: store.clone(),
            files,
            there,
            blob_locks: Default::default(),
            ingests: Default::default(),
            streams: Default::default(),
            sharing: settings.content_sharing_policy,
            events: events.clone(),
            epochs: Default::default(),
            demand: Demand::new(gc.mutation_threshold, gc.deletion_threshold),
            peers: peers.clone(),
            tasks: tasks.clone(),
        });
        let collector = Collector::new(shared.clone(), Pace::of(gc));
        let content = Content(shared.clone());
        content.adopt_ingests().await?;
        Ok(Self {
            content,
            images: Images::new(shared.clone(), collector.clone()),
            leases: Leases::new(shared.clone(), collector.clone()),
            namespaces: Namespaces::new(shared.clone()),
            streams: Streams(shared),
            collector,
            events,
            peers,
            store,
            config,
            uuid,
        })
    }
}

async fn persistent_uuid(store: &Store) -> Result<Arc<str>> {
    if let Some(known) = store.read(|txn| Ok::<_, Error>(txn.get(&META, UUID)?))? {
        return Ok(known.into());
    }
    let made = uuid::Uuid::new_v4().to_string();
    let kept = made.clone();
    store.commit("uuid", move |txn| Ok::<_, Error>(txn.put(&META, UUID, &kept)?)).await?;
    Ok(made.into())
}
