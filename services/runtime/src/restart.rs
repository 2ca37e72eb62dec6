//! The restart monitor: containers with `containerd.io/restart.status` are kept in that status.
//!
//! Looks every [`Monitor::interval`] at the containers that carry the label, which
//! [`crate::containers::Watched`] knows without reading the others.

mod policy;

use std::sync::Arc;
use std::time::Duration;

use berth_errors::chain;
use berth_ids::{Labels, Namespace};
use berth_lifecycle::Tasks as Jobs;
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::containers::{Containers, Update};
use crate::error::Result;
use crate::gate::Neighbours;
use crate::process::{Io, State, Status};
use crate::records::Container;
use crate::tasks::{Create, Tasks};

pub use policy::{COUNT, STATUS};

const LOG_URI: &str = "containerd.io/restart.loguri";
/// Containers that are started or stopped at once.
const AT_ONCE: usize = 8;
/// How long a process may take to end by SIGKILL.
const ENDS: Duration = Duration::from_secs(20);
/// SIGKILL.
const KILL: u32 = 9;

/// Keeps containers running, or stopped.
pub struct Monitor {
    /// Whose labels it follows.
    pub containers: Containers,
    /// What it starts and stops.
    pub tasks: Tasks,
    /// Whom it asks for root file systems.
    pub neighbours: Arc<dyn Neighbours>,
    /// How often it looks, which may change.
    pub interval: watch::Receiver<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Start,
    Stop,
}

impl Monitor {
    /// Looks until the process stops.
    pub fn spawn(self, jobs: &Jobs) {
        let stop = jobs.token();
        jobs.spawn("restart-monitor", async move {
            tokio::select! {
                () = self.run() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn run(&self) {
        if let Err(error) = self.containers.find_watched() {
            tracing::error!(error = chain(&error), "look for containers to restart");
        }
        let mut interval = self.interval.clone();
        loop {
            let began = Instant::now();
            let watched = futures::stream::iter(self.containers.watched());
            watched.for_each_concurrent(AT_ONCE, |(ns, id)| self.look(ns, id)).await;
            until_next(began, &mut interval).await;
        }
    }

    async fn look(&self, ns: Namespace, id: String) {
        let Ok(container) = self.containers.get(&ns, &id) else {
            return self.containers.unwatch(&ns, &id);
        };
        let state = self.tasks.get(&ns, &id, "").await.ok();
        let Some(change) = wanted(&container.labels, state.as_ref()) else { return };
        let done = match change {
            Change::Start => self.start(&ns, &container).await,
            Change::Stop => self.stop(&ns, &id).await,
        };
        if let Err(error) = done {
            let error = chain(&error);
            tracing::warn!(namespace = %ns, id, ?change, error, "keep container in its status");
        }
    }

    async fn stop(&self, ns: &Namespace, id: &str) -> Result<()> {
        if let Err(error) = self.tasks.kill(ns, id, "", KILL, true).await {
            // One that has ended cannot be killed, and need not be.
            tracing::debug!(id, error = chain(&error), "kill task");
        } else if let Ok(ended) = timeout(ENDS, self.tasks.wait(ns, id, "")).await {
            ended?;
        }
        // What does not end is refused here, holds up no other container, and is looked at again.
        self.tasks.delete(ns, id).await?;
        Ok(())
    }

    async fn start(&self, ns: &Namespace, container: &Container) -> Result<()> {
        let Container { id, snapshotter, snapshot_key, .. } = container;
        self.containers.update(ns, counted(container)).await?;
        match self.stop(ns, id).await {
            Err(error) if error.is_not_found() => {}
            stopped => stopped?,
        }
        let rootfs = match snapshot_key.as_str() {
            "" => Vec::new(),
            key => self.neighbours.mounts(ns, snapshotter, key).await?,
        };
        let uri = container.labels.get(LOG_URI).cloned().unwrap_or_default();
        let terminal = policy::has_terminal(container);
        let stderr = if terminal { String::new() } else { uri.clone() };
        let io = Io { stdin: String::new(), stdout: uri, stderr, terminal };
        let create = Create { id: id.clone(), rootfs, io, ..Create::default() };
        self.tasks.create(ns.clone(), create).await?;
        self.tasks.start(ns, id, "").await?;
        Ok(())
    }
}

/// Waits until it is time to look again after a look that began then, as the interval says meanwhile.
async fn until_next(began: Instant, interval: &mut watch::Receiver<Duration>) {
    loop {
        let at = began + *interval.borrow_and_update();
        tokio::select! {
            () = sleep_until(at) => return,
            Ok(()) = interval.changed() => {}
        }
    }
}

/// One more restart on the count.
fn counted(container: &Container) -> Update {
    let count = policy::count(&container.labels).unwrap_or(0) + 1;
    let mut new = container.clone();
    new.labels.insert(COUNT.to_owned(), count.to_string());
    Update { new, paths: vec![format!("labels.{COUNT}")] }
}

fn wanted(labels: &Labels, state: Option<&State>) -> Option<Change> {
    let status = state.map(|state| state.status);
    match labels.get(STATUS).map(String::as_str) {
        Some("running") => match status {
            Some(Status::Running | Status::Paused | Status::Pausing | Status::Unknown) => None,
            _ => policy::restarts(labels, state).then_some(Change::Start),
        },
        Some("stopped") => match status {
            None | Some(Status::Stopped | Status::Unknown) => None,
            _ => Some(Change::Stop),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let full = |(key, value): &(&str, &str)| {
            (format!("containerd.io/restart.{key}"), (*value).to_owned())
        };
        pairs.iter().map(full).collect()
    }

    fn state(status: Status, exit_status: u32) -> State {
        State { pid: 1, status, io: Io::default(), exit_status, exited: None }
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_that_changes_counts_from_the_last_look() {
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        let (change, mut interval) = watch::channel(hour);
        let began = Instant::now();
        let mut next = std::pin::pin!(until_next(began, &mut interval));
        assert!(timeout(minute / 2, next.as_mut()).await.is_err());
        change.send_replace(minute);
        next.await;
        assert_eq!(began.elapsed(), minute);
        // What is over already is waited for no longer.
        tokio::time::advance(minute).await;
        until_next(began, &mut change.subscribe()).await;
        assert_eq!(began.elapsed(), 2 * minute);
        // The interval stays where nobody can change it any more.
        let mut interval = change.subscribe();
        drop(change);
        until_next(Instant::now(), &mut interval).await;
        assert_eq!(began.elapsed(), 3 * minute);
    }

    #[test]
    fn the_policy_decides() {
        let failed = state(Status::Stopped, 3);
        let done = state(Status::Stopped, 0);
        let running = ("status", "running");
        let start = Some(Change::Start);
        for (given, state, change) in [
            (vec![running], None, start),
            (vec![running, ("policy", "always")], Some(&done), start),
            (vec![running, ("policy", "no")], Some(&failed), None),
            (vec![running, ("policy", "on-failure")], Some(&done), None),
            (vec![running, ("policy", "on-failure")], Some(&failed), start),
            (vec![running, ("policy", "on-failure:2"), ("count", "1")], Some(&failed), start),
            (vec![running, ("policy", "on-failure:2"), ("count", "2")], Some(&failed), None),
            (vec![running, ("policy", "unless-stopped")], Some(&done), start),
            (
                vec![running, ("policy", "unless-stopped"), ("explicitly-stopped", "true")],
                Some(&done),
                None,
            ),
            (vec![running, ("policy", "sometimes")], Some(&failed), None),
            (vec![running, ("policy", "always:")], Some(&failed), None),
            (vec![running, ("policy", "on-failure:")], Some(&failed), None),
            (vec![running, ("policy", "")], Some(&done), start),
            (vec![running, ("policy", "always"), ("count", "x")], None, start),
            (vec![running, ("policy", "on-failure"), ("count", "x")], Some(&failed), None),
            (vec![], Some(&failed), None),
        ] {
            assert_eq!(wanted(&labels(&given), state), change, "{given:?}");
        }
        let up = state(Status::Running, 0);
        assert_eq!(wanted(&labels(&[running]), Some(&up)), None);
        assert_eq!(wanted(&labels(&[("status", "stopped")]), Some(&up)), Some(Change::Stop));
        assert_eq!(wanted(&labels(&[("status", "stopped")]), Some(&done)), None);
    }
}
