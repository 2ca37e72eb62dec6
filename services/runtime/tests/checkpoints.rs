//! Tasks that are to be restored from a folder, and are not. Needs root.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::types::Descriptor;
use support::{Node, shims, signal, until};
use tonic::Code;

/// As CRI asks for it.
fn from(path: &std::path::Path) -> impl FnOnce(&mut wire::CreateTaskRequest) {
    let path = path.to_string_lossy().into_owned();
    let annotations = [("RestoreFromPath".to_owned(), path)].into();
    |request| request.checkpoint = Some(Descriptor { annotations, ..Descriptor::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_shim_dies_before_its_restore_has_no_end_to_tell() {
    for shim in shims() {
        let node = Node::start().await;
        let folder = tempfile::tempdir().unwrap();
        node.container(&shim, "unrestored", "true").await;
        let pid = node.create_with("unrestored", from(folder.path())).await.unwrap();
        assert_eq!(pid, 0, "{shim}");
        signal(node.shim_pid("unrestored"), libc::SIGKILL);
        let told = node.events_until("unrestored", "delete 137").await;
        assert_eq!(told, ["create", "delete 137"], "{shim}");
        until("cleaned up", || !node.bundle("unrestored").exists()).await;
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_files_beside_it_is_refused() {
    let node = Node::start().await;
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    std::fs::create_dir(&checkpoint).unwrap();
    let diff = folder.path().join("rootfs-diff.tar");
    std::fs::write(&diff, "").unwrap();
    node.container(&shims()[0], "beside", "true").await;
    let refused = node.create_with("beside", from(&checkpoint)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    assert!(refused.message().contains(&*diff.to_string_lossy()), "{refused}");
    assert!(!node.bundle("beside").exists());
    std::fs::remove_file(&diff).unwrap();
    assert_eq!(node.create_with("beside", from(&checkpoint)).await.unwrap(), 0);
    node.delete("beside").await.unwrap();
    node.finish().await;
}
