//! How much is published, and how fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_cluster::objects::{Object, Published};
use berth_cluster::publish::Settings;
use berth_testkit as testkit;

use crate::truth::{Made, image, sized, some};
use crate::world::{World, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_keys_are_written_in_a_second_than_may_be() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(60, 20)));
    let start = Instant::now();
    let settings = Settings { writes_per_second: 20, ..settings("n", "i") };
    let mut running = world.run_as(&truth, "n", settings);
    running.stands("some wait", |it| it.waiting > 20).await;
    world.whole(&running).await;
    // 20 at once, 60 more afterwards.
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    // A write for each key would be 80.
    let transactions = running.counts.transactions();
    assert!(transactions <= 50, "{transactions}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_is_written_in_several_pieces() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(450, 3)));
    let running = world.run(&truth);
    let held = world.whole(&running).await;
    let mut keys_at = std::collections::BTreeMap::new();
    held.values().for_each(|entry| *keys_at.entry(entry.modified).or_insert(0) += 1);
    assert!(keys_at.len() >= 5 && keys_at.values().all(|keys| *keys <= 100), "{keys_at:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_takes_less_at_once_gets_less() {
    for most in ["--max-txn-ops=1", "--max-txn-ops=10", "--max-request-bytes=2000"] {
        let options = testkit::EtcdOptions { args: vec![most.into()], ..Default::default() };
        let world = World::with(testkit::Etcd::start_with(&options).unwrap());
        let truth = Arc::new(Made::new("u", some(60, 20)));
        let mut running = world.run(&truth);
        world.whole(&running).await;
        running.stands("nothing is wrong", |it| it.trouble.is_none() && it.waiting == 0).await;
        assert_eq!(running.counts.registrations(), 1, "{most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_first_are_published_and_the_others_move_up() {
    let world = World::new();
    let truth = Arc::new(Made::new("u", some(8, 2)));
    truth.unnameable(1);
    // Nobody would read that.
    let Object::Image(mut unfit) = sized(1) else { panic!("an image") };
    unfit.media_type = "x".repeat(2000);
    truth.set(image(1), Object::Image(unfit));
    let mut running = world.run_as(&truth, "n", Settings { max_objects: 5, ..settings("n", "i") });
    let names = |expected: &[usize]| {
        let (expected, world) = (expected.to_vec(), &world);
        async move {
            until("the first are there", || async {
                let held = world.held("n").await;
                let images = (0..20).filter(|number| held.contains_key(&image(*number)));
                (images.collect::<Vec<_>>() == expected && held.len() == expected.len() + 2)
                    .then_some(())
            })
            .await;
        }
    };
    names(&[0, 2, 3, 4]).await;
    // Of each kind one without a name, one that is unfit, three beyond the bounds.
    let published = Published { images: 4, containers: 2, left_out: 6 };
    running.stands("it is counted", |it| it.published == published).await;
    until("it is told in etcd", || async {
        (world.node("n").await?.1.published == published).then_some(())
    })
    .await;
    truth.remove(&image(0));
    names(&[2, 3, 4, 5]).await;
    truth.set(image(0), sized(1));
    names(&[0, 2, 3, 4]).await;
    truth.set(image(1), sized(1));
    names(&[0, 1, 2, 3, 4]).await;
    let published = Published { images: 5, containers: 2, left_out: 5 };
    running.stands("it is counted", |it| it.published == published).await;
}
