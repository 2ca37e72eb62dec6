//! What of the configuration counts at once when it is read again.
//!
//! Another address is listened at before the earlier one is left, so that one that is taken leaves
//! everything as it was. Connections that are there go on to their end.

use std::net::SocketAddr;
use std::sync::Arc;

use berth_config::{Config, Tcp};
use berth_lifecycle::Tasks;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::front::{Front, Messages};
use crate::observe::Observers;
use crate::tcp::Secured;
use crate::upstreams::Upstreams;

/// The parts that can be changed, each by itself.
pub struct Live {
    /// How many clients, and how long they wait.
    pub bounds: Bounds,
    /// Where the node is watched.
    pub observed: Observed,
    /// Clients over TCP.
    pub over_tcp: OverTcp,
    /// The connections to the services.
    pub upstream: Tasks,
}

/// How many connections of clients there may be, and how long their calls wait for a service.
pub struct Bounds {
    pub(crate) front: Arc<Front>,
    pub(crate) upstreams: Upstreams,
}

impl Bounds {
    /// The keys that [`Bounds::apply`] puts into force.
    pub const APPLIES: &[&str] = &["gateway.max_connections", "gateway.wait"];

    /// Puts them into force.
    pub fn apply(&self, config: &Config) {
        self.front.set_max_connections(config.gateway.max_connections);
        self.upstreams.set_wait(*config.gateway.wait);
    }
}

/// The address for those who watch over the node, if there is one.
pub struct Observed {
    upstreams: Upstreams,
    tasks: Tasks,
    open: Option<Watched>,
}

struct Watched {
    /// As configured.
    at: String,
    address: Option<SocketAddr>,
    stop: CancellationToken,
}

impl Observed {
    /// The key that [`Observed::at`] puts into force.
    pub const APPLIES: &[&str] = &["metrics.address"];

    pub(crate) fn new(upstreams: Upstreams, tasks: Tasks) -> Self {
        Self { upstreams, tasks, open: None }
    }

    /// Listens at `address` instead, or nowhere if that is empty.
    ///
    /// # Errors
    /// [`Error::Observers`] when it is taken, or none; then the earlier one stays.
    pub fn at(&mut self, address: &str) -> Result<(), Error> {
        if self.open.as_ref().map_or("", |open| &open.at) == address {
            return Ok(());
        }
        let next = if address.is_empty() {
            tracing::info!("metrics and health are not told any more");
            None
        } else {
            let observers = Observers::bind(address, self.upstreams.clone())?;
            let at = observers.address();
            tracing::info!(address = ?at, "metrics and health");
            let stop = self.tasks.token().child_token();
            self.tasks.spawn("observers", observers.serve(stop.clone(), self.tasks.clone()));
            Some(Watched { at: address.to_owned(), address: at, stop })
        };
        if let Some(earlier) = std::mem::replace(&mut self.open, next) {
            earlier.stop.cancel();
        }
        Ok(())
    }

    /// Where it listens, which a port of 0 leaves to the kernel.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref()?.address
    }
}

/// The address for clients over TCP, if there is one.
pub struct OverTcp {
    front: Arc<Front>,
    tasks: Tasks,
    open: Option<Open>,
}

struct Open {
    tcp: Tcp,
    secured: Arc<Secured>,
    stop: CancellationToken,
}

impl OverTcp {
    /// The table that [`OverTcp::at`] puts into force.
    pub const APPLIES: &[&str] = &["gateway.tcp"];

    /// Of clients that `front` answers. Nowhere yet.
    #[must_use]
    pub fn new(front: Arc<Front>, tasks: Tasks) -> Self {
        Self { front, tasks, open: None }
    }

    /// Listens as `tcp` says instead, or nowhere.
    ///
    /// # Errors
    /// [`Error::Tcp`] and [`Error::Certificate`]; then everything stays.
    pub fn at(&mut self, tcp: Option<&Tcp>) -> Result<(), Error> {
        if self.open.as_ref().map(|open| &open.tcp) == tcp {
            return Ok(());
        }
        let next = match (tcp, &self.open) {
            (Some(tcp), Some(open)) if open.tcp.address == tcp.address => {
                open.secured.show(tcp)?;
                Some(self.accept(open.secured.clone(), tcp))
            }
            (Some(tcp), _) => {
                let secured = Arc::new(Secured::bind(tcp)?);
                tracing::info!(address = ?secured.address().ok(), "clients over TCP");
                Some(self.accept(secured, tcp))
            }
            (None, _) => {
                tracing::info!("no clients over TCP any more");
                None
            }
        };
        if let Some(earlier) = std::mem::replace(&mut self.open, next) {
            earlier.stop.cancel();
        }
        Ok(())
    }

    /// Where it listens, which a port of 0 leaves to the kernel.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref()?.secured.address().ok()
    }

    fn accept(&self, secured: Arc<Secured>, tcp: &Tcp) -> Open {
        let (tasks, stop) = (self.tasks.clone(), self.tasks.token().child_token());
        let messages = Messages::new(tcp.max_recv_message_size, tcp.max_send_message_size);
        let accepting = self.front.clone().accept(secured.clone(), messages, stop.clone(), tasks);
        self.tasks.spawn("accept-tcp", accepting);
        Open { tcp: tcp.clone(), secured, stop }
    }
}
