//! Images that containers are made of.

use berth_testkit::{Image, Registry};

use crate::support::Cri;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_outlives_its_image() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    let reference = Image::busybox().unwrap().push(&registry, "busybox:1").unwrap();
    let id = cri.pull(&reference).await.unwrap();
    let ctr =
        |line: &str| cri.node.ctr(&format!("-n k8s.io {line}")).output().unwrap().ok().unwrap();
    ctr(&format!("run -d {reference} sleeper /bin/sleep 1000"));
    cri.remove(&id[7..20]).await.unwrap();
    assert!(cri.names().is_empty());
    assert_eq!(cri.status(&id).await.unwrap(), None);
    // Removed for good, and asked for again.
    cri.remove(&id).await.unwrap();
    cri.remove(&reference).await.unwrap();
    let said = ctr("tasks exec --exec-id look sleeper /bin/echo here");
    assert_eq!(said.trim(), "here", "its files are there");
    assert!(ctr("tasks ls").contains("RUNNING"));
    cri.node.fsck().unwrap();
}
