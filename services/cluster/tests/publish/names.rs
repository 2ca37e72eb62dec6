//! Nodes of one name.

use std::sync::Arc;
use std::time::Duration;

use berth_cluster::publish::{Registration, Settings};

use crate::truth::{Made, image, sized, some};
use crate::world::{World, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_of_a_name_is_refused_until_the_first_is_gone() {
    let world = World::new();
    let short = |incarnation: &str| {
        let ttl = Duration::from_secs(10);
        Settings { ttl, boot: incarnation.to_owned(), ..settings("n", incarnation) }
    };
    let first = world.run_as(&Arc::new(Made::new("u1", some(3, 3))), "n", short("i1"));
    world.whole(&first).await;
    let mut second = world.run_as(&Arc::new(Made::new("u2", some(7, 1))), "n", short("i2"));
    let refused = |by: &str| by.contains("i1.n.example");
    let standing = second
        .stands(
            "the second is refused",
            |it| matches!(&it.registration, Registration::Refused { by } if refused(by)),
        )
        .await;
    assert!(standing.trouble.unwrap().contains("i1.n.example"));
    // The first does not notice.
    first.truth.set(image(1), sized(11));
    world.whole(&first).await;
    assert_eq!(first.counts.registrations(), 1);
    assert_eq!(second.counts.registrations(), 0);

    first.kill().await;
    second.registered().await;
    world.whole(&second).await;
    assert_eq!(world.node("n").await.unwrap().1.uuid, "u2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_do_not_touch_each_other() {
    let world = World::new();
    let one = world.run_as(&Arc::new(Made::new("u1", some(4, 2))), "n", settings("n", "i1"));
    let other = Arc::new(Made::new("u2", some(2, 4)));
    let other = world.run_as(&other, "n.2", settings("n.2", "i2"));
    world.whole(&one).await;
    world.whole(&other).await;
    other.truth.remove(&image(0));
    world.whole(&other).await;
    world.whole(&one).await;
    other.stop().await;
    until("both stay", || async { world.node("n.2").await }).await;
}
