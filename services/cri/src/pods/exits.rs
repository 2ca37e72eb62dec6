//! The end of a pod's own process: its containers cannot be run any more.

use berth_proto::containerd::services::tasks::v1::{DeleteTaskRequest, GetRequest};
use berth_proto::containerd::v1::types::Status;
use futures::StreamExt;

use super::{Pod, Pods, Shared, Standing};
use crate::events::Kind;
use crate::peers::{AT_ONCE, QUICK, WORK, call, gone_is_fine};

impl Pods {
    /// Takes in that a process has ended, if it is a pod's own. Answers whether it is.
    pub fn ended(&self, id: &str) -> bool {
        let Some(pod) = self.0.there().get(id).cloned() else { return false };
        self.0.has_ended(&pod);
        let this = self.clone();
        self.0.parts.jobs.spawn("pod-ended", async move {
            // Whoever stops the pod does the same, and waits for nobody here.
            let request = call(DeleteTaskRequest { container_id: pod.id.clone() }, WORK);
            if let Err(status) = gone_is_fine(this.0.parts.node.tasks().delete(request).await) {
                let error = status.message();
                tracing::warn!(id = pod.id, error, "delete the ended process of a pod");
            }
        });
        true
    }

    /// Looks whether processes of pods have ended that nobody told of.
    pub async fn look(&self) {
        self.look_at(|standing| standing.ready || standing.unknown).await;
    }

    /// Asks again about those of which nobody could say how they are.
    pub async fn look_again(&self) {
        self.look_at(|standing| standing.unknown).await;
    }

    async fn look_at(&self, is_asked: impl Fn(Standing) -> bool) {
        let asked = self.all().into_iter().filter(|pod| is_asked(pod.standing()));
        let looking = futures::stream::iter(asked);
        looking
            .for_each_concurrent(AT_ONCE, |pod| async move { self.0.look_at(&pod.id).await })
            .await;
    }
}

impl Shared {
    /// Looks at a pod's own process: one that does not run makes a pod that is not ready.
    pub(super) async fn look_at(&self, id: &str) {
        let request = GetRequest { container_id: id.to_owned(), ..Default::default() };
        let standing = match self.parts.node.tasks().get(call(request, QUICK)).await {
            Ok(answer) => {
                let process = answer.into_inner().process.unwrap_or_default();
                let ready = process.status() == Status::Running;
                Standing { pid: if ready { process.pid } else { 0 }, ready, ..Standing::default() }
            }
            Err(status) if status.code() == tonic::Code::NotFound => Standing::default(),
            // Who cannot say it now says it when it is asked again.
            Err(_) => return,
        };
        let Some(pod) = self.there().get(id).cloned() else { return };
        if standing.ready {
            let Standing { pid, ready, .. } = standing;
            pod.now.send_modify(|now| *now = Standing { pid, ready, unknown: false, ..*now });
        } else {
            self.has_ended(&pod);
        }
    }

    /// A pod's own process has ended, which is told once.
    pub(super) fn has_ended(&self, pod: &Pod) {
        if pod.now.send_replace(Standing::default()).ready {
            self.parts.events.tell_of_pod(&pod.id, Kind::ContainerStoppedEvent);
        }
    }
}
