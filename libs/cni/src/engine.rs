//! Operations on a whole network: its plugins in their order, what each is told, and what is on record.

mod add;
mod check;
mod del;
mod gc;
mod request;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_lifecycle::{Held, Keyed};

pub use add::Outcome;
pub use gc::{Alone, Leftover};

use crate::attachment::Told;
use crate::cache::{Cache, Found, Record};
use crate::conf::PluginConf;
use crate::plugin::{Call, Command, Environment, find};
use crate::turns::Turn;
use crate::{AttachmentId, Error, Network};

/// Where plugins and records are, and how long a plugin may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folders of plugins, absolute: the first that has one counts.
    pub bin_dirs: Vec<PathBuf>,
    /// The folder of records; `/var/lib/cni` is libcni's.
    pub cache: PathBuf,
    /// For each plugin of each operation.
    pub deadline: Duration,
}

/// Runs networks' plugins. Cheap to clone; clones share everything.
///
/// An operation that is dropped kills the plugin that it is at. What is on record then says that the attachment is
/// [pending](Leftover): DEL or [`Engine::gc`] undoes it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    cache: Cache,
    networks: Keyed<String>,
    containers: Keyed<String>,
}

impl Engine {
    /// Makes nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let cache = Cache::new(settings.cache.clone());
        let (networks, containers) = (Keyed::default(), Keyed::default());
        Self { shared: Arc::new(Shared { settings, cache, networks, containers }) }
    }

    /// The lock of a container, which no plugin of an earlier run has any more, if `patience` was enough.
    async fn turn(&self, container: &str) -> Result<(Held<String>, Turn), Error> {
        let alone = self.shared.containers.alone(container).await;
        let turn = Turn::take(&self.shared.cache.locks(), container, self.shared.settings.deadline)
            .await?;
        Ok((alone, turn))
    }

    /// Runs one plugin for an attachment.
    async fn call(
        &self,
        plugin: &PluginConf,
        command: Command,
        told: &Told,
        turn: &Turn,
        input: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let Settings { bin_dirs, deadline, .. } = &self.shared.settings;
        let path = find(&plugin.kind, bin_dirs)?;
        let shared = turn.share().map_err(|source| Error::Run {
            step: "lend a lock to",
            plugin: plugin.kind.clone(),
            command,
            source,
        })?;
        let environment = Environment::of_attachment(command, bin_dirs, told);
        let turn = turn.is_held().then_some(shared);
        let (deadline, plugin, path) = (*deadline, plugin.kind.as_str(), path.as_path());
        Call { plugin, path, command, environment, input, deadline, turn }.run().await
    }

    /// Runs one plugin for its network.
    async fn call_for_network(
        &self,
        plugin: &PluginConf,
        command: Command,
        input: Vec<u8>,
    ) -> Result<(), Error> {
        let Settings { bin_dirs, deadline, .. } = &self.shared.settings;
        let path = find(&plugin.kind, bin_dirs)?;
        let environment = Environment::of_network(command, bin_dirs);
        let (deadline, plugin, path) = (*deadline, plugin.kind.as_str(), path.as_path());
        let call = Call { plugin, path, command, environment, input, deadline, turn: None };
        call.run().await.map(drop)
    }

    /// All plugins are there, before the first one does anything.
    fn find_all(&self, network: &Network) -> Result<(), Error> {
        let dirs = &self.shared.settings.bin_dirs;
        network.plugins().try_for_each(|kind| find(kind, dirs).map(drop))
    }

    /// Does something with the records where it may block.
    async fn with_cache<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cache) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let cache = self.shared.cache.clone();
        berth_lifecycle::blocking("network records", move || work(&cache)).await?
    }

    async fn find_record(&self, id: &AttachmentId) -> Result<Found, Error> {
        let id = id.clone();
        self.with_cache(move |cache| cache.find(&id)).await
    }

    async fn keep(&self, record: Record) -> Result<(), Error> {
        self.with_cache(move |cache| cache.keep(&record)).await
    }

    async fn remove_record(&self, id: &AttachmentId) -> Result<(), Error> {
        let id = id.clone();
        self.with_cache(move |cache| cache.remove(&id)).await
    }
}
