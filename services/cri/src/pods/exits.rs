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
            Some(Process::Running(pid)) => {
                pod.now.send_if_modified(|now| now.runs(pid));
            }
            _ => self.has_ended(&pod),
        }
    }

    /// A pod's own process has ended, which is told once.
    pub(super) fn has_ended(&self, pod: &Pod) {
        let mut was_ready = false;
        pod.now.send_modify(|now| was_ready = now.end());
        if was_ready {
            self.parts.events.tell_of_pod(&pod.id, Kind::ContainerStoppedEvent);
        }
    }
}

impl Standing {
    /// Its process runs, as was answered. One that has ended meanwhile does not begin again: the answer is late.
    fn runs(&mut self, pid: u32) -> bool {
        let may_run = self.ready || self.unknown;
        if may_run {
            *self = Standing { pid, ready: true, unknown: false, ..*self };
        }
        may_run
    }

    /// Its process has ended. Answers whether it was thought to run.
    fn end(&mut self) -> bool {
        let ended = Standing { pid: 0, ready: false, unknown: false, ..*self };
        std::mem::replace(self, ended).ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_bring_a_process_back() {
        let mut now = Standing { unknown: true, ..Standing::default() };
        assert!(now.runs(7) && now.ready && now.pid == 7 && !now.unknown);
        now.stopping = true;
        assert!(now.end(), "it is told");
        assert!(!now.end(), "once");
        let ended = Standing { stopping: true, ..Standing::default() };
        assert_eq!(now, ended);
        assert!(!now.runs(7));
        assert_eq!(now, ended);
    }
}
