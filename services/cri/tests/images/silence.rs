//! Registries that do not go on.

use std::time::{Duration, Instant};

use berth_testkit::{Fault, On, Proxy, Registry};
use serde_json::json;
use tonic::Code;

use crate::support::{Cri, config_and_size, image};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_of_which_nothing_comes_ends_and_names_the_layer_and_the_host() {
    let cri = Cri::start("image_pull_progress_timeout = '2s'\n");
    let registry = Registry::start().unwrap();
    let made = image(400_000, 1, json!({}));
    made.push(&registry, "x:1").unwrap();
    let proxy = Proxy::faulty(&registry.host(), On::Download, Fault::Stall, 1).unwrap();
    let reference = proxy.reference("x:1");
    let begun = Instant::now();
    let status = cri.pull(&reference).await.unwrap_err();
    // Distribution itself waits for half a minute.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}: {status}", begun.elapsed());
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}: {status}", begun.elapsed());
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    let layer = proxy.of("GET", "/blobs/");
    let layer = layer.iter().max_by_key(|seen| seen.sent).unwrap().path.rsplit_once('/').unwrap().1;
    let said = format!(
        "failed to pull and unpack image \"{reference}\": nothing came from {} for 2s of layer {layer} after ",
        proxy.host()
    );
    assert!(status.message().starts_with(&said), "{status}\nnot\n{said}");
    assert!(cri.names().is_empty());
    // The next one goes on, as the registry does.
    assert_eq!(cri.pull(&reference).await.unwrap(), config_and_size(&made).0);
    cri.node.fsck().unwrap();
}

/// A mirror that stalls in the midst of a layer, and one that does not begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_of_which_nothing_comes_is_named_in_place_of_the_registry() {
    let registry = Registry::start().unwrap();
    let made = image(400_000, 2, json!({}));
    let reference = made.push(&registry, "x:1").unwrap();
    for fault in [Fault::Stall, Fault::Silence] {
        let mirror = Proxy::faulty(&registry.host(), On::Download, fault, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join(registry.host())).unwrap();
        let hosts = format!("[host.\"http://{}\"]\n", mirror.host());
        fs_err::write(folder.path().join(registry.host()).join("hosts.toml"), hosts).unwrap();
        let cri = Cri::start(&format!(
            "image_pull_progress_timeout = '2s'\n[distribution.registry]\nconfig_path = [{:?}]\n",
            folder.path()
        ));
        let status = cri.pull(&reference).await.unwrap_err();
        assert_eq!(status.code(), Code::Cancelled, "{status}");
        let config = config_and_size(&made).0;
        let blobs = mirror.of("GET", "/blobs/");
        let layer = blobs.iter().find(|seen| !seen.path.contains(&config)).unwrap();
        let digest = layer.path.split(['/', '?']).find(|part| part.starts_with("sha256:")).unwrap();
        let said = format!("nothing came from {} for 2s of layer {digest} after ", mirror.host());
        assert!(status.message().contains(&said), "{fault:?}: {status}\nnot\n{said}");
        assert_eq!(cri.pull(&reference).await.unwrap(), config);
    }
}
