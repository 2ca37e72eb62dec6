//! Pulls of one image at the same time.

use std::time::Duration;

use berth_lifecycle::blocking;
use berth_testkit::{Fault, On, Proxy, Registry, until};
use futures::future::join_all;
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::{Cri, image};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_of_one_image_are_one() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    image(200_000, 1, json!({})).push(&registry, "x:1").unwrap();
    // It has to wait for its layer long enough for others to come.
    let busy = Fault::Busy(503, 10);
    let proxy = Proxy::faulty(&registry.host(), On::Download, busy, 1).unwrap();
    let reference = proxy.reference("x:1");
    let blobs = || proxy.of("GET", "/blobs/");
    let manifests = || proxy.seen().iter().filter(|seen| seen.path.contains("/manifests/")).count();
    let cri = &cri;
    let (go, gone) = oneshot::channel::<()>();
    let first = async {
        tokio::select! {
            pulled = cri.pull(&reference) => Some(pulled),
            _ = gone => None,
        }
    };
    let others = async {
        let watched = proxy.clone();
        let waits = move || watched.of("GET", "/blobs/").iter().any(|seen| seen.status == 503);
        let waits = move || until("the layer is asked for", Duration::from_secs(60), waits);
        blocking("watch the proxy", waits).await.unwrap().unwrap();
        let manifests = manifests();
        let pulls = join_all((0..4).map(|_| cri.pull(&reference)));
        let leaving = async {
            let left = tokio::time::timeout(Duration::from_secs(2), cri.pull(&reference)).await;
            // So does the one that came first.
            go.send(()).unwrap();
            left
        };
        let (left, ids) = tokio::join!(leaving, pulls);
        (left, ids, manifests)
    };
    let (first, (left, ids, before)) = tokio::join!(first, others);
    assert!(first.is_none() && left.is_err(), "they have left");
    let ids: Vec<_> = ids.into_iter().map(|id| id.unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let asked = blobs();
    assert_eq!(asked.iter().filter(|seen| seen.status == 503).count(), 1);
    let mut paths: Vec<_> =
        asked.iter().filter(|seen| seen.status == 200).map(|seen| &seen.path).collect();
    paths.sort();
    let whole = paths.len();
    paths.dedup();
    assert_eq!((whole, paths.len()), (2, 2), "each blob came once: {asked:?}");
    assert_eq!(manifests(), before, "nobody else asked what the image is");
}
