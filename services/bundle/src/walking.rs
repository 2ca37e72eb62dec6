//! The differ that is bundle's own, `walking`: it reads and writes files, layer by layer.
//!
//! Owns: what is brought together for that: the blob, its stream processors, a turn, the ingest.
//! Must not know: the wire, other differs.

use std::path::PathBuf;

use berth_lifecycle::Turns;
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::diff::{self, Making, temporary_name};
use crate::differs::{Apply, CHECKPOINT, Compare, Descriptor, Differ, Work};
use crate::erofs::{LAYER, Packing};
use crate::layer::TAR;
use crate::live::Live;
use crate::peers::{Distribution, Finished};
use crate::processors::Processors;

/// Its name.
pub const NAME: &str = "walking";

/// The differ and what it works with.
#[derive(Clone)]
pub struct Walking {
    /// Where blobs are.
    pub distribution: Distribution,
    /// What layers go through that are none yet.
    pub processors: Processors,
    /// What a layer may ask for.
    pub live: Live,
    /// How many layers are applied or made at once. Nobody has a turn while a process of others is
    /// asked: one that hangs would hold up all the others.
    pub turns: Turns,
    /// Where temporary mounts are made.
    pub temporary: PathBuf,
    /// Below these, mounts may have files and directories made.
    pub roots: Vec<PathBuf>,
}

impl Differ for Walking {
    fn apply<'a>(&'a self, asked: &'a Apply) -> Work<'a, Descriptor> {
        Box::pin(self.apply_layer(asked))
    }

    fn compare<'a>(&'a self, asked: &'a Compare) -> Work<'a, Descriptor> {
        Box::pin(self.make_layer(asked))
    }
}

impl Walking {
    async fn apply_layer(&self, asked: &Apply) -> Result<Descriptor, Error> {
        let (layer, name) = (&asked.layer, asked.layer.digest.to_string());
        let input = self.distribution.open(&asked.namespace, &layer.digest).await?;
        let packing = Packing::of(&layer.media_type)?;
        let chain = || self.processors.chain(&name, &layer.media_type);
        // What no program makes a layer of is told before there is a wait.
        let is_layer = packing.is_none() && layer.media_type != CHECKPOINT;
        let chain = is_layer.then(chain).transpose()?.unwrap_or_default();
        let _turn = self.turns.take().await;
        // Whether or not `sync_fs` asks for it: what is applied is durable.
        let apply = diff::Apply {
            layer: name.clone(),
            mounts: asked.mounts.clone(),
            temporary: self.temporary.clone(),
            roots: self.roots.clone(),
            limits: self.live.limits(),
        };
        let (applied, media_type) = match packing {
            Some(packing) => (diff::apply_image(apply, packing, input).await, LAYER),
            None => (diff::apply(apply, chain, asked.payloads.clone(), input).await, TAR),
        };
        let applied = applied.map_err(|error| error.of_layer(&name))?;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest: applied.diff_id,
            size: i64::try_from(applied.size).unwrap_or(i64::MAX),
            annotations: Default::default(),
        })
    }

    async fn make_layer(&self, asked: &Compare) -> Result<Descriptor, Error> {
        self.distribution.register(&asked.namespace).await?;
        let _turn = self.turns.take().await;
        let own = asked.reference.is_empty();
        let reference =
            if own { format!("diff-{}", temporary_name()) } else { asked.reference.clone() };
        let media_type =
            if asked.media_type.is_empty() { diff::DEFAULT } else { &asked.media_type };
        let making = Making {
            left: asked.left.clone(),
            right: asked.right.clone(),
            media_type: asked.media_type.clone(),
            labels: asked.labels.clone(),
            latest: asked.latest,
            temporary: self.temporary.clone(),
            roots: self.roots.clone(),
        };
        let (chunks, receiver) = mpsc::channel(2);
        let (tell, told) = oneshot::channel();
        let make = async {
            let made = diff::make(making, chunks).await?;
            let (digest, size, labels) = (made.digest.clone(), made.size, made.labels.clone());
            // If nobody listens the writer has failed, and tells why.
            let _ = tell.send(Finished { digest, size, labels });
            Ok::<_, Error>(made)
        };
        let writer = self.distribution.writer(&asked.namespace, asked.lease.clone());
        let write = writer.write(reference.clone(), media_type, receiver, told);
        let (made, written) = tokio::join!(make, write);
        if own && (made.is_err() || written.is_err()) {
            writer.abort(reference).await;
        }
        let made = match made {
            // What stopped the making is then the writer's failure, or its own.
            Err(error) => return Err(written.err().unwrap_or(error)),
            Ok(made) => written.map(|()| made)?,
        };
        Ok(Descriptor {
            media_type: made.media_type,
            digest: made.digest,
            size: i64::try_from(made.size).unwrap_or(i64::MAX),
            annotations: Default::default(),
        })
    }
}
