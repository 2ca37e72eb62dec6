//! Etcd, as this service uses it: bounded, with a deadline on every answer, errors told apart.
//!
//! Owns: the client, its reconnects, certificates and credentials; which of etcd's answers means what. Must
//! not know: what keys and values mean.
//!
//! The client library connects again by itself for single requests; it makes neither watches nor leases
//! again. Who holds a [`Watch`] or keeps a lease alive does ([`crate::view`], [`crate::session`]).

use std::time::Duration;

use bytes::Bytes;

use crate::{Error, Result};

/// How long an answer is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the configured etcd. Clones share it.
#[derive(Clone)]
pub struct Etcd {}

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

/// What etcd says of itself with every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Another number is another cluster, whose revisions mean nothing here.
    pub cluster: u64,
    /// The newest revision.
    pub revision: i64,
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
    /// Etcd is there, and has nothing new.
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
    /// [`Error::Away`], [`Error::Forbidden`], [`Error::Certificate`].
    pub async fn connect(_settings: &Settings) -> Result<Self> {
        todo!()
    }

    /// The newest revision, and whose it is.
    ///
    /// # Errors
    /// As every call here: [`Error::Away`], [`Error::Forbidden`], [`Error::Etcd`].
    pub async fn seen(&self) -> Result<Seen> {
        todo!()
    }

    /// What is at a key.
    ///
    /// # Errors
    /// As every call here.
    pub async fn get(&self, _key: &str) -> Result<(Option<Entry>, Seen)> {
        todo!()
    }

    /// A part of what begins with `prefix`: after `after` if that is given, as of revision `at` (0: now), at
    /// most `limit` entries; fewer if they are large.
    ///
    /// # Errors
    /// [`Error::Compacted`] when `at` is not kept any more.
    pub async fn page(
        &self,
        _prefix: &str,
        _after: Option<&[u8]>,
        _at: i64,
        _limit: usize,
    ) -> Result<Page> {
        todo!()
    }

    /// Makes `writes` if `condition` holds: at most 100 of them, whose values together have less than 1 MiB.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::LeaseGone`]. After [`Error::Away`] it is not known whether it was made.
    pub async fn write(&self, _condition: &If, _writes: Vec<Write>) -> Result<Outcome> {
        todo!()
    }

    /// A new lease.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub async fn grant(&self, _ttl: Duration) -> Result<i64> {
        todo!()
    }

    /// Renews a lease once; answers how long it is good for now.
    ///
    /// # Errors
    /// [`Error::LeaseGone`].
    pub async fn renew(&self, _lease: i64) -> Result<Duration> {
        todo!()
    }

    /// Ends a lease, and all keys that are attached to it. Harmless when it is gone.
    ///
    /// # Errors
    /// As every call here.
    pub async fn revoke(&self, _lease: i64) -> Result<()> {
        todo!()
    }

    /// Changes of what begins with `prefix`, from revision `from` on, which must not be 0.
    ///
    /// # Errors
    /// [`Error::Compacted`] here or from [`Watch::next`].
    pub async fn watch(&self, _prefix: &str, _from: i64, _previous: bool) -> Result<Watch> {
        todo!()
    }
}

/// Changes as they come. It ends with the first error.
pub struct Watch {}

impl Watch {
    /// What comes next. While nothing does it asks etcd every second or two whether it is still there.
    ///
    /// # Errors
    /// [`Error::Away`] when etcd says nothing at all for [`PATIENCE`], or the stream has ended.
    pub async fn next(&mut self) -> Result<Told> {
        todo!()
    }
}
