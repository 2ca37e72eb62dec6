//! What the node's runtime tells of processes: which have ended, and where memory ran out.
//!
//! Owns: that no end is missed: what was not told is asked for. Must not know: what an end means.

use std::time::Duration;

use berth_node_events::follow::{Follower, Heard, Listener};
use tokio_util::sync::CancellationToken;

use crate::containers::Containers;
use crate::peers::Node;
use crate::peers::ends::{News, news};
use crate::pods::Pods;

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

    fn tell(&self, news: News) {
        match news {
            News::Ended { id, pid, exit } => {
                if !self.pods.ended(&id) {
                    self.containers.ended(&id, pid, exit);
                }
            }
            News::NoMemory(id) => self.containers.lacks_memory(&id),
        }
    }
}

impl Listener for Exits {
    async fn hear(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Event(event) => {
                if let Some(news) = news(event) {
                    self.tell(news);
                }
            }
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
