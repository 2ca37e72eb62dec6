//! The services behind the gateway.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_config::Service;
use berth_lifecycle::Tasks;

use crate::upstream::Upstream;

/// One upstream for each service.
#[derive(Clone, Debug)]
pub struct Upstreams {
    distribution: Arc<Upstream>,
    bundle: Arc<Upstream>,
    runtime: Arc<Upstream>,
}

impl Upstreams {
    /// The services on the sockets that `socket` tells.
    pub fn new(socket: impl Fn(Service) -> PathBuf, wait: Duration, tasks: &Tasks) -> Self {
        let upstream = |service| Arc::new(Upstream::new(service, socket(service), wait, tasks));
        Self {
            distribution: upstream(Service::Distribution),
            bundle: upstream(Service::Bundle),
            runtime: upstream(Service::Runtime),
        }
    }

    /// The upstream of a service. The gateway is none: no route leads from it to itself.
    #[must_use]
    pub fn of(&self, service: Service) -> &Arc<Upstream> {
        match service {
            Service::Distribution => &self.distribution,
            Service::Bundle => &self.bundle,
            Service::Runtime | Service::Gateway => &self.runtime,
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        [&self.distribution, &self.bundle, &self.runtime].into_iter()
    }
}
