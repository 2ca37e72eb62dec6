//! The crate's one error enum.

use std::time::Duration;

use berth_errors::{Code, Coded, chain};

/// What the domain of this service answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the cluster service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name of a node or cluster is not allowed.
    #[error(
        "{what} name {text:?}: letters, digits, \"-\", \".\" and \"_\" between a letter or digit at both ends, at most 63: invalid argument"
    )]
    Name {
        /// Node or cluster.
        what: &'static str,
        /// The text, cut.
        text: String,
    },
    /// Something a node holds cannot be a key.
    #[error("{kind} {name:?} is not published: {why}: invalid argument")]
    Unpublishable {
        /// Its kind.
        kind: &'static str,
        /// Its name, cut.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// Something in etcd is not what berth writes there.
    #[error("key {key:?} in etcd: {why}: data loss")]
    Unreadable {
        /// The key, cut.
        key: String,
        /// What is wrong with it.
        why: String,
    },

    /// Etcd was not reached, or did not answer.
    #[error(
        "{step} at etcd {endpoints}: {reason}: see that etcd serves there and is reachable from this node: unavailable"
    )]
    Away {
        /// What was to be done.
        step: &'static str,
        /// As configured.
        endpoints: String,
        /// What the client said, or how long was waited.
        reason: String,
        /// It was asked, or may have been, and gave no answer; otherwise nobody was there to be asked.
        asked: bool,
    },
    /// Etcd refused who we are or what we may do.
    #[error(
        "{step} at etcd {endpoints}: {reason}: check [cluster.etcd] and the role's rights on the cluster's prefix: permission denied"
    )]
    Forbidden {
        /// What was to be done.
        step: &'static str,
        /// As configured.
        endpoints: String,
        /// What etcd said.
        reason: String,
    },
    /// Etcd has no space left.
    #[error(
        "{step} at etcd: {reason}: compact and defragment etcd, then `etcdctl alarm disarm`: resource exhausted"
    )]
    NoSpace {
        /// What was to be done.
        step: &'static str,
        /// What etcd said.
        reason: String,
    },
    /// The revision asked for is not kept any more.
    #[error(
        "revision {asked} was compacted away, the oldest left is {oldest}: list again: out of range"
    )]
    Compacted {
        /// What was asked for.
        asked: i64,
        /// What there is, 0 if etcd does not say.
        oldest: i64,
    },
    /// The revision asked for is of another history than etcd's.
    #[error(
        "revision {asked} is ahead of etcd, which has {newest}: its data was lost, or it is another cluster: list again: out of range"
    )]
    Ahead {
        /// What was asked for.
        asked: i64,
        /// What there is.
        newest: i64,
    },
    /// A watch was read too slowly.
    #[error(
        "the watch fell {behind} changes behind what is kept: watch again from revision {resume}: resource exhausted"
    )]
    Behind {
        /// How many it lost.
        behind: u64,
        /// Where it was.
        resume: i64,
    },
    /// The lease is gone.
    #[error("lease {0:x} is gone at etcd: not found")]
    LeaseGone(i64),
    /// Etcd answered in a way that fits nothing above.
    #[error("{step} at etcd: {reason}: unknown")]
    Etcd {
        /// What was to be done.
        step: &'static str,
        /// What it said.
        reason: String,
    },
    /// Another node has the name.
    #[error(
        "node {node:?} is registered from {address:?} (uuid {uuid:?}): give this one another name, or end that one: already exists"
    )]
    Taken {
        /// The name.
        node: String,
        /// Where the other one is.
        address: String,
        /// Who it is.
        uuid: String,
    },
    /// The registration is not ours any more.
    #[error("the registration of node {0:?} was lost: it is made again: aborted")]
    Displaced(String),

    /// A service of this node does not say what it holds.
    #[error("{step} of {service}: {reason}: unavailable")]
    Service {
        /// Which.
        service: &'static str,
        /// What was asked.
        step: &'static str,
        /// What came of it.
        reason: String,
    },
    /// A view is not there in time.
    #[error("the view of {kind} was not read from etcd within {waited:?}: {reason}: unavailable")]
    NoView {
        /// Of what.
        kind: &'static str,
        /// How long a caller waits.
        waited: Duration,
        /// What is in the way.
        reason: String,
    },
    /// A filter expression does not parse.
    #[error(transparent)]
    Filter(#[from] berth_filters::Error),
    /// A request that cannot be right.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// There is no such node.
    #[error(
        "node {0:?} is not in the cluster: `berth cluster nodes` lists those that are: not found"
    )]
    NoNode(String),
    /// A node cannot be asked about itself.
    #[error("node {node:?} at {address:?}: {reason}: unavailable")]
    Peer {
        /// Whom.
        node: String,
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// An object that another node has sent is not what berth sends.
    #[error("object {name:?} of node {node:?}: {why}: data loss")]
    Malformed {
        /// Whose it is said to be, cut.
        node: String,
        /// Its name, cut; empty for a node.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A node was asked about another one.
    #[error("this is node {own:?}, not {asked:?}: failed precondition")]
    OtherNode {
        /// Who was meant.
        asked: String,
        /// Who it is.
        own: String,
    },
    /// The address for other nodes.
    #[error("listen on cluster.peer.address {address:?}")]
    Listen {
        /// As configured.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// As many as there is room for are there already.
    #[error("{0}: resource exhausted")]
    TooMany(String),
    /// A certificate or key cannot be used.
    #[error("{what}: {reason}: failed precondition")]
    Certificate {
        /// Which.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl From<berth_tls::Error> for Error {
    fn from(error: berth_tls::Error) -> Self {
        let (what, reason) = (error.to_string(), chain(&*error.source));
        Error::Certificate { what, reason }
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Name { .. } | Error::Unpublishable { .. } | Error::Invalid(_) => {
                Code::InvalidArgument
            }
            Error::Filter(error) => error.code(),
            Error::Unreadable { .. } | Error::Malformed { .. } => Code::DataLoss,
            Error::Away { .. }
            | Error::Service { .. }
            | Error::NoView { .. }
            | Error::Peer { .. } => Code::Unavailable,
            Error::Forbidden { .. } => Code::PermissionDenied,
            Error::NoSpace { .. } | Error::TooMany(_) | Error::Behind { .. } => {
                Code::ResourceExhausted
            }
            Error::Compacted { .. } | Error::Ahead { .. } => Code::OutOfRange,
            Error::LeaseGone(_) | Error::NoNode(_) => Code::NotFound,
            Error::Etcd { .. } => Code::Unknown,
            Error::Taken { .. } => Code::AlreadyExists,
            Error::Displaced(_) => Code::Aborted,
            Error::Listen { source, .. } => berth_errors::code_of_io(source),
            Error::Certificate { .. } | Error::OtherNode { .. } => Code::FailedPrecondition,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_node_says_of_itself_is_told_on_one_line() {
        let (address, uuid) = ("a\n:1\u{1b}[2J".to_owned(), "u\r".to_owned());
        let text = Error::Taken { node: "n".into(), address, uuid }.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
