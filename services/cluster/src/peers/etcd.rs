//! Etcd, as this service uses it: bounded, with a deadline on every answer, errors told apart.
//!
//! Owns: the client, its reconnects, certificates and credentials; which of etcd's answers means what. Must
//! not know: what keys and values mean.
//!
//! | file | what is there |
//! |---|---|
//! | `connect` | one connection to one member: certificates, passwords |
//! | `calls`, `patience` | which member is asked, how long, and who is asked next |
//! | `faults` | what etcd's errors mean |
//! | `reads`, `writes`, `leases` | the questions |
//! | `watch` | changes as they come |
//!
//! Nothing here makes a watch or a lease again that is lost. Who holds a [`Watch`] or keeps a lease alive
//! does ([`crate::view`], [`crate::session`]).

mod calls;
mod connect;
mod faults;
mod leases;
mod patience;
mod reads;
mod watch;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::ResponseHeader;
use etcd_client::proto::PbKeyValue;

pub use watch::Watch;

use calls::Members;
use faults::Fault;

use crate::Result;

/// How long an answer is waited for, at first: longer, by and by, where answers come late (`patience`).
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of one answer. etcd takes values of 1.5 MiB unless it is told otherwise, and cuts what a watch
/// tells into parts of 2 MiB.
pub const MAX_ANSWER: usize = 8 << 20;

/// A connection to the configured etcd. Clones share it.
///
/// One member is asked as long as it answers, by a connection of its own, and then another one, so that a
/// member that is stopped or cut off costs one wait. What may be asked twice is, at another member, within
/// [`PATIENCE`].
#[derive(Clone)]
pub struct Etcd {
    members: Arc<Members>,
}

/// Where etcd is, and who we are there.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `http://HOST:PORT` or `https://HOST:PORT`, one for each member.
    pub endpoints: Vec<String>,
    /// The authorities that etcd's certificate must be from (PEM). Without it and with `https`: the machine's.
    pub ca: Option<std::path::PathBuf>,
    /// What etcd is shown (PEM), with `key`.
    pub cert: Option<std::path::PathBuf>,
    /// Of `cert` (PEM).
    pub key: Option<std::path::PathBuf>,
    /// The name that etcd's certificate must be for, if not the endpoint's host.
    pub server_name: Option<String>,
    /// The user to authenticate as.
    pub user: Option<String>,
    /// A file with the user's password, a line end at its end apart.
    pub password_file: Option<std::path::PathBuf>,
    /// A key that the user may read, whether it is there or not: asked for the newest revision.
    pub probe: String,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision of its last change.
    pub modified: i64,
    /// What it is attached to; 0: nothing.
    pub lease: i64,
}

impl Entry {
    fn of(pair: PbKeyValue) -> Self {
        let PbKeyValue { key, value, mod_revision: modified, lease, .. } = pair;
        Self { key: key.into(), value: value.into(), modified, lease }
    }
}

/// What etcd says of itself with every answer.
///
/// An etcd that has lost its data and was made again in the same way has the same number, and lower revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Another number is another cluster, whose revisions mean nothing here.
    pub cluster: u64,
    /// The newest revision.
    pub revision: i64,
}

impl Seen {
    fn of(header: Option<&ResponseHeader>) -> Result<Self, Fault> {
        let header = header.ok_or_else(|| Fault::Odd("an answer has no header".into()))?;
        Ok(Self { cluster: header.cluster_id(), revision: header.revision() })
    }
}

/// A part of a prefix.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// There are more after the last of them.
    pub more: bool,
    /// As of when it was read, or of now if an earlier revision was asked for.
    pub seen: Seen,
}

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(Entry),
    /// It is gone since `modified`; `previous` is what it was, where that was asked for and is known.
    Deleted {
        /// The key.
        key: Bytes,
        /// When.
        modified: i64,
        /// What it was.
        previous: Option<Entry>,
    },
}

/// What a watch has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Changes in order; all up to and with revision `whole` have been told now.
    Changes {
        /// The changes.
        changes: Vec<Change>,
        /// Nothing of it or before is missing.
        whole: i64,
    },
    /// Etcd is there. It may say a revision whose changes are still to be told.
    Alive(Seen),
}

/// A write: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Under a lease.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Bytes,
        /// What it goes with.
        lease: i64,
    },
    /// Away with it; it is no error when it is not there.
    Delete {
        /// The key.
        key: String,
    },
}

/// What must be so for a write to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum If {
    /// There is no such key.
    Absent(String),
    /// The key was last changed at this revision.
    Unchanged(String, i64),
}

/// What became of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made, at this revision.
    Made(i64),
    /// It was not; this is what is at the key of the condition.
    Refused(Option<Entry>),
}

impl Etcd {
    /// Connects and authenticates. Succeeds only when etcd has answered.
    ///
    /// # Errors
    /// [`crate::Error::Away`], [`crate::Error::Forbidden`], [`crate::Error::Certificate`];
    /// [`crate::Error::Invalid`] for endpoints that are none.
    pub async fn connect(settings: &Settings) -> Result<Self> {
        let etcd = Self { members: Arc::new(Members::new(settings)?) };
        etcd.seen().await?;
        Ok(etcd)
    }
}
