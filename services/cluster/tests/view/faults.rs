//! Etcd is cut off, killed, stopped, compacted, emptied.

use std::time::{Duration, Instant};

use berth_cluster::keys::Kind;
use berth_cluster::objects::TaskState::{Created, Running, Stopped};
use berth_cluster::view::Listed;

use super::stage::{SOON, Stage, Watcher, shown};

fn away(listed: &Listed) -> bool {
    !listed.worth.connected
}

fn there(listed: &Listed) -> bool {
    listed.worth.connected
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_the_first_reader_is_told_why() {
    let mut stage = Stage::with(|settings| settings.wait = Duration::from_millis(700)).await;
    stage.gate.open(false);
    let begun = Instant::now();
    let error = stage.views.list(Kind::Nodes, &Default::default(), 0, "").await.unwrap_err();
    assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
    let error = error.to_string();
    assert!(error.starts_with("the view of nodes was not read from etcd within 700ms"), "{error}");
    assert!(error.ends_with("unavailable"), "{error}");
    // It goes on trying by itself.
    stage.gate.open(true);
    stage.put_container("n", "a", Created).await;
    let begun = Instant::now();
    while stage.views.list(Kind::Containers, &Default::default(), 0, "").await.is_err() {
        assert!(begun.elapsed() < SOON);
    }
    assert_eq!(stage.list(Kind::Containers, "").await.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_was_cut_off_goes_on_without_a_listing() {
    let mut stage = Stage::new().await;
    stage.put_container("n", "a", Created).await;
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    stage.gate.open(false);
    stage.until(Kind::Containers, "it is cut off", away).await;
    while watcher.next().await.worth.connected {}
    stage.put_container("n", "b", Created).await;
    stage.remove_container("n", "a").await;
    let old = stage.list(Kind::Containers, "").await;
    assert_eq!(old.items.len(), 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let older = stage.list(Kind::Containers, "").await;
    assert!(older.worth.age > old.worth.age, "{:?}, {:?}", older.worth, old.worth);
    stage.gate.open(true);
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(watcher.changes().await);
    }
    assert_eq!(told, ["+n/b", "-n/a"]);
    let listed = stage.until(Kind::Containers, "it is there again", there).await;
    assert_eq!(watcher.known, shown(&listed));

    // The same when etcd itself is killed.
    stage.etcd.restart().unwrap();
    stage.put_container("n", "c", Created).await;
    assert_eq!(watcher.changes().await, ["+n/c"]);
    assert_eq!(stage.views.relists(Kind::Containers), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_etcd_says_nothing_all_is_answered_at_once_and_grows_old() {
    let mut stage = Stage::new().await;
    stage.put_container("n", "a", Created).await;
    stage.list(Kind::Containers, "").await;
    stage.etcd.pause().unwrap();
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    loop {
        let asked = Instant::now();
        let listed = stage.list(Kind::Containers, "").await;
        slowest = slowest.max(asked.elapsed());
        assert_eq!(listed.items.len(), 1);
        if away(&listed) && listed.worth.age > Duration::from_secs(3) {
            break;
        }
        assert!(begun.elapsed() < SOON, "{:?}", listed.worth);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What asks etcd takes five.
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    stage.etcd.resume().unwrap();
    let young = |listed: &Listed| there(listed) && listed.worth.age < Duration::from_secs(3);
    stage.until(Kind::Containers, "it is there again", young).await;
    assert_eq!(stage.views.relists(Kind::Containers), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_etcd_says_nothing_who_waits_for_history_hears_that_nothing_comes() {
    let mut stage = Stage::new().await;
    let first = stage.put_container("n", "a", Created).await;
    stage.put_container("n", "b", Created).await;
    stage.list(Kind::Containers, "").await;
    stage.etcd.pause().unwrap();
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", first).await);
    // Several, before the view itself finds out.
    for _ in 0..3 {
        let piece = watcher.next().await;
        assert!(piece.changes.is_empty() && piece.worth.connected, "{piece:?}");
    }
    stage.etcd.resume().unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(watcher.changes().await);
    }
    assert_eq!(told, ["+n/a", "+n/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compacted_away_meanwhile_is_found_by_a_listing() {
    let mut stage = Stage::new().await;
    for name in ["a", "b", "c"] {
        stage.put_container("n", name, Created).await;
    }
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    let from = watcher.revision + 1;
    stage.gate.open(false);
    stage.until(Kind::Containers, "it is cut off", away).await;
    stage.remove_container("n", "a").await;
    stage.put_container("n", "b", Stopped).await;
    let last = stage.put_container("n", "d", Running).await;
    stage.etcd.ctl(&["compaction", &last.to_string()]);
    stage.gate.open(true);
    watcher.until("the difference is told", |watcher| watcher.revision >= last).await;
    assert_eq!(watcher.known, shown(&stage.list(Kind::Containers, "").await));
    assert_eq!(watcher.known.len(), 3);
    assert_eq!(stage.views.relists(Kind::Containers), 1);
    // Who comes back later gets the same, which etcd does not have any more.
    let mut again = Watcher::new(stage.watch(Kind::Containers, "", from).await);
    assert_eq!(again.changes().await, ["-n/a", "+n/b", "+n/d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_etcd_loses_its_data_watchers_are_told_the_difference() {
    let mut stage = Stage::new().await;
    for number in 0..30 {
        stage.put_container("n", &format!("c{number:02}"), Created).await;
    }
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    let old = watcher.revision;
    // Waits for what comes only in this history.
    let mut waiting = Watcher::new(stage.watch(Kind::Containers, "", old + 1).await);
    waiting.next().await;
    stage.etcd.wipe().unwrap();
    stage.put_container("n", "c07", Running).await;
    stage.put_container("m", "x", Running).await;
    let end = ("m".to_owned(), "x".to_owned());
    for watcher in [&mut watcher, &mut waiting] {
        watcher.until("the difference is told", |it| it.known.contains_key(&end)).await;
        assert!(watcher.revision < old, "{} of {old}", watcher.revision);
    }
    let listed = stage.list(Kind::Containers, "").await;
    assert_eq!((watcher.known.len(), &watcher.known), (2, &shown(&listed)));
    assert_eq!(stage.views.relists(Kind::Containers), 1);
    let error = stage.views.watch(Kind::Containers, Default::default(), old + 1).await;
    let error = error.err().unwrap().to_string();
    assert!(error.contains("its data was lost, or it is another cluster"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_is_found_however_far_it_has_come() {
    let mut stage = Stage::new().await;
    for number in 0..10 {
        stage.put_container("n", &format!("c{number}"), Created).await;
    }
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    stage.gate.open(false);
    stage.until(Kind::Containers, "it is cut off", away).await;
    stage.etcd.wipe().unwrap();
    let mut last = 0;
    for number in 0..30 {
        last = stage.put_container("m", &format!("d{}", number % 5), Running).await;
    }
    assert!(last > watcher.revision, "{last}");
    stage.gate.open(true);
    watcher.until("the difference is told", |watcher| watcher.revision >= last).await;
    assert_eq!(watcher.known, shown(&stage.list(Kind::Containers, "").await));
    assert_eq!((watcher.known.len(), stage.views.relists(Kind::Containers)), (5, 1));
}
