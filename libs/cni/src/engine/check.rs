//! CHECK: whether an attachment is as its ADD has left it.

use super::{Engine, del, request};
use crate::attachment::Told;
use crate::cache::Found;
use crate::plugin::Command;
use crate::{Attachment, Error, Network, Version};

impl Engine {
    /// Asks all plugins in order, with what ADD had told them and has led to. A network may say that it is not to be
    /// checked; then all is well.
    ///
    /// # Errors
    /// [`Error::NoCheck`] below version 0.4.0; [`Error::NotAdded`]; what the first plugin says that finds something.
    pub async fn check(&self, network: &Network, attachment: &Attachment) -> Result<(), Error> {
        let told = Told::by(&network.name, attachment)?;
        if network.version < Version::V0_4_0 {
            return Err(Error::NoCheck { network: network.name.clone(), version: network.version });
        }
        if network.disable_check {
            return Ok(());
        }
        let _network = self.shared.networks.shared(&network.name).await;
        let (_alone, turn) = self.turn(&told.id.container_id).await?;
        let record = match self.find_record(&told.id).await? {
            Found::Record(record) if !record.pending => record,
            _ => return Err(Error::NotAdded(told.id)),
        };
        let told = told.with_recorded(&record);
        let previous = del::previous_for(network, record.result.as_ref());
        for plugin in &network.plugins {
            let capabilities = &told.capabilities;
            let input = request::of_attachment(network, plugin, capabilities, previous.as_ref());
            self.call(plugin, Command::Check, &told, &turn, input).await?;
        }
        Ok(())
    }
}
