//! The folders and sockets that follow from `root`, `state` and `address`.

use std::fmt;
use std::path::PathBuf;

use crate::Config;

/// One of the services of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Blobs, images, namespaces, leases.
    Distribution,
    /// Snapshots and mounts.
    Bundle,
    /// Containers, tasks, sandboxes.
    Runtime,
    /// The node shown to its cluster, and the cluster to the node.
    Cluster,
    /// What kubelets call.
    Cri,
    /// The socket of clients.
    Gateway,
}

impl Service {
    /// Every service there is, in the order in which they are started. [`Config::services`] has those of a
    /// node.
    pub const ALL: [Service; 6] = [
        Service::Distribution,
        Service::Bundle,
        Service::Runtime,
        Service::Cluster,
        Service::Cri,
        Service::Gateway,
    ];

    /// Its name, of folders and sockets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Distribution => "distribution",
            Service::Bundle => "bundle",
            Service::Runtime => "runtime",
            Service::Cluster => "cluster",
            Service::Cri => "cri",
            Service::Gateway => "gateway",
        }
    }

    /// The file name of its program.
    #[must_use]
    pub fn binary(self) -> &'static str {
        match self {
            Service::Distribution => "berth-distribution",
            Service::Bundle => "berth-bundle",
            Service::Runtime => "berth-runtime",
            Service::Cluster => "berth-cluster",
            Service::Cri => "berth-cri",
            Service::Gateway => "berth-gateway",
        }
    }

    /// Whether the node is one without it. All others do their work, and clients theirs, when it is away.
    #[must_use]
    pub fn is_optional(self) -> bool {
        matches!(self, Service::Cluster | Service::Cri)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Config {
    /// The services of this node, in the order in which they are started.
    pub fn services(&self) -> impl Iterator<Item = Service> + use<> {
        let (cluster, cri) = (self.cluster_is_on(), self.cri.enabled);
        Service::ALL.into_iter().filter(move |service| match service {
            Service::Cluster => cluster,
            Service::Cri => cri,
            _ => true,
        })
    }

    /// The socket on which a service answers.
    #[must_use]
    pub fn socket(&self, service: Service) -> PathBuf {
        match service {
            Service::Gateway => self.address.clone(),
            _ => self.state.join(format!("{service}.sock")),
        }
    }

    /// The socket on which distribution hands over blob descriptors.
    #[must_use]
    pub fn fd_socket(&self) -> PathBuf {
        self.state.join("distribution.fd.sock")
    }

    /// The folder of what a service must keep over a reboot.
    #[must_use]
    pub fn service_root(&self, service: Service) -> PathBuf {
        self.root.join(service.name())
    }

    /// The folder of what a service must not keep over a reboot.
    #[must_use]
    pub fn service_state(&self, service: Service) -> PathBuf {
        self.state.join(service.name())
    }

    /// The file of a service's store.
    #[must_use]
    pub fn store(&self, service: Service) -> PathBuf {
        self.service_root(service).join(format!("{service}.redb"))
    }
}
