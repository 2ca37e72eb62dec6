//! Registries that send their clients elsewhere, and proxies of the network on the way to them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_testkit::{Fault, Files, Image, Layer, On, Proxy, Registry};
use serde_json::json;

use crate::kit::{Kit, registry, store};

fn image() -> Image {
    Image::build(vec![Layer::noise("file", 300_000, 9).unwrap()], json!({})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_elsewhere_is_fetched_there_without_our_password() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let files = Files::start(&hub).unwrap();
    let elsewhere = Proxy::faulty(&files.host(), On::Download, Fault::Cut, 1).unwrap();
    let setup = Registry::setup().storage_of(&hub).password("me", "secret").unwrap();
    let behind = setup.redirect(&format!("http://{}", elsewhere.host())).start().unwrap();
    let front = Proxy::start(&behind.host()).unwrap();
    let kit = Kit::start().await;
    kit.docker_config(&json!({"auths": {front.host(): {"auth": STANDARD.encode("me:secret")}}}));
    kit.pull(&front.reference("x:1")).await.unwrap();
    kit.assert_clean().await;
    let layer = kit.blobs().await.into_iter().max_by_key(|blob| blob.size).unwrap();
    assert!(front.of("GET", "/blobs/").iter().any(|seen| seen.header("authorization").is_some()));
    assert!(front.of("GET", "/blobs/").iter().all(|seen| seen.sent < 1000), "not sent elsewhere");
    let mut seen = elsewhere.of("GET", layer.digest.trim_start_matches("sha256:"));
    seen.sort_by_key(|seen| seen.at);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].header("range").unwrap(), format!("bytes={}-", seen[0].sent));
    assert_eq!(seen.iter().map(|seen| seen.sent as i64).sum::<i64>(), layer.size);
    assert!(elsewhere.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_sent_elsewhere_goes_there_without_our_password() {
    let (hub, image) = (Registry::start().unwrap(), image());
    let from = image.push(&hub, "x:1").unwrap();
    let open = Registry::setup().secret("of both").start().unwrap();
    let elsewhere = Proxy::start(&open.host()).unwrap();
    let setup = Registry::setup().storage_of(&open).secret("of both");
    let setup = setup.uploads_at(&format!("http://{}", elsewhere.host()));
    let behind = setup.password("me", "secret").unwrap().start().unwrap();
    let front = Proxy::start(&behind.host()).unwrap();
    let kit = Kit::start().await;
    kit.pull(&from).await.unwrap();
    kit.docker_config(&json!({"auths": {front.host(): {"auth": STANDARD.encode("me:secret")}}}));
    let to = front.reference("to:1");
    kit.transfer(store(&from), registry(&to)).await.unwrap();
    assert!(front.of("POST", "").iter().any(|seen| seen.header("authorization").is_some()));
    assert!(front.of("PATCH", "").is_empty() && elsewhere.of("PATCH", "").len() == 2);
    assert!(elsewhere.seen().iter().all(|seen| seen.header("authorization").is_none()));
    kit.forget(&from).await;
    kit.pull(&to).await.unwrap();
    assert_eq!(kit.image(&to).await.unwrap().target.unwrap().digest, image.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_proxy_is_gone_through() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let proxy = Proxy::start(&hub.host()).unwrap();
    let address = format!("http://{}", proxy.host());
    let kit = Kit::start_process("/nowhere".as_ref(), &[("http_proxy", &address)]).await;
    kit.hosts("r.example", "server = \"http://r.example\"\n");
    kit.pull("r.example/x:1").await.unwrap();
    kit.assert_clean().await;
    assert!(proxy.seen().iter().all(|seen| seen.path.starts_with("http://r.example/v2/x/")));
    assert_eq!(proxy.of("GET", "/blobs/").len(), 2);
}
