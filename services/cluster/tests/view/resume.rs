//! Watches that go on where another one left off.

use std::time::{Duration, Instant};

use berth_cluster::keys::Kind;
use berth_cluster::objects::TaskState::{Created, Running, Stopped};
use berth_filters::Filter;

use super::stage::{SOON, Stage, Watcher, shown, small_ring};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_it_was() {
    let mut stage = Stage::new().await;
    let first = stage.put_container("n", "a", Created).await;
    let watching = stage.watch(Kind::Containers, "", 0).await;
    let mut watcher = Watcher::new(watching);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    assert_eq!(watcher.revision, first);
    for name in ["b", "c", "d"] {
        stage.put_container("n", name, Running).await;
    }
    watcher.until("b is told", |watcher| watcher.revision > first).await;
    let from = watcher.revision + 1;
    let mut known = watcher.known.clone();
    let last = stage.remove_container("n", "a").await;
    stage.until(Kind::Containers, "the view has all", |it| it.worth.revision >= last).await;
    let mut again = Watcher::new(stage.watch(Kind::Containers, "", from).await);
    again.known = std::mem::take(&mut known);
    again.until("the last is told", |watcher| watcher.revision >= last).await;
    assert_eq!(again.known, shown(&stage.list(Kind::Containers, "").await));
    assert!(again.caught_up);
    // Nothing that is new: the place of the next one.
    let mut end = Watcher::new(stage.watch(Kind::Containers, "", last + 1).await);
    assert!(end.next().await.changes.is_empty() && end.caught_up && end.revision == last);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_before_the_ring_and_the_view_comes_from_etcd() {
    let mut stage = Stage::with(small_ring).await;
    let first = stage.put_container("n", "a", Created).await;
    stage.put_container("n", "b", Created).await;
    stage.remove_container("n", "a").await;
    // The view begins here.
    stage.list(Kind::Containers, "").await;
    let mut before = Watcher::new(stage.watch(Kind::Containers, "", first).await);
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(before.changes().await);
    }
    assert_eq!(told, ["+n/a", "+n/b", "-n/a"]);
    // And goes on from its own.
    for number in 0..10 {
        let name = format!("c{number}");
        let revision = stage.put_container("n", &name, Running).await;
        assert_eq!(before.changes().await, [format!("+n/{name}")]);
        assert!(before.revision >= revision, "{} of {revision}", before.revision);
    }
    assert!(before.caught_up);
    // More than the ring has.
    let mut between = Watcher::new(stage.watch(Kind::Containers, "", first + 3).await);
    let mut told = Vec::new();
    while told.len() < 10 {
        told.extend(between.changes().await);
    }
    assert_eq!(told, (0..10).map(|number| format!("+n/c{number}")).collect::<Vec<_>>());
    // What is gone of what was there is told with what it was, through the filter.
    let mut filtered =
        Watcher::new(stage.watch(Kind::Containers, "name==a,state==created", first + 1).await);
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(filtered.changes().await);
    }
    // The first may have matched before it was written.
    assert_eq!(told[..2], ["-n/b", "-n/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_etcd_has_not_is_refused() {
    let mut stage = Stage::with(small_ring).await;
    let first = stage.put_container("n", "a", Created).await;
    let mut last = first;
    for _ in 0..10 {
        last = stage.put_container("n", "a", Running).await;
    }
    stage.list(Kind::Containers, "").await;
    let compacted = stage.etcd.ctl(&["compaction", &(last - 1).to_string()]);
    assert!(compacted.contains("compacted"), "{compacted}");
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", first + 1).await);
    let error = watcher.error().await;
    assert!(error.contains("was compacted away") && error.contains("list again"), "{error}");
    let far = last + 1000;
    let error = stage.views.watch(Kind::Containers, Filter::default(), far).await.err().unwrap();
    let error = error.to_string();
    assert!(error.starts_with(&format!("revision {far} is ahead of etcd")), "{error}");
    let error = stage.views.watch(Kind::Containers, Filter::default(), -1).await.err().unwrap();
    assert!(error.to_string().ends_with("invalid argument"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_view_may_have_been_ahead_of_this_one() {
    let mut stage = Stage::new().await;
    stage.put_container("n", "a", Created).await;
    stage.list(Kind::Containers, "").await;
    // Changes of another kind, which this view does not see.
    let key = stage.key(Kind::Nodes, "n", "");
    for _ in 0..3 {
        stage.put(key.clone(), Vec::new()).await;
    }
    let newest = stage.put(key.clone(), Vec::new()).await;
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", newest + 1).await);
    stage.put_container("n", "b", Running).await;
    assert_eq!(watcher.changes().await, ["+n/b"]);
    assert!(watcher.revision > newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_slowly_is_told_where_to_go_on() {
    let mut stage = Stage::with(small_ring).await;
    stage.put_container("n", "a", Running).await;
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    let was = watcher.revision;
    let mut untold = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    let mut last = 0;
    for _ in 0..12 {
        last = stage.put_container("n", "a", Stopped).await;
    }
    stage.until(Kind::Containers, "the view has all", |it| it.worth.revision >= last).await;
    assert_eq!(stage.views.kept()[0].lag, 12);
    let error = watcher.error().await;
    let resume = format!("watch again from revision {}: resource exhausted", was + 1);
    assert!(error.ends_with(&resume), "{error}");
    // Who was told nothing yet begins anew.
    let error = untold.error().await;
    assert!(error.ends_with("watch again from revision 0: resource exhausted"), "{error}");
    // As it was told to.
    let mut again = Watcher::new(stage.watch(Kind::Containers, "", was + 1).await);
    let begun = Instant::now();
    while again.revision < last {
        again.next().await;
        assert!(begun.elapsed() < SOON);
    }
    assert_eq!(again.known, shown(&stage.list(Kind::Containers, "").await));
    assert!(begun.elapsed() < Duration::from_secs(30));
}
