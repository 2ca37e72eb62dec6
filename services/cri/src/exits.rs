//! What the node's runtime tells of processes: which have ended, and where memory ran out.
//!
//! Owns: that no end is missed: what was not told is asked for. Must not know: what an end means.

use std::time::Duration;

use berth_node_events::follow::{Follower, Heard, Listener};
use berth_proto::berth::node::v1::NodeEvent;
use berth_proto::containerd::events::{TaskExit, TaskOom};
use berth_proto::unpack;
use tokio_util::sync::CancellationToken;

use crate::containers::{Containers, Exit};
use crate::peers::Node;
use crate::pods::Pods;
use crate::{NAMESPACE, time};

/// Between two times that the runtime is followed which refused, or lost events.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two questions about those of whom nobody could say how they are.
const AGAIN: Duration = Duration::from_secs(10);

/// Who is told.
#[derive(Clone)]
pub struct Exits {
    /// Whose own processes may end.
    pub pods: Pods,
    /// The same of containers.
    pub containers: Containers,
}

impl Exits {
    /// Follows the runtime until `stop`.
    pub async fn follow(mut self, node: Node, stop: CancellationToken) {
        let again = self.clone();
        let following = async {
            let mut follower = Follower::new(node.runtime.clone(), "runtime");
            loop {
                if let Some(status) = follower.run(&mut self).await {
                    tracing::warn!(
                        error = status.message(),
                        "follow the runtime: it is asked again"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let (pods, containers) = (again.pods, again.containers);
        let asking = async {
            loop {
                tokio::time::sleep(AGAIN).await;
                pods.look_again().await;
                containers.look_again().await;
            }
        };
        let both = async { tokio::join!(following, asking) };
        stop.run_until_cancelled(both).await;
    }

    async fn tell(&self, event: NodeEvent) {
        let Some(value) = event.event.filter(|_| event.namespace == NAMESPACE) else { return };
        if let Some(Ok(exit)) = unpack::<TaskExit>(&value) {
            // A command within a container has a number of its own.
            if exit.id != exit.container_id || self.pods.ended(&exit.id) {
                return;
            }
            let at = time::from_wire(exit.exited_at.as_ref()).unwrap_or_else(time::now);
            let code = i32::try_from(exit.exit_status).unwrap_or(255);
            self.containers.ended(&exit.id, Exit { code, at });
        } else if let Some(Ok(oom)) = unpack::<TaskOom>(&value) {
            self.containers.lacks_memory(&oom.container_id);
        }
    }
}

impl Listener for Exits {
    async fn hear(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Event(event) => self.tell(event).await,
            // What happened before is not told.
            Heard::Subscribed => {
                self.pods.look().await;
                self.containers.look().await;
            }
            Heard::Interrupted => {}
        }
        true
    }
}
