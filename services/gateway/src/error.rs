//! What the gateway itself cannot do. A call to a service fails with its channel's status.

use std::io;
use std::path::PathBuf;

use berth_errors::{Code, Coded};

/// Every failure that the gateway itself answers with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No service of that name is part of the node.
    #[error("unknown service {0}")]
    UnknownService(String),
    /// The path is not `/service/method`.
    #[error("malformed method name {0:?}: a path is /SERVICE/METHOD")]
    MalformedPath(String),
    /// The node is part of no cluster.
    #[error(
        "this node is part of no cluster: set [cluster.etcd] endpoints in its configuration and start it again: not implemented"
    )]
    NoCluster,
    /// The node serves no kubelets.
    #[error(
        "this node serves no kubelets: set [cri] enabled = true in its configuration and start it again: not implemented"
    )]
    NoCri,
    /// The gateway's own socket.
    #[error("{step} {}", path.display())]
    Socket {
        /// What was tried.
        step: &'static str,
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// systemd listens somewhere else.
    #[error(
        "systemd listens on {listens} for the gateway, and `address` is {address:?}: set one of them (ListenStream=, --address) as the other"
    )]
    Elsewhere {
        /// What systemd passed.
        listens: String,
        /// As configured.
        address: PathBuf,
    },
    /// What systemd passed cannot be used, or what was to be told could not be put together.
    #[error(transparent)]
    Lifecycle(#[from] berth_lifecycle::Error),
    /// The address for clients over TCP.
    #[error("listen on gateway.tcp.address {address:?}")]
    Tcp {
        /// As configured.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The address for those who watch over the node.
    #[error("listen on metrics.address {address:?}")]
    Observers {
        /// As configured.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] berth_tls::Error),
    /// The socket could not be bound.
    #[error(transparent)]
    Grpc(#[from] berth_grpc::Error),
    /// The identity of the server cannot be read.
    #[error("read the pid namespace from {path}")]
    PidNamespace {
        /// The link.
        path: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A plugin that has to be there cannot be used.
    #[error("load required plugin {id}: {why}")]
    Required {
        /// The plugin.
        id: String,
        /// As it says itself.
        why: String,
    },
    /// Plugins that have to be there are not.
    #[error("required plugin [{0}] not included")]
    NotIncluded(String),
    /// Whether those are there that are missing so far is not known.
    #[error(
        "ask {service} for required plugins ({missing}): {why}: see `journalctl -u berth` for why it is down"
    )]
    Silent {
        /// Who does not answer.
        service: String,
        /// What nobody else has.
        missing: String,
        /// As it was found.
        why: String,
    },
    /// A filter does not parse.
    #[error(transparent)]
    Filter(#[from] berth_filters::Error),
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Self::UnknownService(_) | Self::MalformedPath(_) | Self::NoCluster | Self::NoCri => {
                Code::Unimplemented
            }
            Self::Socket { source, .. }
            | Self::Tcp { source, .. }
            | Self::Observers { source, .. }
            | Self::PidNamespace { source, .. } => berth_errors::code_of_io(source),
            Self::Elsewhere { .. } | Self::Required { .. } | Self::NotIncluded(_) => {
                Code::FailedPrecondition
            }
            Self::Silent { .. } => Code::Unavailable,
            Self::Certificate(error) => error.code(),
            Self::Grpc(error) => error.code(),
            Self::Lifecycle(error) => error.code(),
            Self::Filter(error) => error.code(),
        }
    }
}
