//! DEL: the plugins in reverse order, each with what ADD has led to.

use serde_json::Value;

use super::{Engine, request};
use crate::attachment::Told;
use crate::cache::{Found, Record};
use crate::plugin::Command;
use crate::turns::Turn;
use crate::{Attachment, Error, Network, NetworkResult, Version};

impl Engine {
    /// Detaches a container. May be repeated, for ever, also for what was never attached or has no namespace any
    /// more; it is to be repeated until it holds. Plugins are told what ADD had told them, if that is on record.
    ///
    /// A namespace is better removed after: some plugins (the bridge's masquerading, up to 1.1) find what they have
    /// made by what is in it.
    ///
    /// # Errors
    /// [`Error::Argument`]; what a plugin says, after which those before it in the chain are not asked and the
    /// record stays; [`Error::Cache`].
    pub async fn del(&self, network: &Network, attachment: &Attachment) -> Result<(), Error> {
        let told = Told::by(&network.name, attachment)?;
        let _network = self.shared.networks.shared(&network.name).await;
        let (_alone, turn) = self.turn(&told.id.container_id).await?;
        self.delete(Some(network), told, &turn).await
    }

    /// As `del`, under the locks. Without a network the one on record is used.
    pub(super) async fn delete(
        &self,
        network: Option<&Network>,
        told: Told,
        turn: &Turn,
    ) -> Result<(), Error> {
        if !turn.is_held() {
            let container = &told.id.container_id;
            tracing::warn!(
                container,
                "a plugin of an earlier run still works: DEL goes on beside it"
            );
        }
        let found = self.find_record(&told.id).await?;
        let ours = !matches!(found, Found::Other);
        let record = match found {
            Found::Record(record) => Some(record),
            _ => None,
        };
        let recorded = record.as_deref().and_then(recorded_network);
        let Some(network) = recorded.as_ref().or(network) else {
            return Err(Error::NotAdded(told.id));
        };
        let mut told = match record.as_deref() {
            // One without a configuration has no arguments either.
            Some(record) if !record.config.is_empty() => told.with_recorded(record),
            _ => told,
        };
        // A namespace that is gone, or a file that its end has left, is none to plugins.
        told.netns = told.netns.filter(|netns| berth_netns::is_namespace(netns));
        let previous = record.as_ref().and_then(|record| record.result.as_ref());
        self.del_all(network, &told, turn, previous).await?;
        if ours { self.remove_record(&told.id).await } else { Ok(()) }
    }

    /// All plugins of a network, the last one first.
    pub(super) async fn del_all(
        &self,
        network: &Network,
        told: &Told,
        turn: &Turn,
        previous: Option<&Value>,
    ) -> Result<(), Error> {
        let previous = previous_for(network, previous);
        for plugin in network.plugins.iter().rev() {
            let capabilities = &told.capabilities;
            let input = request::of_attachment(network, plugin, capabilities, previous.as_ref());
            self.call(plugin, Command::Del, told, turn, input).await?;
        }
        Ok(())
    }
}

/// The result on record in the network's version. Older ones have none on DEL; one that cannot be read is none.
pub(super) fn previous_for(network: &Network, recorded: Option<&Value>) -> Option<Value> {
    let recorded = recorded.filter(|_| network.version >= Version::V0_4_0)?;
    let result = NetworkResult::from_value(recorded, network.version).ok()?;
    Some(result.to_value(network.version))
}

/// The network as it was at ADD.
pub(super) fn recorded_network(record: &Record) -> Option<Network> {
    let network = Network::parse(&record.config, std::path::Path::new("on record")).ok()?;
    (network.name == record.id.network).then_some(network)
}
