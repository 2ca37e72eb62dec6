//! What an earlier run has left: pods whose records are whole, and parts of others.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_cri_spec::Kind;
use tokio::sync::watch;

use super::{Pod, Pods, Standing};
use crate::peers::containers::{self, Record};
use crate::peers::{Packed, sandboxes};
use crate::records::metadata::{Metadata, OfPod, unpack};
use crate::{Error, Result};

impl Pods {
    /// Takes over the pods that there are, and undoes those that an earlier run was cut off while it made them.
    ///
    /// # Errors
    /// [`Error::Peer`]: nothing is known then.
    pub async fn recover(&self) -> Result<()> {
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
        self.undo_unfinished(&on_record).await
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
    async fn undo_unfinished(&self, on_record: &BTreeSet<String>) -> Result<()> {
        for sandbox in sandboxes::list(&self.0.parts.node).await? {
            let sandboxes::Record { id, metadata, created_at } = &sandbox;
            if on_record.contains(id) {
                continue;
            }
            let attached =
                unpack::<OfPod>(id, metadata).is_ok_and(|metadata| !metadata.netns_path.is_empty());
            match self.0.take_away(id, attached).await {
                Ok(()) => tracing::info!(id, "undid a pod that was not made"),
                Err(error) => {
                    let error = berth_errors::chain(&error);
                    tracing::warn!(
                        id,
                        error,
                        "undo a pod that was not made: it stays, to be removed"
                    );
                    if let Ok(pod) = pod_in(id, metadata, *created_at) {
                        self.take_over(pod);
                    }
                }
            }
        }
        Ok(())
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
