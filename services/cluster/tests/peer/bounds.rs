//! How much a node tells, and how many at once.

use std::time::Duration;

use berth_cluster::keys::{Held, Kind};
use berth_cluster::objects::{Container, Object};
use berth_cluster::truth::Holding;
use futures::StreamExt;

use crate::node::{Set, authority, container, held, two};

#[tokio::test]
async fn more_than_can_be_told_ends_with_an_error() {
    let own = authority();
    let (a, _b) = two(&own, Set::of(20_000, 0));
    let mut pieces = a.begin("b").await.unwrap();
    let mut told = 0;
    let error = loop {
        match pieces.next().await.unwrap() {
            Ok(piece) => told += piece.len(),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(told, 20_000);
    assert!(error.contains("node b tells of 20000 objects, and holds more"), "{error}");
}

#[tokio::test]
async fn what_others_would_not_take_is_left_out() {
    let own = authority();
    let truth = Set::of(2, 0);
    let Object::Container(large) = container() else { unreachable!() };
    let large = Container { image: "x".repeat(20_000), ..large };
    let (held, object) = (held(Kind::Containers, 0), Object::Container(large));
    truth.held.lock().unwrap().push(Holding { held, object });
    let (a, _b) = two(&own, truth);
    let told: Vec<Option<Held>> =
        a.ask("b").await.unwrap().into_iter().flatten().map(|(_, held, _)| held).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().flatten().all(|held| held.kind == Kind::Images), "{told:?}");
}

#[tokio::test]
async fn as_many_are_told_at_once_as_there_is_room_for() {
    let own = authority();
    let truth = Set::of(1, 1);
    let (a, b) = two(&own, truth.clone());
    // Questions to the node's services are not answered for now.
    let kept = truth.questions.acquire_many(1000).await.unwrap();
    let mut telling = Vec::new();
    for _ in 0..8 {
        let mut pieces = a.begin("b").await.unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), 1);
        telling.push(pieces);
    }
    let error = a.fails("b").await;
    assert!(error.contains("8 others ask node b about itself already"), "{error}");
    drop(kept);
    for pieces in telling {
        assert_eq!(pieces.map(Result::unwrap).count().await, 2);
    }
    // The last of them may still be ending there.
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while let Err(error) = a.ask("b").await {
        assert!(tokio::time::Instant::now() < end, "{error}");
    }
    drop(b);
}
