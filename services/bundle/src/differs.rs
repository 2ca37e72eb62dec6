//! Differs: who applies layers to mounts, and makes them from mounts.
//!
//! Owns: their order, and that one which does not do what it is asked is followed by the next. Must
//! not know: how a layer is applied or made, nor the wire.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use berth_errors::{Code, Coded};
use berth_ids::{Digest, Labels, Namespace};
use berth_mount::Mount;
use futures::future::BoxFuture;

use crate::Error;
use crate::processors::Payloads;

/// The media type of the tar of what an OCI runtime wrote of a container's processes. It is no layer:
/// the node's own differ alone makes and takes it, through no stream processor.
pub const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";

/// What a differ is asked for.
pub type Work<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// A blob as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, as who describes it says.
    pub size: i64,
    /// What else is said of it.
    pub annotations: HashMap<String, String>,
}

/// A layer to apply.
#[derive(Clone, Debug)]
pub struct Apply {
    /// Whose it is.
    pub namespace: Namespace,
    /// Which.
    pub layer: Descriptor,
    /// Where to.
    pub mounts: Vec<Mount>,
    /// What stream processors are given.
    pub payloads: Payloads,
    /// Whether the caller wants what is applied to be durable.
    pub sync_fs: bool,
}

/// A layer to make.
#[derive(Clone, Debug)]
pub struct Compare {
    /// Whose it will be.
    pub namespace: Namespace,
    /// What holds it.
    pub lease: Option<String>,
    /// What was there before.
    pub left: Vec<Mount>,
    /// What is there now.
    pub right: Vec<Mount>,
    /// What the layer shall be; empty: as the differ likes.
    pub media_type: String,
    /// The ingest that it is written to; empty: as the differ likes.
    pub reference: String,
    /// Labels for the blob.
    pub labels: Labels,
    /// No later modification time than this is written.
    pub latest: Option<SystemTime>,
}

/// Somebody who applies and makes layers.
pub trait Differ: Send + Sync {
    /// Applies a layer; answers what it is uncompressed.
    fn apply<'a>(&'a self, asked: &'a Apply) -> Work<'a, Descriptor>;
    /// Makes a layer of what differs between two lists of mounts.
    fn compare<'a>(&'a self, asked: &'a Compare) -> Work<'a, Descriptor>;
}

/// A differ in a process of its own, as it is configured.
#[derive(Clone, Debug, Default)]
pub struct Proxy {
    /// Its name.
    pub name: String,
    /// Where it is, for clients: `address` among what is configured.
    pub exports: BTreeMap<String, String>,
    /// What it says that it can do.
    pub capabilities: Vec<String>,
    /// The platform that it is for, `OS/ARCHITECTURE`; the node's own if it is empty.
    pub platform: String,
}

/// The differs of the node. Clones share them.
#[derive(Clone)]
pub struct Differs {
    own: Arc<dyn Differ>,
    order: Arc<[Arc<dyn Differ>]>,
    proxies: Arc<[Proxy]>,
}

impl Differs {
    /// The node's own; these, in the order in which they are asked; and all that are processes of
    /// their own, also those that are not asked.
    #[must_use]
    pub fn new(own: Arc<dyn Differ>, order: Vec<Arc<dyn Differ>>, proxies: Vec<Proxy>) -> Self {
        Self { own, order: order.into(), proxies: proxies.into() }
    }

    /// Those that are processes of their own.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter()
    }

    /// Applies a layer by the first differ that does it.
    ///
    /// # Errors
    /// What that one says, or the last one.
    pub async fn apply(&self, asked: &Apply) -> Result<Descriptor, Error> {
        if asked.layer.media_type == CHECKPOINT {
            return self.own.apply(asked).await;
        }
        let mut answer = Err(none());
        for differ in &*self.order {
            answer = differ.apply(asked).await;
            if !is_for_the_next(&answer) {
                break;
            }
        }
        answer
    }

    /// Makes a layer by the first differ that does it.
    ///
    /// # Errors
    /// What that one says, or the last one.
    pub async fn compare(&self, asked: &Compare) -> Result<Descriptor, Error> {
        if asked.media_type == CHECKPOINT {
            return self.own.compare(asked).await;
        }
        let mut answer = Err(none());
        for differ in &*self.order {
            answer = differ.compare(asked).await;
            if !is_for_the_next(&answer) {
                break;
            }
        }
        answer
    }
}

/// What is answered where there is no differ, which the configuration rules out.
fn none() -> Error {
    let reason = "no differ is configured";
    Error::Unsupported { what: "layer", name: String::new(), reason }
}

fn is_for_the_next(answer: &Result<Descriptor, Error>) -> bool {
    matches!(answer, Err(error) if error.code() == Code::Unimplemented)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells who it is by the media type.
    struct Named(&'static str);

    impl Named {
        fn answer(&self) -> Descriptor {
            let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
            let (media_type, annotations) = (self.0.to_owned(), HashMap::new());
            Descriptor { media_type, digest, size: 0, annotations }
        }
    }

    impl Differ for Named {
        fn apply<'a>(&'a self, _: &'a Apply) -> Work<'a, Descriptor> {
            Box::pin(async { Ok(self.answer()) })
        }

        fn compare<'a>(&'a self, _: &'a Compare) -> Work<'a, Descriptor> {
            Box::pin(async { Ok(self.answer()) })
        }
    }

    #[tokio::test]
    async fn a_checkpoint_is_for_the_nodes_own_differ_alone() {
        let differs = Differs::new(Arc::new(Named("own")), vec![Arc::new(Named("theirs"))], vec![]);
        let namespace: Namespace = "n".parse().unwrap();
        for (media_type, who) in [(CHECKPOINT, "own"), (crate::layer::TAR, "theirs")] {
            let media_type = media_type.to_owned();
            let apply = Apply {
                namespace: namespace.clone(),
                layer: Descriptor { media_type: media_type.clone(), ..Named("").answer() },
                mounts: vec![],
                payloads: Payloads::default(),
                sync_fs: false,
            };
            assert_eq!(differs.apply(&apply).await.unwrap().media_type, who);
            let compare = Compare {
                namespace: namespace.clone(),
                lease: None,
                left: vec![],
                right: vec![],
                media_type,
                reference: String::new(),
                labels: Labels::default(),
                latest: None,
            };
            assert_eq!(differs.compare(&compare).await.unwrap().media_type, who);
        }
    }
}
