//! Collection (GC of CNI 1.1): what plugins have kept of attachments that are gone, and of which nothing is on record.
//!
//! A plugin is told which attachments are valid and takes away all others of the network, whoever made them: another
//! engine, or another node of this machine. So it is asked only for networks that nobody else attaches to: those made
//! here, and those of the pods' folder where the configuration says so. What is on record here, of any network, is
//! undone without asking for that (`earlier`).

use berth_cni::{Network, Version};
use berth_errors::chain;

use super::Networks;
use super::attach::attachment_id;
use super::fault::Fault;
use crate::error::Result;

impl Networks {
    /// Once for each start, which it does not delay.
    pub(super) fn collect_earlier(&self) {
        let this = self.clone();
        self.0.jobs.spawn_endless("collection of networks", async move { this.collect().await });
    }

    /// Collects what is left of each network. What fails is told, and harms nobody: plugins are asked again on the
    /// next start.
    async fn collect(&self) {
        let networks = match self.0.known.collected().await {
            Ok(networks) => networks,
            Err(error) => {
                tracing::warn!(error = chain(&error), "look for networks to collect");
                return;
            }
        };
        // Before 1.1 plugins cannot be asked.
        for network in networks.iter().filter(|network| network.version() >= Version::V1_1_0) {
            if let Err(error) = self.collect_of(network).await {
                let (network, error) = (network.name(), chain(&error));
                tracing::warn!(network, error, "collect what plugins have kept");
            }
        }
    }

    async fn collect_of(&self, network: &Network) -> Result<()> {
        let alone = self.0.engine.alone(network).await;
        // Read only now: what was attached before has a record, and nothing is attached meanwhile.
        let every = self.every()?;
        let each = every.iter().flat_map(|(key, record)| {
            record.joined.iter().map(move |joined| attachment_id(key, joined))
        });
        let valid: Vec<_> = each.collect();
        Ok(alone.collect(&valid).await.map_err(|error| Fault::from(Box::new(error)))?)
    }
}
