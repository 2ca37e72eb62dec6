//! Plugins without which a node must not serve.

use std::time::Duration;

use berth_config::Config;
use berth_lifecycle::Tasks;

use crate::Error;
use crate::api::introspection;
use crate::upstreams::Upstreams;

/// How long the services may take to start before what they have counts as missing.
const START: Duration = Duration::from_secs(30);

/// Looks whether all plugins that the configuration requires are there. Returns at once if it
/// requires none.
///
/// # Errors
/// [`Error::Required`] or [`Error::NotIncluded`], in containerd's words.
pub async fn check(config: &Config, tasks: &Tasks) -> Result<(), Error> {
    let required = &config.gateway.required_plugins;
    if required.is_empty() {
        return Ok(());
    }
    let upstreams = Upstreams::new(|service| config.socket(service), START, tasks);
    for upstream in upstreams.all() {
        if let Err(error) = upstream.calls().connect(START).await {
            tracing::error!(service = upstream.name(), %error, "ask what there is");
        }
    }
    let plugins = introspection::all(&upstreams).await;
    let mut missing = Vec::new();
    for id in required {
        let is_it = |plugin: &&_| introspection::uri(plugin) == *id;
        match plugins.iter().find(is_it).map(|plugin| &plugin.init_err) {
            Some(None) => {}
            Some(Some(why)) => {
                return Err(Error::Required { id: id.clone(), why: why.message.clone() });
            }
            None => missing.push(id.as_str()),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NotIncluded(missing.join(" ")))
}
