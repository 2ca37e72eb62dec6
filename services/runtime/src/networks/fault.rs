//! What goes wrong with networks, and the code that a caller sees.

use std::io;
use std::path::PathBuf;

use berth_errors::{Code, Coded, code_of_io};

/// A refusal or a failure of something with a network.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No network of this name.
    #[error("network {0:?}: not found")]
    NoNetwork(String),
    /// Pods have no network.
    #[error("no network for pods: {0}: failed precondition")]
    NoPods(String),
    /// The name of a network is taken.
    #[error("network {name:?} is configured by {file}: already exists", file = file.display())]
    Exists {
        /// The name.
        name: String,
        /// Whose it is.
        file: PathBuf,
    },
    /// A network that was not made here.
    #[error(
        "network {name:?} was not made here but is configured by {file}: failed precondition",
        file = file.display()
    )]
    NotOwn {
        /// The name.
        name: String,
        /// Whose it is.
        file: PathBuf,
    },
    /// Something is attached to it.
    #[error("network {name:?} is used by {by}: failed precondition")]
    InUse {
        /// The network.
        name: String,
        /// Some of what is attached.
        by: String,
    },
    /// There are as many as there may be.
    #[error("there are {0} networks that were made here, and no more may be: resource exhausted")]
    TooMany(usize),
    /// A subnet that something else uses.
    #[error("subnet {subnet} overlaps {by}: failed precondition")]
    SubnetTaken {
        /// What was asked for.
        subnet: String,
        /// What is there.
        by: String,
    },
    /// No part of the pools is free.
    #[error("no {version} subnet is free in network.pools ({pools}): resource exhausted")]
    NoSubnet {
        /// Of which kind.
        version: &'static str,
        /// The pools.
        pools: String,
    },
    /// Something else is attached under this name.
    #[error("{id} is attached already, with other {what}: already exists")]
    Differs {
        /// The container or sandbox.
        id: String,
        /// In which the two differ.
        what: String,
    },
    /// A network does not do what is asked of it.
    #[error("network {network:?} has no plugin for {what}: failed precondition")]
    Lacks {
        /// The network.
        network: String,
        /// What is asked.
        what: &'static str,
    },
    /// A port of the machine leads somewhere else.
    #[error("port {port}/{protocol} of the machine leads to {by}: failed precondition")]
    PortTaken {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: String,
        /// Who has it.
        by: String,
    },
    /// It was detached while it was being attached.
    #[error("{0} was detached meanwhile: aborted")]
    Detached(String),
    /// A network's plugins did not attach it. Nothing of it is left, or a job undoes it.
    #[error("attach {id} to network {network:?}: {source}")]
    Attach {
        /// The container or sandbox.
        id: String,
        /// The network.
        network: String,
        /// What the plugin said.
        #[source]
        source: Box<berth_cni::Error>,
    },
    /// Something could not be undone. It is tried again.
    #[error("detach {id}: {trouble}")]
    Detach {
        /// The container or sandbox.
        id: String,
        /// All that was said.
        trouble: String,
        /// The first one's.
        code: Code,
    },
    /// The records of plugins, or their leftovers.
    #[error(transparent)]
    Plugins(#[from] Box<berth_cni::Error>),
    /// A network namespace.
    #[error(transparent)]
    Namespace(#[from] berth_netns::Error),
    /// A file or a device.
    #[error("{step} {path}", path = path.display())]
    File {
        /// What was done, a verb.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Work was cut off.
    #[error(transparent)]
    Cut(#[from] berth_lifecycle::Error),
}

impl Fault {
    /// For `map_err`: what was done with a file.
    pub(super) fn file(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Fault::File { step, path, source }
    }
}

impl Coded for Fault {
    fn code(&self) -> Code {
        match self {
            Fault::NoNetwork(_) => Code::NotFound,
            Fault::NoPods(_)
            | Fault::NotOwn { .. }
            | Fault::InUse { .. }
            | Fault::SubnetTaken { .. }
            | Fault::Lacks { .. }
            | Fault::PortTaken { .. } => Code::FailedPrecondition,
            Fault::Exists { .. } | Fault::Differs { .. } => Code::AlreadyExists,
            Fault::TooMany(_) | Fault::NoSubnet { .. } => Code::ResourceExhausted,
            Fault::Detached(_) => Code::Aborted,
            Fault::Attach { source, .. } | Fault::Plugins(source) => source.code(),
            Fault::Detach { code, .. } => *code,
            Fault::Namespace(error) => error.code(),
            Fault::File { source, .. } => code_of_io(source),
            Fault::Cut(error) => error.code(),
        }
    }
}
