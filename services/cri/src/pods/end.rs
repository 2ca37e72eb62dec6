//! Stopping and removing a pod. Both may be repeated, and are no error for one that is not there.

use std::sync::Arc;

use berth_lifecycle::blocking;

use super::{Pod, Pods, Shared, files, network};
use crate::events::Kind;
use crate::peers::{containers, leases, sandboxes};
use crate::{Error, Result, counts, views};

impl Pods {
    /// Ends the pod's own process, and takes its network back. Its containers are stopped before.
    ///
    /// # Errors
    /// [`Error::Peer`] with what a plugin of the network refuses, which the node tries again; [`Error::Mount`].
    pub async fn stop(&self, pod: &Arc<Pod>) -> Result<()> {
        let (this, pod) = (self.clone(), pod.clone());
        let work = async move { this.0.stop(&pod).await };
        self.to_the_end("stop-pod", work).await
    }

    /// Removes a pod that was stopped, with all that is kept of it.
    ///
    /// # Errors
    /// [`Error::Peer`], [`Error::File`]: it is still there then.
    pub async fn remove(&self, pod: &Arc<Pod>) -> Result<()> {
        let (this, pod) = (self.clone(), pod.clone());
        let work = async move {
            let _alone = this.0.turns.alone(&pod.id).await;
            this.0.take_away(&pod.id, !pod.netns.is_empty()).await?;
            this.0.there().remove(&pod.id);
            this.0.names.release(&pod.id);
            this.0.parts.events.tell_of_pod(&pod.id, Kind::ContainerDeletedEvent);
            Ok(())
        };
        self.to_the_end("remove-pod", work).await
    }

    /// No container is made in it or started from now on.
    pub fn begin_to_stop(&self, pod: &Pod) {
        pod.now.send_modify(|now| now.stopping = true);
    }

    async fn to_the_end(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        self.0.parts.jobs.spawn(name, work).await.map_err(|_| Error::NotReady)?
    }
}

impl Shared {
    async fn stop(&self, pod: &Pod) -> Result<()> {
        let _alone = self.turns.alone(&pod.id).await;
        let step = format!("failed to stop sandbox {:?}", pod.id);
        counts::END_POD.of(self.end(&pod.id)).await.map_err(Error::within(step))?;
        self.has_ended(pod);
        self.detach(&pod.id, !pod.netns.is_empty()).await?;
        views::release(&self.parts.node, &self.parts.cri.snapshotter, &pod.id).await?;
        let folders = self.parts.folders.pod(&pod.id);
        blocking("pod-files", move || files::unmount(&folders)).await?
    }

    /// Undoes its network. What a plugin refuses of one that never came to be keeps nobody: the node tries it again.
    async fn detach(&self, id: &str, attached: bool) -> Result<()> {
        match counts::DETACH.of(network::detach(&self.parts.node, id)).await {
            Err(error) if !attached => {
                let error = berth_errors::chain(&error);
                tracing::warn!(id, error, "undo the network of a pod that had none yet");
                Ok(())
            }
            undone => undone,
        }
    }

    /// Takes all of a pod away, whatever there is of it. What records it goes last.
    pub(super) async fn take_away(&self, id: &str, attached: bool) -> Result<()> {
        self.end(id).await?;
        self.detach(id, attached).await?;
        views::release(&self.parts.node, &self.parts.cri.snapshotter, id).await?;
        containers::delete(&self.parts.node, id).await?;
        self.remove_root(id).await?;
        let folders = self.parts.folders.pod(id);
        blocking("pod-files", move || files::remove(&folders)).await??;
        leases::delete(&self.parts.node, id).await?;
        sandboxes::delete(&self.parts.node, id).await
    }
}
