//! Writes that etcd gives no answer to, while the registration holds.

use std::sync::Arc;

use berth_testkit::Fate;

use crate::truth::{Made, image, named, sized, some};
use crate::world::World;

/// What is in the key of one image alone.
const WORDS: &str = "held-back-on-its-way";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_unheard_is_undone_when_it_is_not_so_any_more() {
    let world = World::new();
    let passage = world.passage(WORDS, Fate::Unheard);
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run_at(&truth, &passage.address);
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    truth.set(named(WORDS), sized(7));
    truth.set(image(1), sized(11));
    tokio::task::block_in_place(|| passage.wait_for_words());
    // Before the node knows that there is no answer.
    truth.remove(&named(WORDS));
    truth.set(image(1), sized(1));
    world.whole(&running).await;
    running.stands("nothing is wrong", |it| it.trouble.is_none() && it.waiting == 0).await;
    assert_eq!(running.counts.registrations(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_late_is_not_made_any_more() {
    let world = World::new();
    let passage = world.passage(WORDS, Fate::Late);
    let truth = Arc::new(Made::new("u", some(5, 5)));
    let mut running = world.run_at(&truth, &passage.address);
    world.whole(&running).await;
    running.stands("all is published", |it| it.waiting == 0).await;
    let (before, _) = world.node("n").await.unwrap();
    truth.set(named(WORDS), sized(7));
    tokio::task::block_in_place(|| passage.wait_for_words());
    truth.remove(&named(WORDS));
    running.stands("no answer came", |it| it.trouble.is_some()).await;
    running.stands("it went on", |it| it.trouble.is_none() && it.waiting == 0).await;
    let held = world.whole(&running).await;
    let (after, _) = world.node("n").await.unwrap();
    assert!(after.modified > before.modified, "its own key shuts the door on what comes late");
    tokio::task::block_in_place(|| passage.release());
    assert_eq!(world.held("n").await, held);
    assert_eq!((running.counts.registrations(), after.lease), (1, before.lease));
}
