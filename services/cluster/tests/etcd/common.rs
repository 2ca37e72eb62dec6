//! What these tests share.

use std::time::Duration;

use berth_cluster::peers::etcd::{Change, Etcd, If, Outcome, Settings, Told, Watch, Write};
use tokio::time::Instant;

/// How long a condition may take to come about on a slow machine.
pub const LONG: Duration = Duration::from_secs(60);

pub fn settings(endpoints: Vec<String>) -> Settings {
    Settings { endpoints, ..Settings::default() }
}

pub async fn connect(etcd: &berth_testkit::Etcd) -> Etcd {
    Etcd::connect(&settings(etcd.endpoints())).await.unwrap()
}

pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Write {
    Write::Put { key: key.into(), value: value.into().into(), lease: 0 }
}

/// A condition that always holds.
pub fn always() -> If {
    If::Absent("/nobody".into())
}

/// Writes what must be made; answers the revision.
pub async fn write(etcd: &Etcd, writes: Vec<Write>) -> i64 {
    match etcd.write(&always(), writes).await.unwrap() {
        Outcome::Made(revision) => revision,
        Outcome::Refused(entry) => panic!("it was refused: {entry:?}"),
    }
}

/// Waits for changes; answers how it was with each part.
pub async fn changes(watch: &mut Watch, until: i64) -> Vec<(Vec<Change>, i64)> {
    let (end, mut parts) = (Instant::now() + LONG, Vec::new());
    loop {
        assert!(Instant::now() < end, "only {} parts were told", parts.len());
        if let Told::Changes { changes, whole } = watch.next().await.unwrap() {
            parts.push((changes, whole));
            if whole >= until {
                return parts;
            }
        }
    }
}

pub fn key_of(change: &Change) -> &[u8] {
    match change {
        Change::Put(entry) => &entry.key,
        Change::Deleted { key, .. } => key,
    }
}
