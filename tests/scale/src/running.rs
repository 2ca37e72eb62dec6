//! A simulated container: little is kept of it, the rest follows from that.

use std::sync::Arc;
use std::time::Duration;

use berth_cluster::keys::{Held, Kind};
use berth_cluster::objects::{Container, TaskState};
use time::OffsetDateTime;

use crate::catalog::NAMESPACE;
use crate::chance::Chance;
use crate::clock;

/// The label that says when a container changed last, by [`clock::now`], in hexadecimal.
pub const CHANGED: &str = "berth.io/changed";
const APPS: [&str; 8] =
    ["checkout", "search", "billing", "ingress", "reports", "sessions", "ledger", "telemetry"];

/// A container and its task.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its name.
    pub held: Held,
    image: Arc<str>,
    seed: u64,
    created: OffsetDateTime,
    pid: u32,
    exited: Option<OffsetDateTime>,
    changed: u64,
}

impl Running {
    /// A new one of an image.
    ///
    /// # Errors
    /// When its name cannot be a key.
    pub fn new(chance: &mut Chance, image: Arc<str>) -> berth_cluster::Result<Self> {
        let held = Held::new(Kind::Containers, NAMESPACE, &chance.hex::<32>())?;
        let (seed, created, pid) = (chance.number(), OffsetDateTime::now_utc(), pid(chance));
        Ok(Self { held, image, seed, created, pid, exited: None, changed: clock::now() })
    }

    /// The image that it needs.
    #[must_use]
    pub fn image(&self) -> &Arc<str> {
        &self.image
    }

    /// It ends if it runs, and is started again if not.
    pub fn flip(&mut self, chance: &mut Chance) {
        match self.exited {
            None => self.exited = Some(OffsetDateTime::now_utc()),
            Some(_) => (self.exited, self.pid) = (None, pid(chance)),
        }
        self.changed = clock::now();
    }

    /// The container as it is now: labels as a kubelet gives them.
    #[must_use]
    pub fn object(&self) -> Container {
        let mut chance = Chance::new(self.seed, 0);
        let app = *chance.one_of(&APPS);
        let hash = chance.hex::<5>();
        let unique = chance.hex::<3>();
        let uid = uuid::Uuid::from_bytes(chance.bytes::<16>());
        let version = format!("1.{}.{}", chance.below(40), chance.below(20));
        let labels = [
            ("io.cri-containerd.kind", "container".to_owned()),
            ("io.kubernetes.container.name", app.to_owned()),
            ("io.kubernetes.pod.name", format!("{app}-{hash}-{}", &unique[..5])),
            ("io.kubernetes.pod.namespace", format!("team-{app}")),
            ("io.kubernetes.pod.uid", uid.to_string()),
            ("app.kubernetes.io/name", app.to_owned()),
            ("app.kubernetes.io/version", version),
            (CHANGED, format!("{:016x}", self.changed)),
        ];
        let ended = self.exited.is_some();
        let container = Container {
            image: self.image.to_string(),
            runtime: "io.containerd.runc.v2".into(),
            labels: Default::default(),
            labels_left_out: false,
            created: Some(self.created),
            state: if ended { TaskState::Stopped } else { TaskState::Running },
            pid: self.pid,
            exit_status: if ended { chance.below(3) as u32 } else { 0 },
            exited: self.exited,
        };
        container.with_labels(labels.map(|(key, value)| (key.to_owned(), value)))
    }
}

fn pid(chance: &mut Chance) -> u32 {
    1_000 + chance.below(4_000_000) as u32
}

/// How long ago a container changed, as its label says.
#[must_use]
pub fn age(container: &Container) -> Option<Duration> {
    let changed = u64::from_str_radix(container.labels.get(CHANGED)?, 16).ok()?;
    Some(Duration::from_nanos(clock::now().saturating_sub(changed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_says_when_it_changed() {
        let mut chance = Chance::new(1, 1);
        let mut running = Running::new(&mut chance, "docker.io/library/a:1".into()).unwrap();
        let first = running.object();
        assert_eq!((first.state, first.labels.len()), (TaskState::Running, 8));
        assert!(age(&first).unwrap() < Duration::from_secs(60));
        running.flip(&mut chance);
        let second = running.object();
        assert_eq!(second.state, TaskState::Stopped);
        assert!(second.exited.is_some() && second.labels[CHANGED] > first.labels[CHANGED]);
        assert_eq!(second.labels["io.kubernetes.pod.uid"], first.labels["io.kubernetes.pod.uid"]);
    }
}
