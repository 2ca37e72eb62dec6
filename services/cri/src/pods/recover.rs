//! What an earlier run has left: pods whose records are whole, and parts of others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_cri_spec::Kind;
use berth_lifecycle::Pauses;
use futures::StreamExt;
use tokio::sync::watch;

use super::{Pod, Pods, Shared, Standing};
use crate::events;
use crate::peers::containers::{self, Record};
use crate::peers::{Packed, sandboxes};
use crate::records::metadata::{Metadata, OfPod, unpack};
use crate::{Error, Result};

/// So many pods that were not made are undone at once: what a plugin of a network takes for each may be long.
const UNDONE_AT_ONCE: usize = 4;
/// Between two attempts to undo them, at most.
const LONGEST: Duration = Duration::from_secs(300);

/// What there is of a pod that an earlier run was cut off while it made it, or removed it.
#[derive(Debug)]
pub struct Unfinished {
    id: String,
    attached: bool,
    /// Whether kubelets see it: nobody knows its name otherwise.
    shown: bool,
}

impl Pods {
    /// Takes over the pods that there are. Answers which are to be undone ([`Pods::undo`]); until they are they hold
    /// their names, and are shown as pods that are not ready.
    ///
    /// # Errors
    /// [`Error::Peer`]: nothing is known then.
    pub async fn recover(&self) -> Result<Vec<Unfinished>> {
        let node = &self.0.parts.node;
        let mut on_record = BTreeSet::new();
        let mut found = Vec::new();
        containers::each(node, Kind::Sandbox, |record| {
            match pod_of(&record) {
                Ok(pod) => found.push(pod),
                Err(error) => {
                    let (id, error) = (&record.id, berth_errors::chain(&error));
                    tracing::error!(id, error, "pod is left out: its record cannot be read");
                }
            }
            on_record.insert(record.id);
        })
        .await?;
        for pod in found {
            self.take_over(pod);
        }
        self.look().await;
        let listed = sandboxes::list(node).await?.into_iter();
        let unfinished = listed.filter(|sandbox| !on_record.contains(&sandbox.id));
        Ok(unfinished.map(|sandbox| self.take_over_unfinished(sandbox)).collect())
    }

    /// Undoes what was not made, until nothing of it is left, or the process drains.
    pub fn undo(&self, mut left: Vec<Unfinished>) {
        let this = self.clone();
        self.0.parts.jobs.spawn_endless("unfinished-pods", async move {
            let mut pauses = Pauses::up_to(LONGEST);
            while !left.is_empty() {
                let undoing = futures::stream::iter(left).map(|one| this.0.undo(one));
                left = undoing
                    .buffer_unordered(UNDONE_AT_ONCE)
                    .filter_map(std::future::ready)
                    .collect()
                    .await;
                if !left.is_empty() {
                    pauses.wait().await;
                }
            }
        });
    }

    fn take_over(&self, pod: Pod) {
        let id = pod.id.clone();
        if let Err(error) = self.0.names.reserve(&pod.name, &id) {
            tracing::error!(id, error = berth_errors::chain(&error), "two pods have one name");
        }
        self.0.parts.selinux.keep(&id, &pod.process_label);
        self.0.there().insert(id, Arc::new(pod));
    }

    /// A sandbox's record without that of its process: a pod was being made, or removed.
    fn take_over_unfinished(&self, sandbox: sandboxes::Record) -> Unfinished {
        let sandboxes::Record { id, metadata, created_at } = sandbox;
        let pod = pod_in(&id, &metadata, created_at);
        let attached = pod.as_ref().is_ok_and(|pod| !pod.netns.is_empty());
        let shown = pod.is_ok();
        if let Ok(pod) = pod {
            // Nothing of it runs, and nothing ever will.
            let now = Standing { stopping: true, ..Standing::default() };
            self.take_over(Pod { now: watch::Sender::new(now), ..pod });
        }
        Unfinished { id, attached, shown }
    }
}

impl Shared {
    /// Takes it away. Answers it again if that fails.
    async fn undo(&self, unfinished: Unfinished) -> Option<Unfinished> {
        let Unfinished { id, attached, shown } = &unfinished;
        let _alone = self.turns.alone(id).await;
        if *shown && !self.there().contains_key(id) {
            // Somebody has removed it.
            return None;
        }
        if let Err(error) = self.take_away(id, *attached).await {
            let error = berth_errors::chain(&error);
            tracing::warn!(id, error, "undo a pod that was not made: it is tried again");
            return Some(unfinished);
        }
        tracing::info!(id, "undid a pod that was not made");
        self.names.release(id);
        if self.there().remove(id).is_some() {
            self.parts.events.tell_of_pod(id, events::Kind::ContainerDeletedEvent);
        }
        None
    }
}

fn pod_of(record: &Record) -> Result<Pod> {
    let missing = || Error::Unreadable {
        what: OfPod::WHAT,
        id: record.id.clone(),
        why: "its extension is missing".to_owned(),
    };
    let metadata = record.extensions.get(OfPod::EXTENSION).ok_or_else(missing)?;
    let pod = pod_in(&record.id, metadata, record.created_at)?;
    Ok(Pod { image: record.image.clone(), ..pod })
}

/// The pod that is described in an extension.
fn pod_in(id: &str, metadata: &Packed, created_at: i64) -> Result<Pod> {
    let metadata: OfPod = unpack(id, metadata)?;
    let ips = Some(metadata.ip.clone()).filter(|ip| !ip.is_empty());
    Ok(Pod {
        id: id.to_owned(),
        config: metadata.config()?,
        name: metadata.name,
        handler: metadata.runtime_handler,
        image: String::new(),
        process_label: metadata.process_label,
        netns: metadata.netns_path,
        ips: ips.into_iter().chain(metadata.additional_ips.unwrap_or_default()).collect(),
        created_at,
        now: watch::Sender::new(Standing { unknown: true, ..Standing::default() }),
    })
}
