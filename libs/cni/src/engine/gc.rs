//! GC: what is left of attachments that nobody has any more.

use std::path::PathBuf;
use std::time::Duration;

use berth_lifecycle::Held;

use super::{Engine, request};
use crate::attachment::Told;
use crate::cache::{Cache, Found};
use crate::plugin::Command;
use crate::turns::Turn;
use crate::{AttachmentId, Error, Network, Version};

/// An attachment on record that is none of those that are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Which.
    pub id: AttachmentId,
    /// The namespace that its ADD was for.
    pub netns: Option<PathBuf>,
    /// Whether its ADD never ended.
    pub pending: bool,
}

/// A network of which nothing goes on.
#[must_use = "it goes on when this is dropped"]
pub struct Alone {
    engine: Engine,
    network: Network,
    _lock: Held<String>,
}

impl Alone {
    /// As [`Engine::gc`].
    ///
    /// # Errors
    /// As those of [`Engine::gc`].
    pub async fn gc(&self, valid: &[AttachmentId]) -> Result<(), Error> {
        let Self { engine, network, .. } = self;
        if network.disable_gc {
            return Ok(());
        }
        let mut errors = Vec::new();
        let left = engine.leftovers(valid).await?;
        for id in left.into_iter().map(|left| left.id).filter(|id| id.network == network.name) {
            errors.extend(engine.remove_recorded(&id, Some(network)).await.err());
        }
        errors.extend(self.collected(valid).await);
        if errors.is_empty() { Ok(()) } else { Err(Error::Several(errors)) }
    }

    /// Has the plugins collect what they find, from version 1.1.0, and undoes nothing that is on record here.
    ///
    /// # Errors
    /// As those of [`Engine::gc`].
    pub async fn collect(&self, valid: &[AttachmentId]) -> Result<(), Error> {
        let errors = self.collected(valid).await;
        if errors.is_empty() { Ok(()) } else { Err(Error::Several(errors)) }
    }

    async fn collected(&self, valid: &[AttachmentId]) -> Vec<Error> {
        let Self { engine, network, .. } = self;
        let mut errors = Vec::new();
        if !network.disable_gc && network.version >= Version::V1_1_0 {
            for plugin in &network.plugins {
                let input = request::of_gc(network, plugin, valid);
                errors.extend(engine.call_for_network(plugin, Command::Gc, input).await.err());
            }
        }
        errors
    }
}

impl Engine {
    /// What is on record beside `valid`, of all networks: of a killed node, what may be left. Files of attempts that
    /// were cut off before they were on record, and so have done nothing, are removed.
    ///
    /// # Errors
    /// [`Error::Cache`].
    pub async fn leftovers(&self, valid: &[AttachmentId]) -> Result<Vec<Leftover>, Error> {
        self.tidy().await?;
        let records = self.with_cache(Cache::list).await?;
        let left = records.into_iter().filter(|record| !valid.contains(&record.id));
        let left = left.map(|r| Leftover { id: r.id, netns: r.netns, pending: r.pending });
        Ok(left.collect())
    }

    /// DEL of something on record, by the configuration that its ADD had: of networks that nobody configures any
    /// more, too. May be repeated.
    ///
    /// # Errors
    /// [`Error::NotAdded`] where what is on record has no configuration; as [`Engine::del`].
    pub async fn remove(&self, id: &AttachmentId) -> Result<(), Error> {
        let _network = self.shared.networks.shared(&id.network).await;
        self.remove_recorded(id, None).await
    }

    /// Undoes all of a network that is on record and not `valid` (which may name other networks' too), and has the
    /// plugins collect what they find, from version 1.1.0. Nothing of the network goes on meanwhile. A network may
    /// say that it is not to be collected; then nothing is done.
    ///
    /// The plugins take away what others have attached to the network, too: it has to be one's own.
    ///
    /// # Errors
    /// [`Error::Several`] of what failed, after the rest was done.
    pub async fn gc(&self, network: &Network, valid: &[AttachmentId]) -> Result<(), Error> {
        self.alone(network).await.gc(valid).await
    }

    /// Waits until nothing of a network goes on. What is attached by then stays so until this is dropped, and
    /// nothing more is: who has to look for what is valid looks now.
    pub async fn alone(&self, network: &Network) -> Alone {
        let lock = self.shared.networks.alone(network.name()).await;
        Alone { engine: self.clone(), network: network.clone(), _lock: lock }
    }

    async fn tidy(&self) -> Result<(), Error> {
        for container in self.with_cache(Cache::unfinished).await? {
            // Whoever is at work has the lock, here or elsewhere.
            let turn = Turn::take(&self.shared.cache.locks(), &container, Duration::ZERO).await?;
            if turn.is_held() {
                self.with_cache(move |cache| cache.remove_unfinished(&container)).await?;
            }
        }
        Ok(())
    }

    async fn remove_recorded(
        &self,
        id: &AttachmentId,
        network: Option<&Network>,
    ) -> Result<(), Error> {
        id.check()?;
        let (_alone, turn) = self.turn(&id.container_id).await?;
        match self.find_record(id).await? {
            Found::Record(record) => self.delete(network, Told::recorded(&record), &turn).await,
            // Somebody has been quicker.
            _ => Ok(()),
        }
    }
}
