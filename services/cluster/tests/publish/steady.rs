//! While all goes well.

use std::sync::Arc;

use berth_cluster::keys::Kind;
use berth_cluster::objects::{Published, ServiceHealth, TaskState};
use berth_cluster::publish::Standing;
use berth_cluster::truth::Asked;

use crate::truth::{Made, container, image, sized, some, task};
use crate::world::{World, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_holds_is_in_etcd_and_follows_it() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(3, 2)));
    let mut running = world.run(&truth);
    world.whole(&running).await;
    let (entry, node) = world.node("n").await.unwrap();
    assert_eq!((&*node.uuid, &*node.incarnation, &*node.boot), ("u", "i", "b"));
    assert_eq!((&*node.version, &*node.peer_address), ("1", "i.n.example:7443"));
    assert_eq!(node.labels["zone"], "a");
    assert!(node.registered.is_some() && entry.lease != 0);
    let published = Published { images: 3, containers: 2, left_out: 0 };
    until("the counts are told", || async {
        (world.node("n").await?.1.published == published).then_some(())
    })
    .await;
    running.stands("all is published", |it| it.waiting == 0 && it.published == published).await;

    truth.set(image(1), sized(77));
    truth.set(image(8), sized(8));
    truth.set(container(0), task(TaskState::Stopped));
    truth.remove(&container(1));
    world.whole(&running).await;
    truth.remove_namespace(Kind::Images, "default");
    world.whole(&running).await;
    truth.remove(&container(0));
    assert!(world.whole(&running).await.is_empty());

    let none = Published::default();
    let nothing = |it: &Standing| it.waiting == 0 && it.published == none;
    let standing = running.stands("nothing is published", nothing).await;
    assert_eq!(standing.trouble, None);
    let counts = &running.counts;
    assert_eq!((counts.registrations(), counts.repaired(), counts.failures()), (1, 0, 0));
    assert_eq!(counts.keys_deleted(), 6);
    // All but what the first listing found was news: 3 changes, 6 deletions.
    assert!(counts.took().len() >= 9, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_come_together_are_one_write() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(30, 10)));
    let mut running = world.run(&truth);
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    truth.asked();
    // They come while another one is asked about: whatever comes until then is asked about at once.
    truth.hold_back(true);
    truth.set(image(29), sized(1000));
    running.stands("it is asked about", |it| it.waiting == 1).await;
    for number in 0..20 {
        for size in [1, 2, 1001] {
            truth.set(image(number), sized(number as u64 + size));
        }
    }
    running.stands("all are waited for", |it| it.waiting == 21).await;
    truth.hold_back(false);
    let held = world.whole(&running).await;
    let first = held[&image(0)].modified;
    // It goes before them, or with them when something else has just been written.
    assert!(held[&image(29)].modified <= first);
    for number in 0..20 {
        assert_eq!(held[&image(number)].modified, first, "{number}");
    }
    // The twenty are one question, whether the first one was put before them or is part of it.
    let asked = truth.asked();
    let together: Vec<_> = (0..20).map(image).collect();
    let of = |asked: &Asked| match asked {
        Asked::These(Kind::Images, these) => these.clone(),
        other => panic!("{other:?}"),
    };
    let last = of(asked.last().unwrap());
    assert!(together.iter().all(|one| last.contains(one)), "{asked:?}");
    let first: Vec<_> = asked[..asked.len() - 1].iter().flat_map(of).collect();
    assert!(first.is_empty() || first == [image(29)], "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(1, 1)));
    let running = world.run(&truth);
    world.whole(&running).await;
    let health = |serves| {
        let reason = if serves { "" } else { "its disk is full" };
        vec![ServiceHealth { name: "runtime".into(), serves, reason: reason.into() }]
    };
    for serves in [false, true, false] {
        truth.health(health(serves));
        until("the health is told", || async {
            (world.node("n").await?.1.services == health(serves)).then_some(())
        })
        .await;
    }
    // Nothing of it was another registration.
    assert_eq!(running.counts.registrations(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_writes_what_differs_and_nothing_leaves() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(10, 10)));
    let mut running = world.run(&truth);
    let before = world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    let (entry, node) = world.node("n").await.unwrap();
    let took = running.stop().await;
    assert!(took.as_secs() < 30, "{took:?}");
    assert_eq!(world.held("n").await, before);

    // While nobody publishes.
    truth.set(image(3), sized(333));
    truth.remove(&container(4));
    truth.set(container(50), task(TaskState::Paused));
    let running = world.run_as(&truth, "n", settings("n", "j"));
    let after = world.whole(&running).await;
    for (held, entry) in &after {
        let same = before.get(held) == Some(entry);
        assert_eq!(same, *held != image(3) && *held != container(50), "{held:?}");
    }
    let (now, again) = world.node("n").await.unwrap();
    assert_eq!((&*again.incarnation, again.registered), ("j", node.registered));
    assert_eq!(now.lease, entry.lease);
    until("one was deleted", || async { (running.counts.keys_deleted() == 1).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_are_not_there_yet_hold_nothing_back_and_lose_nothing() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let running = world.run(&truth);
    let before = world.whole(&running).await;
    running.stop().await;

    truth.remove(&image(0));
    truth.down(Kind::Images);
    truth.remove(&container(0));
    let mut running = world.run_as(&truth, "n", settings("n", "j"));
    until("containers are published", || async {
        (!world.held("n").await.contains_key(&container(0))).then_some(())
    })
    .await;
    truth.set(container(1), task(TaskState::Stopped));
    until("containers are published", || async {
        let held = world.held("n").await;
        (held[&container(1)] != before[&container(1)]).then_some(())
    })
    .await;
    let held = world.held("n").await;
    for number in 0..5 {
        assert_eq!(held[&image(number)], before[&image(number)], "{number}");
    }
    truth.up(Kind::Images);
    world.whole(&running).await;

    // It goes again in the midst: what it could not be asked is asked later.
    truth.down(Kind::Images);
    truth.set(image(1), sized(99));
    let standing = running.stands("it is told", |it| it.trouble.is_some()).await;
    assert!(standing.trouble.unwrap().contains("list of images: made to be down"));
    assert!(standing.waiting > 0);
    truth.up(Kind::Images);
    world.whole(&running).await;
    running.stands("nothing is wrong any more", |it| it.trouble.is_none()).await;
}
