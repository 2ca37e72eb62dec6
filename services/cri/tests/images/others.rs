//! Images that others pull, name and remove beside.

use berth_config::Config;
use berth_cri::images::Images;
use berth_testkit::{Node, Registry};
use serde_json::json;

use crate::support::{Cri, config_and_size, image, repository};

fn ctr(cri: &Cri, line: &str) -> String {
    cri.node.ctr(&format!("-n k8s.io {line}")).output().unwrap().ok().unwrap()
}

/// What the service itself has, in this process.
fn images(node: &Node) -> Images {
    let config = Config { state: node.path("state"), root: node.path("root"), ..Config::default() };
    Images::new(berth_cri::peers::Node::new(&config), &config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ctr_pulls_names_and_removes_is_seen_at_once() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    let made = image(1000, 1, json!({"User": "5"}));
    let (config, size) = config_and_size(&made);
    let reference = made.push(&registry, "theirs:1").unwrap();
    ctr(&cri, &format!("images pull --plain-http {reference}"));
    let status = cri.status(&reference).await.unwrap().unwrap();
    assert_eq!((status.id.as_str(), status.size), (config.as_str(), size));
    assert_eq!(status.repo_tags, std::slice::from_ref(&reference));
    assert!(status.repo_digests.is_empty() && !status.pinned);
    assert_eq!(cri.status(&config).await.unwrap().unwrap(), status);

    let other = format!("{}:2", repository(&reference));
    ctr(&cri, &format!("images tag {reference} {other}"));
    ctr(&cri, &format!("images label {other} io.cri-containerd.pinned=pinned"));
    let status = cri.status(&other).await.unwrap().unwrap();
    assert_eq!(status.repo_tags, [reference.clone(), other.clone()]);
    assert!(status.pinned);
    ctr(&cri, &format!("images rm {other}"));
    let status = cri.status(&config).await.unwrap().unwrap();
    assert_eq!(
        (status.repo_tags.as_slice(), status.pinned),
        ([reference.clone()].as_slice(), false)
    );
    // What is in other namespaces is nobody's here.
    cri.node
        .ctr(&format!("-n other images pull --plain-http {reference}"))
        .output()
        .unwrap()
        .ok()
        .unwrap();
    cri.remove(&config).await.unwrap();
    assert!(cri.list(None).await.unwrap().is_empty());
    assert!(ctr(&cri, "content ls -q").is_empty(), "it was waited for");
    cri.remove(&config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_left_packed_is_unpacked_for_containers() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    let made = image(1000, 1, json!({"Cmd": ["/noise"], "User": "7:8"}));
    let reference = made.push(&registry, "packed:1").unwrap();
    ctr(&cri, &format!("content fetch --plain-http {reference}"));
    let images = images(&cri.node);
    assert!(images.resolve(&registry.reference("none:1")).await.unwrap().is_none());
    let resolved = images.resolve(&reference).await.unwrap().unwrap();
    let (config, size) = config_and_size(&made);
    assert_eq!((&resolved.id, resolved.size), (&config, size));
    assert_eq!((&resolved.name, &resolved.target), (&reference, &made.digest));
    assert_eq!(resolved.config.cmd, ["/noise"]);
    assert_eq!(images.resolve(&config).await.unwrap().unwrap().name, reference);

    for snapshotter in ["overlayfs", "native"] {
        let list = format!("snapshots --snapshotter {snapshotter} ls");
        assert!(!ctr(&cri, &list).contains(&resolved.chain));
        let both = tokio::join!(
            images.ensure_unpacked(&resolved, snapshotter),
            images.ensure_unpacked(&resolved, snapshotter),
        );
        assert_eq!(
            (both.0.unwrap(), both.1.unwrap()),
            (resolved.chain.clone(), resolved.chain.clone())
        );
        cri.node.berth("gc").output().unwrap().ok().unwrap();
        assert!(ctr(&cri, &list).contains(&resolved.chain), "the image holds it");
    }
    assert!(ctr(&cri, "leases ls -q").is_empty());
    cri.node.fsck().unwrap();
}
