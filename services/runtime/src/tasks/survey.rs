//! What all tasks of the node are doing and use, for whoever watches over it. Bounded in time: what
//! does not answer is told as unknown.

use std::sync::Arc;
use std::time::Duration;

use berth_ids::Namespace;
use futures::StreamExt;
use tokio::time::Instant;

use super::{Task, Tasks};
use crate::process::Status;
use crate::records::Any;

/// Shims that are asked at once.
const ASKED: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of a task.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// Its namespace.
    pub ns: Namespace,
    /// The container.
    pub id: String,
    /// What its first process is doing.
    pub status: Status,
    /// What it uses, as its shim measures it, if it was asked for that.
    pub stats: Option<Any>,
}

impl Tasks {
    /// All tasks, sorted by namespace and id. The first `measured` of them are asked what they use. A
    /// shim that has not answered when `until` comes is not waited for.
    pub async fn survey(&self, measured: usize, until: Instant) -> Vec<Surveyed> {
        let mut tasks = self.0.there.every();
        tasks.sort_by(|a, b| (a.ns.as_str(), &a.id).cmp(&(b.ns.as_str(), &b.id)));
        let ask = |(at, task): (usize, Arc<Task>)| async move {
            let until = until.min(Instant::now() + PATIENCE);
            let asked = tokio::time::timeout_at(until, look(&task, at < measured)).await;
            let (status, stats) = asked.unwrap_or((Status::Unknown, None));
            Surveyed { ns: task.ns.clone(), id: task.id.clone(), status, stats }
        };
        futures::stream::iter(tasks).enumerate().map(ask).buffered(ASKED).collect().await
    }
}

async fn look(task: &Task, measure: bool) -> (Status, Option<Any>) {
    let Ok(client) = task.client() else { return (Status::Unknown, None) };
    let stats = async {
        match measure {
            // One that has ended has nothing to be measured any more.
            true => client.stats().await.ok().flatten(),
            false => None,
        }
    };
    let (state, stats) = tokio::join!(client.state(""), stats);
    (state.map_or(Status::Unknown, |state| state.status), stats)
}
