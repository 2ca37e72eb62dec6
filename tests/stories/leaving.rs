//! Clients that leave in the midst of a change of a snapshot: afterwards what is on record is what was
//! told of, and what has a directory.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::with_namespace;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_testkit::{Node, Session, until};
use tokio::time::timeout;
use tonic::Request;
use wire::snapshots_client::SnapshotsClient;

const SNAPSHOTTER: &str = "native";
/// How many clients leave, each a little later than the one before.
const CLIENTS: u32 = 150;
const LATER: Duration = Duration::from_micros(100);

fn on<T>(message: T) -> Result<Request<T>> {
    Ok(with_namespace(message, &"default".parse()?))
}

fn prepare(key: &str) -> Result<Request<wire::PrepareSnapshotRequest>> {
    on(wire::PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        key: key.into(),
        labels: [("containerd.io/gc.root".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    })
}

fn commit(key: &str) -> Result<Request<wire::CommitSnapshotRequest>> {
    on(wire::CommitSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        name: format!("{key}-done"),
        key: key.into(),
        labels: [("containerd.io/gc.root".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    })
}

fn remove(key: &str) -> Result<Request<wire::RemoveSnapshotRequest>> {
    on(wire::RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: key.into() })
}

/// What the events say there is.
fn announced(printed: &str) -> Result<BTreeSet<String>> {
    let mut there = BTreeSet::new();
    for line in printed.lines().filter(|line| line.contains(" /snapshot/")) {
        let (_, event) = line.split_once('{').context("no event")?;
        let event: serde_json::Value = serde_json::from_str(&format!("{{{event}"))?;
        let key = event["key"].as_str().context("no key")?.to_owned();
        if line.contains(" /snapshot/prepare ") {
            there.insert(key);
        } else {
            there.remove(&key);
            there.extend(event["name"].as_str().map(str::to_owned));
        }
    }
    Ok(there)
}

fn recorded(node: &Node) -> Result<BTreeSet<String>> {
    let listed = node.ctr(&format!("snapshots --snapshotter {SNAPSHOTTER} ls")).output()?.ok()?;
    let keys = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(keys.map(str::to_owned).collect())
}

#[test]
fn a_snapshot_is_changed_and_told_of_or_neither() -> Result<()> {
    let node = Node::start()?;
    let events = Session::start(node.ctr("events"))?;
    let mut number = 0;
    until("events arrive", Duration::from_secs(20), || {
        number += 1;
        let labelled = node.ctr(&format!("namespaces label default n={number}")).output();
        labelled.is_ok() && events.printed().contains("/namespaces/update")
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = SnapshotsClient::new(berth_grpc::channel(&node.address()));
        for number in 0..CLIENTS {
            let (key, leaves) = (format!("left-{number}"), LATER * number);
            // Who leaves while it is made, and who leaves while it is committed or removed.
            let _ = timeout(leaves, client.prepare(prepare(&key)?)).await;
            let key = format!("kept-{number}");
            client.prepare(prepare(&key)?).await?;
            if number % 2 == 0 {
                let _ = timeout(leaves, client.commit(commit(&key)?)).await;
            } else {
                let _ = timeout(leaves, client.remove(remove(&key)?)).await;
            }
        }
        anyhow::Ok(())
    })?;
    let folder = node.path("root/bundle/native/snapshots");
    let directories = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    let agrees = || {
        let (told, there) = (announced(&events.printed()), recorded(&node));
        let (Ok(told), Ok(there)) = (told, there) else { return false };
        told == there && directories() == there.len()
    };
    until("what goes on has ended", Duration::from_secs(30), agrees).with_context(|| {
        let (told, there) = (announced(&events.printed()), recorded(&node));
        format!("told of {told:?}, there are {there:?} and {} directories", directories())
    })?;
    let there = recorded(&node)?;
    let made = |part: &str| there.iter().any(|key| key.ends_with(part));
    ensure!(made("-done") && there.iter().any(|key| key.starts_with("left-")), "{there:?}");
    Ok(())
}
