//! What all tasks of the node are doing and use, for whoever watches over it. Bounded in time: of a
//! shim that does not answer it is unknown, which is another thing than that there was no time to ask.

use std::sync::Arc;
use std::time::Duration;

use berth_ids::Namespace;
use futures::StreamExt;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

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
    /// What its first process is doing; nothing if there was no time to wait for its shim's answer.
    pub status: Option<Status>,
    /// What it uses, as its shim measures it, if it was asked for that.
    pub stats: Option<Any>,
}

impl Tasks {
    /// All tasks, sorted by namespace and id. The first `measured` of them are asked what they use. When
    /// `until` comes no shim is asked or waited for any more.
    pub async fn survey(&self, measured: usize, until: Instant) -> Vec<Surveyed> {
        let mut tasks = self.0.there.every();
        tasks.sort_by(|a, b| (a.ns.as_str(), &a.id).cmp(&(b.ns.as_str(), &b.id)));
        let ask = |(at, task): (usize, Arc<Task>)| async move {
            let (status, stats) = look(&task, at < measured, until).await;
            (at, Surveyed { ns: task.ns.clone(), id: task.id.clone(), status, stats })
        };
        // One that is slow holds up nobody but itself.
        let asked = futures::stream::iter(tasks).enumerate().map(ask).buffer_unordered(ASKED);
        let mut told: Vec<_> = asked.collect().await;
        told.sort_unstable_by_key(|(at, _)| *at);
        told.into_iter().map(|(_, task)| task).collect()
    }
}

async fn look(task: &Task, measure: bool, until: Instant) -> (Option<Status>, Option<Any>) {
    let Ok(client) = task.client() else { return (Some(Status::Unknown), None) };
    let stats = async {
        match measure {
            // One that has ended has nothing to be measured any more.
            true => in_time(until, client.stats()).await?.ok()?.ok()?,
            false => None,
        }
    };
    // What it measures may take longer than what it knows.
    let (state, stats) = tokio::join!(in_time(until, client.state("")), stats);
    (
        state.map(|state| state.ok().and_then(Result::ok).map_or(Status::Unknown, |s| s.status)),
        stats,
    )
}

/// What a shim answers: nothing if `until` came before it had its time, an error if it had that.
async fn in_time<T>(until: Instant, asked: impl Future<Output = T>) -> Option<Result<T, Elapsed>> {
    let now = Instant::now();
    if now >= until {
        return None;
    }
    let answered = timeout_at(until.min(now + PATIENCE), asked).await;
    if answered.is_err() && now + PATIENCE > until { None } else { Some(answered) }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_had_no_time_to_answer_is_not_one_that_does_not() {
        let now = Instant::now();
        assert!(matches!(in_time(now + PATIENCE, ready(1)).await, Some(Ok(1))));
        assert!(in_time(now, ready(1)).await.is_none());
        assert!(matches!(in_time(now + PATIENCE, pending::<()>()).await, Some(Err(_))));
        let until = Instant::now() + PATIENCE / 2;
        assert!(in_time(until, pending::<()>()).await.is_none());
        assert_eq!(Instant::now(), until);
    }
}
