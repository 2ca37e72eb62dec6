//! What etcd does to a node that publishes.

use std::sync::Arc;
use std::time::Duration;

use berth_cluster::objects::{Published, TaskState};
use berth_cluster::publish::{Registration, Settings, Standing};
use berth_testkit as testkit;

use crate::truth::{Made, container, image, sized, some, task};
use crate::world::{World, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_killed_and_comes_back() {
    let mut world = World::new();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run(&truth);
    world.whole(&running).await;
    let (entry, _) = world.node("n").await.unwrap();
    running.stands("all is published", |it| it.waiting == 0).await;
    world.etcd.kill();
    truth.set(image(1), sized(11));
    truth.remove(&container(1));
    truth.set(container(9), task(TaskState::Created));
    let away = |it: &Standing| {
        it.registration == Registration::Connecting && it.waiting > 0 && it.trouble.is_some()
    };
    let standing = running.stands("etcd is missed", away).await;
    assert!(standing.trouble.unwrap().contains("at etcd"));
    world.etcd.restart().unwrap();
    world.whole(&running).await;
    running.registered().await;
    running.stands("nothing is wrong", |it| it.trouble.is_none() && it.waiting == 0).await;
    // Its lease was long enough: it has never left.
    assert_eq!(world.node("n").await.unwrap().0.lease, entry.lease);
    assert_eq!(running.counts.registrations(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_that_says_nothing_does_not_hold_up_an_end() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run(&truth);
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    world.etcd.pause().unwrap();
    truth.set(image(1), sized(11));
    running.stands("it waits", |it| it.waiting > 0).await;
    let took = running.stop().await;
    world.etcd.resume().unwrap();
    // Two seconds are for what is under way; the rest is for slow machines.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_not_there_at_first() {
    let mut world = World::new();
    world.etcd.kill();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run(&truth);
    let standing = running.stands("etcd is missed", |it| it.trouble.is_some()).await;
    assert_eq!(standing.registration, Registration::Connecting);
    world.etcd.restart().unwrap();
    world.whole(&running).await;
    assert_eq!(running.counts.registrations(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_loses_all_its_data() {
    let mut world = World::new();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    // It is a renewal that finds out: nothing happens on the node.
    let settings = Settings { ttl: Duration::from_secs(9), ..settings("n", "i") };
    let mut running = world.run_as(&truth, "n", settings);
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    world.etcd.wipe().unwrap();
    world.whole(&running).await;
    let published = Published { images: 5, containers: 5, left_out: 0 };
    until("the counts are told", || async {
        (world.node("n").await?.1.published == published).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_revoked() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run(&truth);
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    let (before, _) = world.node("n").await.unwrap();
    world.etcd.ctl(&["lease", "revoke", &format!("{:x}", before.lease)]);
    // News find that out at once, else the next renewal does.
    truth.set(image(1), sized(11));
    world.whole(&running).await;
    let (after, _) = world.node("n").await.unwrap();
    assert_ne!(after.lease, before.lease);
    assert_eq!(running.counts.registrations(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_has_no_space_left() {
    let options = testkit::EtcdOptions { quota_bytes: Some(8 << 20), ..Default::default() };
    let world = World::with(testkit::Etcd::start_with(&options).unwrap());
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run(&truth);
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    let (before, _) = world.node("n").await.unwrap();
    let large = "x".repeat(100 << 10);
    testkit::until("etcd is full", Duration::from_secs(120), || {
        world.etcd.try_ctl(&["put", "filler", &large]).unwrap().code != 0
    })
    .unwrap();
    truth.set(image(1), sized(11));
    let standing = running.stands("it is told", |it| it.trouble.is_some()).await;
    let trouble = standing.trouble.unwrap();
    assert!(trouble.contains("compact and defragment etcd"), "{trouble}");
    assert_eq!(standing.registration, Registration::Registered);
    truth.set(container(2), task(TaskState::Stopped));

    world.etcd.ctl(&["del", "filler"]);
    let revision = before.modified.max(world.node("n").await.unwrap().0.modified);
    let newest = world.etcd.ctl(&["get", "none", "-w", "json"]);
    let newest = newest.split("\"revision\":").nth(1).unwrap();
    let newest: i64 =
        newest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    assert!(newest > revision);
    world.etcd.ctl(&["compact", &newest.to_string()]);
    world.etcd.ctl(&["defrag"]);
    world.etcd.ctl(&["alarm", "disarm"]);
    world.whole(&running).await;
    running.stands("nothing is wrong", |it| it.trouble.is_none() && it.waiting == 0).await;
    // It was registered all the time.
    assert_eq!(running.counts.registrations(), 1);
    assert_eq!(world.node("n").await.unwrap().0.lease, before.lease);
}
