//! By tag, by digest, by id, and what cannot be pulled.

use berth_testkit::Registry;
use serde_json::json;
use tonic::Code;

use crate::support::{Cri, config_and_size, image, repository};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_gives_an_image_the_names_that_containerd_gives_it() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    let made = image(1000, 1, json!({"User": "1000:1000"}));
    let (config, size) = config_and_size(&made);
    let reference = made.push(&registry, "a/b:v1").unwrap();
    let by_digest = format!("{}@{}", repository(&reference), made.digest);

    // By tag.
    assert_eq!(cri.pull(&reference).await.unwrap(), config);
    let mut names = vec![reference.clone(), by_digest.clone(), config.clone()];
    names.sort();
    assert_eq!(cri.names(), names);
    let told = cri.node.ctr("-n k8s.io images ls").output().unwrap().ok().unwrap();
    assert_eq!(told.matches("io.cri-containerd.image=managed").count(), 3, "{told}");
    let status = cri.status(&reference).await.unwrap().unwrap();
    assert_eq!((status.id.as_str(), status.size), (config.as_str(), size));
    assert_eq!(
        (&status.repo_tags, &status.repo_digests),
        (&vec![reference.clone()], &vec![by_digest.clone()])
    );
    assert_eq!(status.uid.unwrap().value, 1000);
    assert!(!status.pinned && status.username.is_empty());
    // It was unpacked.
    let snapshots = cri.node.ctr("-n k8s.io snapshots ls").output().unwrap().ok().unwrap();
    assert_eq!(snapshots.matches("Committed").count(), 1, "{snapshots}");

    // By id, which is here, and by one that is not.
    assert_eq!(cri.pull(&config).await.unwrap(), config);
    let other = made.digest.clone();
    assert_eq!(cri.pull(&other).await.unwrap_err().code(), Code::NotFound);

    // By digest, on which a tag changes nothing.
    cri.remove(&reference).await.unwrap();
    assert!(cri.names().is_empty());
    let both = format!("{reference}@{}", made.digest);
    assert_eq!(cri.pull(&both).await.unwrap(), config);
    let status = cri.status(&by_digest).await.unwrap().unwrap();
    assert!(status.repo_tags.is_empty());
    assert_eq!(status.repo_digests, std::slice::from_ref(&by_digest));
    let mut names = vec![by_digest, config];
    names.sort();
    assert_eq!(cri.names(), names);
    cri.node.fsck().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_pulled_says_why() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    let absent = registry.reference("none:1");
    let status = cri.pull(&absent).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let begin = format!("failed to pull and unpack image \"{absent}\": ");
    assert!(status.message().starts_with(&begin), "{status}");
    assert!(!status.message()[begin.len()..].starts_with("transfer"), "{status}");
    for wrong in ["", "A", "a:b:c/", "a@sha256:1", "-x.y/z"] {
        let status = cri.pull(wrong).await.unwrap_err();
        let begin = format!("failed to parse image reference {wrong:?}: ");
        assert_eq!(status.code(), Code::Unknown, "{status}");
        assert!(status.message().starts_with(&begin), "{status}");
    }
    let long = "a/".repeat(1 << 20);
    let status = cri.pull(&long).await.unwrap_err();
    assert_eq!((status.code(), status.message().len() < 1000), (Code::Unknown, true));
    assert_eq!(cri.status(&long).await.unwrap(), None);
    assert!(cri.names().is_empty());
}
