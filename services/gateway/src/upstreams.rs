//! The services behind the gateway, and the two lanes to each.

use std::path::Path;
use std::time::Duration;

use berth_config::{Config, Service};
use berth_grpc::{Channel, Settings};
use berth_lifecycle::Tasks;

use crate::Error;
use crate::route::Lane;
use crate::window::WINDOW;

/// One upstream for each service.
#[derive(Clone, Debug)]
pub struct Upstreams {
    distribution: Upstream,
    bundle: Upstream,
    runtime: Upstream,
    cluster: Option<Upstream>,
    cri: Option<Upstream>,
}

/// One service, on a connection for each lane.
#[derive(Clone, Debug)]
pub struct Upstream {
    name: &'static str,
    /// The node works without it.
    optional: bool,
    calls: Channel,
    bulk: Channel,
}

impl Upstreams {
    /// The services of a node. A call waits for one that is away no longer than `wait`.
    #[must_use]
    pub fn new(config: &Config, wait: Duration, tasks: &Tasks) -> Self {
        let upstream = |service| Upstream::new(service, &config.socket(service), wait, tasks);
        Self {
            distribution: upstream(Service::Distribution),
            bundle: upstream(Service::Bundle),
            runtime: upstream(Service::Runtime),
            cluster: config.cluster_is_on().then(|| upstream(Service::Cluster)),
            cri: config.cri.enabled.then(|| upstream(Service::Cri)),
        }
    }

    /// The upstream of a service.
    ///
    /// # Errors
    /// [`Error::NoCluster`] and [`Error::NoCri`] for one that the node does not have. The gateway is none, either:
    /// no route leads from it to itself.
    pub fn of(&self, service: Service) -> Result<&Upstream, Error> {
        match service {
            Service::Distribution => Ok(&self.distribution),
            Service::Bundle => Ok(&self.bundle),
            Service::Runtime | Service::Gateway => Ok(&self.runtime),
            Service::Cluster => self.cluster.as_ref().ok_or(Error::NoCluster),
            Service::Cri => self.cri.as_ref().ok_or(Error::NoCri),
        }
    }

    /// Distribution.
    #[must_use]
    pub fn distribution(&self) -> &Upstream {
        &self.distribution
    }

    /// Bundle.
    #[must_use]
    pub fn bundle(&self) -> &Upstream {
        &self.bundle
    }

    /// Runtime.
    #[must_use]
    pub fn runtime(&self) -> &Upstream {
        &self.runtime
    }

    /// How long calls that come from now on wait for a service that is away.
    pub fn set_wait(&self, wait: Duration) {
        let channels = self.there().flat_map(|upstream| [&upstream.calls, &upstream.bulk]);
        channels.for_each(|channel| channel.set_wait(wait));
    }

    /// Those that it is no node without.
    pub fn all(&self) -> impl Iterator<Item = &Upstream> {
        [&self.distribution, &self.bundle, &self.runtime].into_iter()
    }

    /// Those, and what there is beside.
    pub fn there(&self) -> impl Iterator<Item = &Upstream> {
        self.all().chain(&self.cluster).chain(&self.cri)
    }
}

/// How long the node's own questions wait for what the node can be without, and which may be away for long.
const BRIEFLY: Duration = Duration::from_millis(300);

impl Upstream {
    fn new(service: Service, socket: &Path, wait: Duration, tasks: &Tasks) -> Self {
        let name = service.binary();
        let channel = || {
            let (service, tasks) = (name.into(), Some(tasks.clone()));
            let tuning = WINDOW;
            Channel::new(socket, Settings { service, wait, tuning, tasks, ..Settings::of(socket) })
        };
        Self { name, optional: service.is_optional(), calls: channel(), bulk: channel() }
    }

    /// The same, by somebody who cannot do without it.
    #[must_use]
    pub fn needed(&self) -> Self {
        Self { optional: false, ..self.clone() }
    }

    /// The process's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How long a question about the node may wait for this service's part of the answer.
    #[must_use]
    pub fn within(&self, usual: Duration) -> Duration {
        if self.optional { usual.min(BRIEFLY) } else { usual }
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
