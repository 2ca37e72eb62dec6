//! Plugins without which a node does not start.

use std::time::Duration;

use berth_config::{Config, Service};
use berth_lifecycle::Tasks;

use crate::Error;
use crate::api::introspection;
use crate::peers::SERVICE;
use crate::upstreams::{Upstream, Upstreams};

/// How long the services may take, all together, to start and say what they have.
const START: Duration = Duration::from_secs(30);

/// Looks whether all plugins that the configuration requires are there. Returns at once if it
/// requires none.
///
/// # Errors
/// [`Error::Required`] or [`Error::NotIncluded`], in containerd's words; [`Error::Silent`] when one may
/// be a service's that does not answer.
pub async fn check(config: &Config, tasks: &Tasks) -> Result<(), Error> {
    check_within(config, tasks, START).await
}

/// As [`check`], for those who have less time.
///
/// # Errors
/// As [`check`].
pub async fn check_within(config: &Config, tasks: &Tasks, within: Duration) -> Result<(), Error> {
    let required = &config.gateway.required_plugins;
    if required.is_empty() {
        return Ok(());
    }
    let upstreams = Upstreams::new(config, within, tasks);
    // No node waits for what it can be without, unless it is to have it.
    let cri = required.iter().any(|id| introspection::is_of_cri(id));
    let cri = upstreams.of(Service::Cri).ok().filter(|_| cri).map(Upstream::needed);
    let asked = upstreams.all().chain(&cri);
    let plugins = introspection::of(asked, &config.plugins(), within).await;
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
    let missing = missing.join(" ");
    let mut services = plugins.into_iter().filter(|plugin| plugin.r#type == SERVICE);
    let silent = services.find_map(|service| Some((service.id, service.init_err?.message)));
    Err(match silent {
        Some((service, why)) => Error::Silent { service, missing, why },
        None => Error::NotIncluded(missing),
    })
}
