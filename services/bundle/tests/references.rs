//! Bundle's part in collections: what is under way when an epoch begins. Needs root.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::pin::pin;
use std::sync::mpsc::{Sender, channel};

use berth_bundle::Error;
use berth_bundle::snapshots::{Caller, Kind, LabelChange, LeaseRow, Snapshots};
use berth_epochs::{Counts, Flat};
use berth_store::Store;
use futures::{FutureExt, poll};
use support::{Node, caller, commit, labels, on_all, prepare, put, stage};

/// Keeps the store's writer busy until the sender is dropped.
async fn hold(store: &Store) -> Sender<()> {
    let (release, held) = channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let parts = std::sync::Mutex::new((held, Some(started)));
    let store = store.clone();
    #[allow(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        let wait = move |_: &berth_store::Write| {
            let mut parts = parts.lock().unwrap();
            if let Some(started) = parts.1.take() {
                let _ = started.send(());
            }
            let _ = parts.0.recv();
            Ok::<_, Error>(())
        };
        store.commit("hold", wait).await
    });
    has_started.await.unwrap();
    release
}

const REFERENCE: (&str, &str) = ("containerd.io/gc.ref.content", "sha256:x");

/// As after a collection: nobody sweeps.
async fn quiet(s: &Snapshots) {
    s.begin(1).await;
    s.end(1).await.unwrap();
}

async fn begin_waits_for_changes_that_announced_nothing(node: &Node, s: &Snapshots, name: &str) {
    quiet(s).await;
    let release = hold(&node.store()).await;
    let refers = labels(&[REFERENCE]);
    let mut making = pin!(s.create(caller(), name, Kind::Active, "k", "", refers));
    assert!(poll!(making.as_mut()).is_pending());
    let mut begun = pin!(s.begin(2));
    assert!(poll!(begun.as_mut()).is_pending(), "a change is under way that announced nothing");
    drop(release);
    let (made, ()) = tokio::join!(making, begun);
    made.unwrap();
    assert!(node.pins.0.lock().unwrap().is_empty());
    let found = s.nodes().unwrap();
    assert_eq!(found[0].refs, [("content".to_owned(), "sha256:x".to_owned())]);
}

/// Whoever made the change gives up; the commit is made all the same, and waited for.
async fn begin_waits_for_changes_that_nobody_waits_for(node: &Node, s: &Snapshots, name: &str) {
    prepare(s, name, "k", "").await.unwrap();
    let release = hold(&node.store()).await;
    {
        let one = vec![LabelChange::One(REFERENCE.0.to_owned())];
        let me = caller();
        let mut update = pin!(s.update(&me, name, "k", labels(&[REFERENCE]), one));
        assert!(poll!(update.as_mut()).is_pending());
        // The writer looks for abandoned commits when it takes them: this one it has not yet.
    }
    let mut begun = pin!(s.begin(1));
    assert!(poll!(begun.as_mut()).is_pending());
    drop(release);
    begun.await;
}

/// What a lease comes to hold is used: an epoch that begins before its row is written waits for that.
async fn begin_waits_for_holds(node: &Node, s: &Snapshots, name: &str) {
    prepare(s, name, "k", "").await.unwrap();
    quiet(s).await;
    let leased = Caller { lease: Some(("l".to_owned(), 7)), ..caller() };
    let row = || LeaseRow { incarnation: 7, kind: format!("snapshots/{name}"), id: "k".to_owned() };
    let release = hold(&node.store()).await;
    let mut holding = pin!(s.hold_present(leased, name, "k"));
    assert!(poll!(holding.as_mut()).is_pending());
    let mut begun = pin!(s.begin(2));
    assert!(poll!(begun.as_mut()).is_pending(), "the lease's row is not written");
    drop(release);
    let (held, ()) = tokio::join!(holding, begun);
    assert!(held.unwrap());
    let release = hold(&node.store()).await;
    let mut adding = pin!(s.add_hold("default".to_owned(), "other".to_owned(), row()));
    assert!(poll!(adding.as_mut()).is_pending());
    let mut begun = pin!(s.begin(3));
    assert!(poll!(begun.as_mut()).is_pending(), "the other lease's row is not written");
    drop(release);
    let (added, ()) = tokio::join!(adding, begun);
    added.unwrap();
    assert_eq!(s.holds("default", "l").unwrap().len(), 1);
    assert_eq!(s.holds("default", "other").unwrap().len(), 1);
}

async fn an_open_epoch_is_told_of_references(node: &Node, s: &Snapshots, name: &str) {
    s.begin(7).await;
    let refers = labels(&[REFERENCE, ("containerd.io/gc.ref.snapshot.other", "own")]);
    s.create(caller(), name, Kind::Active, "k", "", refers.clone()).await.unwrap();
    s.commit(caller(), name, "done", "k", "", refers.clone()).await.unwrap();
    stage(s, name, "st", "", support::Tar::default().end()).await.unwrap();
    s.commit_staged(caller(), name, "st", "layer", "", refers.clone()).await.unwrap();
    s.update(&caller(), name, "done", refers, vec![LabelChange::All]).await.unwrap();
    let node_of = |kind: &str, key: &str| ("default".to_owned(), kind.to_owned(), key.to_owned());
    let pins = node.pins.0.lock().unwrap().clone();
    assert_eq!(pins, vec![node_of("content", "sha256:x"); 4]);
    assert!(s.epochs().is_touched(&node_of("snapshots/other", "own")));
}

async fn after_an_epoch_nothing_is_told(node: &Node, s: &Snapshots, name: &str) {
    quiet(s).await;
    s.create(caller(), name, Kind::Active, "k", "", labels(&[REFERENCE])).await.unwrap();
    commit(s, name, "done", "k").await.unwrap();
    stage(s, name, "st", "done", support::Tar::default().end()).await.unwrap();
    put(s, name, "st", "layer", "done").await.unwrap();
    assert!(node.pins.0.lock().unwrap().is_empty());
}

/// Until it has been in an epoch, a run has to ask for each snapshot what that keeps.
async fn a_run_that_begins_with_snapshots_wants_a_collection(
    node: &Node,
    s: &Snapshots,
    name: &str,
) {
    assert_eq!(s.news().next().now_or_never(), None);
    prepare(s, name, "k", "").await.unwrap();
    let wanted = node.open().await.news().next().now_or_never();
    assert_eq!(wanted, Some(Counts { changes: 0, deletions: 1 }));
}

/// The owner may be in the midst of a collection that this run has not taken part in.
async fn before_its_first_epoch_a_run_tells_all(node: &Node, s: &Snapshots, name: &str) {
    let refers = labels(&[REFERENCE]);
    s.create(caller(), name, Kind::Active, "k", "", refers).await.unwrap();
    assert_eq!(node.pins.0.lock().unwrap().len(), 1);
    quiet(s).await;
    let s = node.open().await;
    s.update(&caller(), name, "k", labels(&[REFERENCE]), vec![]).await.unwrap();
    // Also of what it changes: what that keeps it does not know.
    let pins = node.pins.0.lock().unwrap().clone();
    let told: Vec<_> = pins.iter().map(|(_, kind, key)| (&**kind, &**key)).collect();
    let own = format!("snapshots/{name}");
    assert_eq!(told, [("content", "sha256:x"), ("content", "sha256:x"), (&*own, "k")]);
    let refers = labels(&[("containerd.io/gc.ref.mount", "m")]);
    s.update(&caller(), name, "k", refers, vec![]).await.unwrap();
    let pins = node.pins.0.lock().unwrap();
    assert_eq!((&*pins[3].1, &*pins[3].2), ("mounts", "m"));
}

/// What only a flat lease keeps is relied on as a whole once it is used otherwise: the owners of what it
/// leads to are told before whoever uses it is answered.
async fn what_becomes_whole_is_told_of(node: &Node, s: &Snapshots, name: &str) {
    for (key, committed) in [("a", "kept"), ("b", "free"), ("c", "early")] {
        prepare(s, name, key, "").await.unwrap();
        commit(s, name, committed, key).await.unwrap();
    }
    let kind = format!("snapshots/{name}");
    let of = |key: &str| ("default".to_owned(), kind.clone(), key.to_owned());
    let blob = ("default".to_owned(), "content".to_owned(), "sha256:x".to_owned());
    let epoch = {
        s.begin(1).await;
        // A run that has just begun told of what it committed.
        node.pins.0.lock().unwrap().clear();
        s.stat(&caller(), name, "early").await.unwrap();
        s.epochs().opened(1).unwrap()
    };
    let below = vec![(of("kept"), vec![of("free"), blob.clone()]), (of("early"), vec![])];
    let flat = Flat { things: vec![of("kept"), of("early")], below };
    assert_eq!(epoch.watch(flat), [of("early")], "it was used before");
    let told = || std::mem::take(&mut *node.pins.0.lock().unwrap());
    let one = std::slice::from_ref(&blob);
    assert!(told().is_empty() && !epoch.is_touched(&of("free")));
    prepare(s, name, "child", "kept").await.unwrap();
    assert_eq!(told(), one, "a child relies on its parent");
    assert!(epoch.is_touched(&of("free")), "that is bundle's own");
    let leased = Caller { lease: Some(("l".to_owned(), 7)), ..caller() };
    assert!(s.hold_present(leased, name, "kept").await.unwrap());
    assert!(told().is_empty(), "in this epoch the owner knows");
    let other = ("default".to_owned(), "content".to_owned(), "sha256:y".to_owned());
    let below = vec![(of("other"), vec![other.clone()])];
    let mut used = epoch.watch(Flat { things: vec![of("other")], below });
    used.sort();
    assert_eq!(used, [of("early"), of("kept")]);
    s.pin(of("other"), true).await.unwrap();
    assert!(told().is_empty(), "whoever pins it alone tells the rest");
    s.pin(of("other"), false).await.unwrap();
    assert_eq!(told(), [other], "that nobody knows of it");
}

#[tokio::test]
async fn flat_things() {
    on_all(what_becomes_whole_is_told_of).await;
}

#[tokio::test]
async fn begin_waits() {
    on_all(begin_waits_for_changes_that_announced_nothing).await;
    on_all(begin_waits_for_changes_that_nobody_waits_for).await;
    on_all(begin_waits_for_holds).await;
}

#[tokio::test]
async fn announcements() {
    on_all(an_open_epoch_is_told_of_references).await;
    on_all(after_an_epoch_nothing_is_told).await;
    on_all(before_its_first_epoch_a_run_tells_all).await;
    on_all(a_run_that_begins_with_snapshots_wants_a_collection).await;
}
