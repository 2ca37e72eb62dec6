//! The services behind the gateway, and the two lanes to each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::Service;
use berth_grpc::{Channel, Settings};
use berth_lifecycle::Tasks;

use crate::route::Lane;
use crate::window::WINDOW;

/// One upstream for each service.
#[derive(Clone, Debug)]
pub struct Upstreams {
    distribution: Upstream,
    bundle: Upstream,
    runtime: Upstream,
}

/// One service, on a connection for each lane.
#[derive(Clone, Debug)]
pub struct Upstream {
    name: &'static str,
    calls: Channel,
    bulk: Channel,
}

impl Upstreams {
    /// The services on the sockets that `socket` tells. A call waits for one that is away no longer
    /// than `wait`.
    pub fn new(socket: impl Fn(Service) -> PathBuf, wait: Duration, tasks: &Tasks) -> Self {
        let upstream = |service| Upstream::new(service, &socket(service), wait, tasks);
        Self {
            distribution: upstream(Service::Distribution),
            bundle: upstream(Service::Bundle),
            runtime: upstream(Service::Runtime),
        }
    }

    /// The upstream of a service. The gateway is none: no route leads from it to itself.
    #[must_use]
    pub fn of(&self, service: Service) -> &Upstream {
        match service {
            Service::Distribution => &self.distribution,
            Service::Bundle => &self.bundle,
            Service::Runtime | Service::Gateway => &self.runtime,
        }
    }

    /// How long calls that come from now on wait for a service that is away.
    pub fn set_wait(&self, wait: Duration) {
        let channels = self.all().flat_map(|upstream| [&upstream.calls, &upstream.bulk]);
        channels.for_each(|channel| channel.set_wait(wait));
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Upstream> {
        [&self.distribution, &self.bundle, &self.runtime].into_iter()
    }
}

impl Upstream {
    fn new(service: Service, socket: &Path, wait: Duration, tasks: &Tasks) -> Self {
        let name = service.binary();
        let channel = || {
            let (service, tasks) = (name.into(), Some(tasks.clone()));
            let tuning = WINDOW;
            Channel::new(socket, Settings { service, wait, tuning, tasks, ..Settings::of(socket) })
        };
        Self { name, calls: channel(), bulk: channel() }
    }

    /// The process's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The channel of a lane.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> &Channel {
        match lane {
            Lane::Calls => &self.calls,
            Lane::Bulk => &self.bulk,
        }
    }

    /// The channel of small calls, which the gateway's own are.
    #[must_use]
    pub fn calls(&self) -> &Channel {
        &self.calls
    }
}
