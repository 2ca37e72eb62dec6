//! The end of a pod's own process: its containers cannot be run any more.

use futures::StreamExt;

use super::{Pod, Pods, Shared, Standing};
use crate::events::Kind;
use crate::peers::AT_ONCE;
use crate::peers::tasks::{self, Process, Whose};

impl Pods {
    /// Takes in that a process has ended, if it is a pod's own. Answers whether it is.
    pub fn ended(&self, id: &str) -> bool {
        let Some(pod) = self.0.there().get(id).cloned() else { return false };
        self.0.has_ended(&pod);
        let this = self.clone();
        self.0.parts.jobs.spawn("pod-ended", async move {
            // Whoever stops the pod does the same, and waits for nobody here.
            let whose = Whose::own(&pod.id);
            if let Err(error) = tasks::delete(&this.0.parts.node, &whose).await {
                let error = berth_errors::chain(&error);
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
        // Who cannot say it now says it when it is asked again.
        let Ok(process) = tasks::get(&self.parts.node, id).await else { return };
        let Some(pod) = self.there().get(id).cloned() else { return };
        match process {
            Some(Process::Running(pid)) => pod.now.send_modify(|now| {
                *now = Standing { pid, ready: true, unknown: false, ..*now };
            }),
            _ => self.has_ended(&pod),
        }
    }

    /// A pod's own process has ended, which is told once.
    pub(super) fn has_ended(&self, pod: &Pod) {
        if pod.now.send_replace(Standing::default()).ready {
            self.parts.events.tell_of_pod(&pod.id, Kind::ContainerStoppedEvent);
        }
    }
}
