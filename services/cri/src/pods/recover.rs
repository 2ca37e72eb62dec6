//! What an earlier run has left: pods whose records are whole, and parts of others.

use std::sync::Arc;

use berth_cri_spec::{KIND_LABEL, Kind};
use berth_proto::containerd::services::containers::v1::{Container, ListContainersRequest};
use berth_proto::containerd::services::sandbox::v1::StoreListRequest;
use tokio::sync::watch;

use super::making::SANDBOXER;
use super::{Pod, Pods, Standing};
use crate::peers::{WORK, call, refused};
use crate::records::metadata::{Metadata, OfPod, unpack};
use crate::{Error, Result};

impl Pods {
    /// Takes over the pods that there are, and undoes those that an earlier run was cut off while it made them.
    ///
    /// # Errors
    /// [`Error::Peer`]: nothing is known then.
    pub async fn recover(&self) -> Result<()> {
        let filters = vec![format!("labels.{KIND_LABEL:?}=={}", Kind::Sandbox.as_str())];
        let request = call(ListContainersRequest { filters }, WORK);
        let listed = self.0.parts.node.containers().list(request).await;
        let listed = listed.map_err(refused("list pods"))?.into_inner().containers;
        for record in &listed {
            match pod_of(record) {
                Ok(pod) => self.take_over(pod).await,
                Err(error) => {
                    let error = berth_errors::chain(&error);
                    tracing::error!(
                        id = record.id,
                        error,
                        "pod is left out: its record cannot be read"
                    );
                }
            }
        }
        self.undo_unfinished().await
    }

    async fn take_over(&self, pod: Pod) {
        let id = pod.id.clone();
        if let Err(error) = self.0.names.reserve(&pod.name, &id) {
            tracing::error!(id, error = berth_errors::chain(&error), "two pods have one name");
        }
        self.0.there().insert(id.clone(), Arc::new(pod));
        self.0.look_at(&id).await;
    }

    /// A sandbox's record without that of its process: a pod was being made, or removed.
    async fn undo_unfinished(&self) -> Result<()> {
        let request = call(StoreListRequest { filters: Vec::new() }, WORK);
        let listed = self.0.parts.node.sandboxes().list(request).await;
        for sandbox in listed.map_err(refused("list sandboxes"))?.into_inner().list {
            let id = &sandbox.sandbox_id;
            if sandbox.sandboxer != SANDBOXER || self.0.there().contains_key(id) {
                continue;
            }
            match self.0.take_away(id).await {
                Ok(()) => tracing::info!(id, "undid a pod that was not made"),
                Err(error) => {
                    let error = berth_errors::chain(&error);
                    tracing::warn!(id, error, "undo a pod that was not made");
                }
            }
        }
        Ok(())
    }
}

fn pod_of(record: &Container) -> Result<Pod> {
    let missing = || Error::Unreadable {
        what: OfPod::WHAT,
        id: record.id.clone(),
        why: "its extension is missing".to_owned(),
    };
    let metadata = record.extensions.get(OfPod::EXTENSION).ok_or_else(missing)?;
    let metadata: OfPod = unpack(&record.id, metadata)?;
    let created = record.created_at.as_ref();
    let ips = Some(metadata.ip.clone()).filter(|ip| !ip.is_empty());
    Ok(Pod {
        id: record.id.clone(),
        config: metadata.config()?,
        name: metadata.name,
        handler: metadata.runtime_handler,
        netns: metadata.netns_path,
        ips: ips.into_iter().chain(metadata.additional_ips.unwrap_or_default()).collect(),
        created_at: created.map_or(1, |at| at.seconds * 1_000_000_000 + i64::from(at.nanos)),
        now: watch::Sender::new(Standing::default()),
    })
}
