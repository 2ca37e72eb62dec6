//! Pulls of one image at the same time.

use std::time::Duration;

use berth_testkit::{Fault, On, Proxy, Registry, until};
use futures::future::join_all;
use serde_json::json;

use crate::support::{Cri, image};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_of_one_image_are_one() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    image(200_000, 1, json!({})).push(&registry, "x:1").unwrap();
    // It has to wait for its layer long enough for others to come.
    let busy = Fault::Busy(503, 5);
    let proxy = Proxy::faulty(&registry.host(), On::Download, busy, 1).unwrap();
    let reference = proxy.reference("x:1");
    let blobs = || proxy.of("GET", "/blobs/");
    let cri = &cri;
    let begun = async {
        let waits = || blobs().iter().any(|seen| seen.status == 503);
        tokio::task::block_in_place(|| {
            until("the layer is asked for", Duration::from_secs(60), waits).unwrap();
        });
        let manifests =
            proxy.of("GET", "/manifests/").len() + proxy.of("HEAD", "/manifests/").len();
        // One of those that come later leaves; so does the one that came first.
        let leaving = tokio::time::timeout(Duration::from_secs(1), cri.pull(&reference));
        let others = join_all((0..4).map(|_| cri.pull(&reference)));
        let (left, ids) = tokio::join!(leaving, others);
        (left, ids, manifests)
    };
    let first = async {
        // It stays until the others are there.
        tokio::time::timeout(Duration::from_secs(3), cri.pull(&reference)).await
    };
    let (first, (left, ids, manifests)) = tokio::join!(first, begun);
    assert!(first.is_err() && left.is_err(), "they have left");
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
    let after = proxy.of("GET", "/manifests/").len() + proxy.of("HEAD", "/manifests/").len();
    assert_eq!(after, manifests, "nobody else asked what the image is");
}
