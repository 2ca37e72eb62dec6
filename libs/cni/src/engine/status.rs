//! STATUS and VERSION: what plugins say of themselves.

use serde::Deserialize;
use serde_json::json;

use super::{Engine, request};
use crate::plugin::{Call, Command, Environment, excerpt, find};
use crate::{Error, Network, Version};

#[derive(Deserialize)]
struct Versions {
    #[serde(rename = "supportedVersions", default)]
    supported: Vec<String>,
}

impl Engine {
    /// Whether a network's plugins can serve an ADD. Below version 1.1.0 that cannot be asked: then they are there.
    ///
    /// # Errors
    /// [`Error::NoPlugin`]; what the first plugin says that cannot.
    pub async fn status(&self, network: &Network) -> Result<(), Error> {
        self.find_all(network)?;
        if network.version < Version::V1_1_0 {
            return Ok(());
        }
        for plugin in &network.plugins {
            let input = request::of_status(network, plugin);
            self.call_for_network(plugin, Command::Status, input).await?;
        }
        Ok(())
    }

    /// The versions that a plugin knows, of those that are known here, from old to new.
    ///
    /// # Errors
    /// [`Error::NoPlugin`]; what the plugin says.
    pub async fn version(&self, plugin: &str) -> Result<Vec<Version>, Error> {
        let settings = &self.shared.settings;
        let path = find(plugin, &settings.bin_dirs)?;
        let command = Command::Version;
        let call = Call {
            plugin,
            path: &path,
            command,
            environment: Environment::of_version(&settings.bin_dirs),
            input: json!({"cniVersion": Version::NEWEST}).to_string().into_bytes(),
            deadline: settings.deadline,
            turn: None,
        };
        let said = match call.run().await {
            // It is older than the question.
            Err(Error::Plugin { msg, .. }) if msg == "unknown CNI_COMMAND: VERSION" => {
                return Ok(vec![Version::V0_1_0]);
            }
            said => said?,
        };
        let versions: Versions = serde_json::from_slice(&said).map_err(|error| Error::Garbage {
            plugin: plugin.to_owned(),
            command,
            reason: format!("its versions cannot be read: {error}"),
            said: excerpt(&said),
        })?;
        let mut known: Vec<_> =
            versions.supported.iter().filter_map(|v| Version::find(v)).collect();
        known.sort();
        known.dedup();
        Ok(known)
    }

    /// Whether all plugins of a network are there and know its version.
    ///
    /// # Errors
    /// [`Error::Versions`]; as [`Engine::version`].
    pub async fn validate(&self, network: &Network) -> Result<(), Error> {
        for plugin in network.plugins() {
            let known = self.version(plugin).await?;
            if !known.contains(&network.version) {
                let (network, version) = (network.name.clone(), network.version);
                return Err(Error::Versions { network, plugin: plugin.to_owned(), version, known });
            }
        }
        Ok(())
    }
}
