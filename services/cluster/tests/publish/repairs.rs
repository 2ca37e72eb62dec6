//! What somebody does to a node's keys by hand.

use std::sync::Arc;
use std::time::Duration;

use berth_cluster::publish::Settings;

use crate::truth::{Made, container, image, some};
use crate::world::{World, settings, until};

fn comparing() -> Settings {
    Settings { compare: Duration::from_millis(500), ..settings("n", "i") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_were_changed_by_hand_are_mended() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run_as(&truth, "n", comparing());
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    let key = |held| world.layout.held(&"n".parse().unwrap(), &held);
    let ctl = &world.etcd;
    ctl.ctl(&["del", &key(image(0))]);
    ctl.ctl(&["put", &key(image(1)), "garbage"]);
    // The right value, which would stay when the node is gone.
    let value = ctl.ctl(&["get", &key(container(0)), "--print-value-only"]);
    ctl.ctl(&["put", &key(container(0)), value.trim_end_matches('\n')]);
    // Those are nobody's.
    ctl.ctl(&["put", &key(container(77)), "x"]);
    ctl.ctl(&["put", "/berth/test/v1/images/n/no-name", "x"]);
    ctl.ctl(&["put", "/berth/test/v1/images/n/b d/x", "x"]);
    world.whole(&running).await;
    until("all was counted", || async { (running.counts.repaired() == 6).then_some(()) }).await;
    until("all was deleted", || async { (running.counts.keys_deleted() == 3).then_some(()) }).await;
    // Neighbours are left alone.
    assert_eq!(running.counts.registrations(), 1);
    ctl.ctl(&["put", "/berth/test/v1/images/other/default/x", "x"]);
    ctl.ctl(&["put", "/berth/test/v1/images/nn/default/x", "x"]);
    ctl.ctl(&["del", &key(image(0))]);
    world.whole(&running).await;
    assert_eq!(world.read("/berth/test/v1/images/other/").await.len(), 1);
    assert_eq!(world.read("/berth/test/v1/images/nn/").await.len(), 1);
    assert_eq!(running.counts.keys_deleted(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comparing_finds_nothing_and_writes_nothing_when_all_is_well() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run_as(&truth, "n", comparing());
    let before = world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    truth.asked();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    until("it was compared some times", || async {
        // Each asks for all of both kinds.
        let all = asked.fetch_add(truth.asked().len(), std::sync::atomic::Ordering::Relaxed);
        (all >= 8).then_some(())
    })
    .await;
    assert_eq!(world.held("n").await, before);
    assert_eq!((running.counts.repaired(), running.counts.failures()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_own_key_is_gone_is_registered_again() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(3, 3)));
    let mut running = world.run_as(&truth, "n", comparing());
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    world.etcd.ctl(&["del", "/berth/test/v1/nodes/n"]);
    until("it is registered", || async { world.node("n").await }).await;
    world.whole(&running).await;
    assert_eq!(running.counts.registrations(), 2);
}
