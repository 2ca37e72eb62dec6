//! Views of a real etcd: what they show, and what becomes of them when etcd does what it may do.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "view/stage.rs"]
mod stage;

#[path = "view/faults.rs"]
mod faults;

#[path = "view/resume.rs"]
mod resume;

#[path = "view/serve.rs"]
mod serve;

use std::time::{Duration, Instant};

use berth_cluster::keys::Kind;
use berth_cluster::objects::TaskState;
use berth_cluster::peers::etcd::Write;
use berth_cluster::peers::stored;
use berth_cluster::view::Bounds;
use berth_filters::Filter;

use stage::{SOON, Stage, Watcher, container, image, node, shown, words};

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_lies_in_etcd_and_what_changes() {
    let mut stage = Stage::new().await;
    for name in ["n-1", "n-2"] {
        let key = stage.key(Kind::Nodes, name, "");
        stage.put(key, stored::encode(&node(name))).await;
    }
    for number in 0..20 {
        let key = stage.key(Kind::Images, "n-1", &format!("i{number:02}"));
        stage.put(key, stored::encode(&image(number))).await;
    }
    let nodes = stage.list(Kind::Nodes, "uuid==n-2").await;
    assert_eq!(shown(&nodes).into_keys().collect::<Vec<_>>(), [("n-2".into(), String::new())]);
    let images = stage.list(Kind::Images, "").await;
    assert_eq!(images.items.len(), 20);
    assert!(images.worth.connected && images.worth.revision > 20, "{:?}", images.worth);
    assert_eq!(images.items[3].object(Kind::Images), Some(image(3)));
    let of_layer = format!("layers~={:064x}", 7000 + 2);
    assert_eq!(shown(&stage.list(Kind::Images, &of_layer).await).len(), 1);
    assert!(stage.list(Kind::Containers, "").await.items.is_empty());

    let revision = stage.put(stage.key(Kind::Images, "n-2", "j"), stored::encode(&image(1))).await;
    let so = |listed: &_| shown(listed).get(&("n-2".into(), "j".into())) == Some(&revision);
    stage.until(Kind::Images, "what was put is shown", so).await;
    stage.delete(stage.key(Kind::Images, "n-2", "j")).await;
    stage.until(Kind::Images, "what is gone is not", |listed| listed.items.len() == 20).await;
    let relists: u64 = Kind::ALL.into_iter().map(|kind| stage.views.relists(kind)).sum();
    assert_eq!(relists, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_behind_the_last_one_whatever_changes() {
    let mut stage = Stage::new().await;
    for number in 0..25 {
        stage.put_container("n", &format!("c{number:02}"), TaskState::Running).await;
    }
    let all = Filter::parse("").unwrap();
    let first = stage.views.list(Kind::Containers, &all, 10, "").await.unwrap();
    let names = |listed: &_| shown(listed).into_keys().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!((names(&first).len(), names(&first)[9].as_str()), (10, "c09"));
    // The one that the page ended with, one before it, and the next one.
    stage.remove_container("n", "c09").await;
    stage.put_container("n", "c00a", TaskState::Running).await;
    let last = stage.remove_container("n", "c10").await;
    stage.until(Kind::Containers, "the changes", |listed| listed.worth.revision >= last).await;
    let token = first.next.unwrap();
    let second = stage.views.list(Kind::Containers, &all, 10, &token).await.unwrap();
    assert_eq!((names(&second)[0].as_str(), names(&second)[9].as_str()), ("c11", "c20"));
    let token = second.next.unwrap();
    let third = stage.views.list(Kind::Containers, &all, 10, &token).await.unwrap();
    assert_eq!((names(&third).len(), third.next), (4, None));

    let error = stage.views.list(Kind::Images, &all, 10, &token).await.unwrap_err();
    assert!(error.to_string().ends_with("list from the start: invalid argument"), "{error}");
    // A page that is full and the last one says so.
    let exact = stage.views.list(Kind::Containers, &all, 24, "").await.unwrap();
    assert_eq!((exact.items.len(), exact.next), (24, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_is_there_and_then_what_changes() {
    let mut stage = Stage::new().await;
    for number in 0..1100 {
        if number % 100 == 0 {
            stage.put_container("n", &format!("c{number:04}"), TaskState::Running).await;
        }
    }
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    assert_eq!(watcher.known, shown(&stage.list(Kind::Containers, "").await));
    assert_eq!(watcher.known.len(), 11);

    let revision = stage.put_container("n", "new", TaskState::Created).await;
    assert_eq!(watcher.changes().await, ["+n/new"]);
    assert!(watcher.revision >= revision, "{} of {revision}", watcher.revision);
    stage.remove_container("n", "new").await;
    let piece = loop {
        let piece = watcher.next().await;
        if !piece.changes.is_empty() {
            break piece;
        }
    };
    assert_eq!(words(&piece), ["-n/new"]);
    // With what it was.
    let was = piece.changes[0].item.object(Kind::Containers);
    assert_eq!(was, Some(container(TaskState::Created)));
    // Nothing happens, and that is told.
    let piece = watcher.next().await;
    assert!(piece.changes.is_empty() && piece.worth.connected && !piece.caught_up, "{piece:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_watch_tells_what_comes_to_match_and_what_does_no_more() {
    let mut stage = Stage::new().await;
    stage.put_container("n", "a", TaskState::Running).await;
    stage.put_container("n", "b", TaskState::Stopped).await;
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "state==running", 0).await);
    assert_eq!(watcher.changes().await, ["+n/a"]);
    watcher.until("all is told", |watcher| watcher.caught_up).await;
    stage.put_container("n", "b", TaskState::Stopped).await;
    stage.put_container("n", "a", TaskState::Stopped).await;
    assert_eq!(watcher.changes().await, ["-n/a"]);
    stage.remove_container("n", "a").await;
    stage.put_container("n", "b", TaskState::Running).await;
    assert_eq!(watcher.changes().await, ["+n/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_berth_does_not_write_is_not_shown_and_harms_nothing() {
    let mut stage = Stage::new().await;
    stage.put_container("n", "good", TaskState::Running).await;
    let prefix = stage.layout.of_kind(Kind::Containers);
    for (key, value) in [
        ("", &b"x"[..]),
        ("n", b"x"),
        ("n/default/", b"x"),
        ("../../x/y", b"x"),
        ("n/de fault/x", b"x"),
        ("n/default/bad", b"\xff\xff\xff"),
        ("n/default/large", &[0; 20 << 10]),
    ] {
        stage.put(format!("{prefix}{key}"), value.to_vec()).await;
    }
    let listed = stage.list(Kind::Containers, "").await;
    assert_eq!((listed.items.len(), listed.worth.unshown), (1, 7));
    let mut watcher = Watcher::new(stage.watch(Kind::Containers, "", 0).await);
    watcher.until("all is told", |watcher| watcher.caught_up).await;

    // What was good is bad now, and the other way round.
    let key = stage.key(Kind::Containers, "n", "good");
    stage.put(key.clone(), b"\xff".to_vec()).await;
    assert_eq!(watcher.changes().await, ["-n/good"]);
    stage.put_container("n", "bad", TaskState::Running).await;
    assert_eq!(watcher.changes().await, ["+n/bad"]);
    assert_eq!(stage.list(Kind::Containers, "").await.worth.unshown, 7);
    stage.delete(key).await;
    stage.delete(format!("{prefix}n")).await;
    let so = |listed: &berth_cluster::view::Listed| listed.worth.unshown == 5;
    stage.until(Kind::Containers, "what is gone is not counted", so).await;
    assert_eq!(watcher.known, shown(&stage.list(Kind::Containers, "").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_is_left_out_until_there_is() {
    let bounds = |settings: &mut berth_cluster::view::Settings| {
        settings.bounds = Bounds { objects: 10, bytes: 1 << 20 };
    };
    let mut stage = Stage::with(bounds).await;
    for number in 0..13 {
        stage.put_container("n", &format!("c{number:02}"), TaskState::Running).await;
    }
    let listed = stage.list(Kind::Containers, "").await;
    assert_eq!((listed.items.len(), listed.worth.unshown), (10, 3));
    stage.put_container("n", "d", TaskState::Running).await;
    let so = |listed: &berth_cluster::view::Listed| listed.worth.unshown == 4;
    stage.until(Kind::Containers, "one more is left out", so).await;
    // At once, so that it is looked for room only once.
    let gone = (0..5).map(|number| stage.key(Kind::Containers, "n", &format!("c{number:02}")));
    let gone = gone.map(|key| Write::Delete { key }).collect();
    stage.write(gone).await;
    let so =
        |listed: &berth_cluster::view::Listed| (listed.items.len(), listed.worth.unshown) == (9, 0);
    stage.until(Kind::Containers, "there is room for all", so).await;
    assert_eq!(stage.views.relists(Kind::Containers), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_kept_while_it_is_read_and_a_while_longer() {
    let linger = |settings: &mut berth_cluster::view::Settings| {
        settings.linger = Duration::from_millis(1500);
    };
    let mut stage = Stage::with(linger).await;
    stage.put_container("n", "c", TaskState::Running).await;
    assert_eq!(stage.gate.connections(), 0, "nobody reads");
    let watching = stage.watch(Kind::Containers, "", 0).await;
    assert!(stage.gate.connections() > 0);
    let begun = Instant::now();
    // Who watches keeps it, however long.
    while begun.elapsed() < Duration::from_secs(4) {
        let kept = stage.views.kept();
        assert_eq!((kept.len(), kept[0].readers, kept[0].objects), (1, 1, 1));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(watching);
    assert_eq!(stage.views.kept()[0].readers, 0);
    let gone = Instant::now();
    while !stage.views.kept().is_empty() || stage.gate.connections() > 0 {
        assert!(gone.elapsed() < SOON, "{:?}", stage.views.kept());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(gone.elapsed() > Duration::from_secs(1), "{:?}", gone.elapsed());
    assert_eq!(stage.list(Kind::Containers, "").await.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_read_while_much_changes_and_all_come_to_know_the_same() {
    let mut stage = Stage::with(|settings| settings.watches = 8).await;
    let mut watchers = Vec::new();
    for number in 0..8 {
        let filter = if number % 2 == 0 { "" } else { "node~=^n-[0-4]$" };
        watchers.push((number, Watcher::new(stage.watch(Kind::Containers, filter, 0).await)));
    }
    let error = stage.views.watch(Kind::Images, Filter::default(), 0).await.err().unwrap();
    assert!(error.to_string().ends_with("try again later: resource exhausted"), "{error}");

    let mut last = 0;
    for round in 0..300_usize {
        let (node, name) = (format!("n-{}", round % 7), format!("c{}", round * 31 % 40));
        last = match round % 3 {
            2 => stage.remove_container(&node, &name).await,
            _ => stage.put_container(&node, &name, TaskState::Running).await,
        };
        if round % 20 == 0 {
            stage.list(Kind::Containers, "state==running").await;
        }
    }
    // The last write has something to tell.
    last = last.max(stage.put_container("n-0", "last", TaskState::Running).await);
    let end = ("n-0".to_owned(), "last".to_owned());
    for (number, watcher) in &mut watchers {
        watcher.until("the last is told", |watcher| watcher.known.contains_key(&end)).await;
        assert!(watcher.revision >= last, "{} of {last}", watcher.revision);
        let filter = if *number % 2 == 0 { "" } else { "node~=^n-[0-4]$" };
        assert_eq!(watcher.known, shown(&stage.list(Kind::Containers, filter).await));
    }
    assert_eq!(stage.views.relists(Kind::Containers), 0);
}
