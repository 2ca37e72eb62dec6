//! Stopping and removing a pod. Both may be repeated, and are no error for one that is not there.

use std::sync::Arc;

use berth_lifecycle::blocking;

use super::{Pod, Pods, Shared, files, network};
use crate::events::Kind;
use crate::{Error, Result};

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
            this.0.take_away(&pod.id).await?;
            this.0.there().remove(&pod.id);
            this.0.names.release(&pod.id);
            this.0.parts.events.tell_of_pod(&pod.id, Kind::ContainerDeletedEvent);
            Ok(())
        };
        self.to_the_end("remove-pod", work).await
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
        self.end(&pod.id).await.map_err(Error::within(step))?;
        self.has_ended(pod);
        if !pod.is_on_host() {
            network::detach(&self.parts.node, &pod.id).await?;
        }
        let folders = self.parts.folders.pod(&pod.id);
        blocking("pod-files", move || files::unmount(&folders)).await?
    }

    /// Takes all of a pod away, whatever there is of it. What records it goes last.
    pub(super) async fn take_away(&self, id: &str) -> Result<()> {
        self.end(id).await?;
        network::detach(&self.parts.node, id).await?;
        self.delete_record(id).await?;
        let folders = self.parts.folders.pod(id);
        blocking("pod-files", move || files::remove(&folders)).await??;
        self.delete_lease(id).await?;
        self.delete_sandbox(id).await
    }
}
