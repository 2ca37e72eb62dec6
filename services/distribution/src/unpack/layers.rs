//! What unpacking needs of bundle.

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use berth_errors::Code;
use berth_ids::{Digest, Labels, Namespace};

/// An answer of bundle that is no success.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its code.
    pub code: Code,
    /// Its words.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The future of a call.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// What a snapshotter can do.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Its name; the default's when none was asked for.
    pub snapshotter: String,
    /// Layers can be extracted before those below them.
    pub parallel: bool,
    /// It may have layers that nobody has fetched: each is asked for before.
    pub remote: bool,
    /// It is to be told what it needs to fetch layers itself.
    pub annotated: bool,
}

/// A snapshot that may be there.
pub struct Hold<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The snapshotter.
    pub snapshotter: &'a str,
    /// The snapshot's name.
    pub chain_id: &'a Digest,
    /// The snapshot below it.
    pub parent: Option<&'a Digest>,
    /// With any, the snapshotter is asked whether it has the layer, and told these.
    pub labels: Labels,
    /// The lease that holds it.
    pub lease: Option<&'a str>,
}

/// One layer to extract into a staging folder.
pub struct Apply<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The snapshotter.
    pub snapshotter: &'a str,
    /// A name for the folder, unique.
    pub staging: &'a str,
    /// How the bytes are packed.
    pub media_type: &'a str,
    /// Where they come from: a pipe or a blob's file at its begin.
    pub bytes: OwnedFd,
    /// The chain ID below; needed where layers cannot be extracted in parallel.
    pub parent: Option<&'a Digest>,
    /// Compressed size.
    pub size: u64,
    /// What messages call the layer.
    pub digest: &'a Digest,
}

/// What was extracted.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The digest of the plain tar.
    pub diff_id: String,
    /// Its size.
    pub size: u64,
    /// For how long the bytes were waited for.
    pub waited: Duration,
    /// How long it took to make it durable.
    pub synced: Duration,
}

/// A staged layer to make a snapshot.
pub struct Commit<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The snapshotter.
    pub snapshotter: &'a str,
    /// The folder.
    pub staging: &'a str,
    /// The snapshot's name.
    pub chain_id: &'a Digest,
    /// The snapshot below it.
    pub parent: Option<&'a Digest>,
    /// The snapshot's labels.
    pub labels: Labels,
    /// The lease that holds it.
    pub lease: Option<&'a str>,
}

/// Bundle, as far as layers are concerned. A call waits a bounded time for a bundle that restarts.
pub trait Layers: Send + Sync {
    /// What the snapshotter can do; empty stands for the default.
    fn capabilities<'a>(&'a self, snapshotter: &'a str) -> Work<'a, Capabilities>;
    /// Whether the namespace has this snapshot; if so, the lease holds it.
    fn hold<'a>(&'a self, hold: Hold<'a>) -> Work<'a, bool>;
    /// Extracts a layer.
    fn apply<'a>(&'a self, apply: Apply<'a>) -> Work<'a, Applied>;
    /// Makes a staged layer a snapshot; one that is there already is fine.
    fn commit<'a>(&'a self, commit: Commit<'a>) -> Work<'a, ()>;
    /// Throws a staging folder away.
    fn discard<'a>(
        &'a self,
        namespace: &'a Namespace,
        snapshotter: &'a str,
        staging: &'a str,
    ) -> Work<'a, ()>;
}
