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
    /// The socket of clients.
    Gateway,
}

impl Service {
    /// Every service, in the order in which they are started.
    pub const ALL: [Service; 4] =
        [Service::Distribution, Service::Bundle, Service::Runtime, Service::Gateway];

    /// Its name, of folders and sockets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Distribution => "distribution",
            Service::Bundle => "bundle",
            Service::Runtime => "runtime",
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
            Service::Gateway => "berth-gateway",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Config {
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
