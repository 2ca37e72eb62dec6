//! Containers saved to a folder, and restored from there, by a runc that needs no criu.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_errors::{Code, Coded};
use berth_proto::containerd::events::TaskCreate;
use berth_proto::containerd::runc::v1::{CheckpointOptions, Options};
use berth_proto::containerd::task::v3 as wire;
use berth_proto::containerd::v1::types::Status;
use berth_ttrpc::Error;
use common::*;

/// The runtime's options, with a runc that saves.
fn saving(node: &Node) -> Options {
    let folder = node.path("saving");
    std::fs::create_dir_all(&folder).unwrap();
    berth_testkit::saving_runc(&folder.join("runc")).unwrap();
    let binary_name = folder.join("runc").to_string_lossy().into_owned();
    Options { binary_name, ..node.options() }
}

async fn save(shim: &Shim, path: &str, options: &CheckpointOptions) -> Result<(), Error> {
    let (id, options) = (shim.id.clone(), Some(berth_proto::pack(options)));
    let request = wire::CheckpointTaskRequest { id, path: path.to_owned(), options };
    shim.call("Checkpoint", &request).await
}

/// A shim for a container that is to go on from a checkpoint.
async fn restoring(node: &Node, id: &str, script: &str, checkpoint: &str) -> Shim {
    let mut shim = node.shim(id, &shell(script)).await;
    (shim.options, shim.checkpoint) = (saving(node), checkpoint.to_owned());
    shim
}

#[tokio::test]
async fn a_container_is_saved_and_others_are_restored_from_that() {
    let node = Node::new();
    let mut shim = node.shim("ck1", &shell("echo first >/state; sleep 1000")).await;
    shim.options = saving(&node);
    let folder = |name: &str| node.path(name).to_string_lossy().into_owned();
    let (saved, leave) = (folder("saved"), CheckpointOptions::default());
    shim.create(Io::default()).await;
    let early = save(&shim, &saved, &leave).await.unwrap_err();
    assert_eq!(early.code(), Code::Unknown, "{early}");
    assert!(early.to_string().contains("cannot checkpoint a task in created state"), "{early}");
    shim.start("").await.unwrap();
    eventually("there is a state", || {
        std::fs::read_to_string(shim.bundle.join("rootfs/state")).is_ok_and(|s| s == "first\n")
    })
    .await;
    save(&shim, &saved, &leave).await.unwrap();
    assert!(!shim.bundle.join("criu-work").exists());
    assert_eq!(shim.state("").await.status(), Status::Running);
    let all = CheckpointOptions {
        exit: true,
        open_tcp: true,
        external_unix_sockets: true,
        terminal: true,
        file_locks: true,
        empty_namespaces: vec!["network".into()],
        work_path: folder("work"),
        ..CheckpointOptions::default()
    };
    save(&shim, &folder("exited"), &all).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    assert!(node.path("work/dump.log").exists());
    let calls = std::fs::read_to_string(node.path("saving/calls")).unwrap();
    let flags = "--tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns network ck1";
    assert!(calls.contains(flags), "{calls}");
    let late = save(&shim, &saved, &leave).await.unwrap_err();
    assert!(late.to_string().contains("cannot checkpoint a stopped container"), "{late}");
    shim.finish().await;
    node.events.wait("/tasks/checkpointed").await;

    let (out, script) = (node.path("out"), "cat /restored; exit 7");
    let again = restoring(&node, "ck2", script, &saved).await;
    let io = Io { stdout: format!("file://{}", out.display()), ..Io::default() };
    assert_eq!(again.create(io).await, 0);
    assert_eq!(again.state("").await.status(), Status::Created);
    assert_ne!(again.start("").await.unwrap(), 0);
    assert_eq!(again.wait("").await, 7);
    again.finish().await;
    node.events.wait_for("/tasks/delete", 2).await;
    assert_eq!(std::fs::read_to_string(out).unwrap(), "first\n");
    let made: Vec<TaskCreate> = node.events.all();
    assert_eq!((made[1].checkpoint.as_str(), made[1].pid), (saved.as_str(), 0));
    assert_eq!(exits(&node.events), [("ck1".to_owned(), 137), ("ck2".to_owned(), 7)]);
}

#[tokio::test]
async fn one_that_is_never_restored_or_cannot_be_is_deleted() {
    let node = Node::new();
    let none = node.path("none").to_string_lossy().into_owned();
    let shim = restoring(&node, "ck3", "true", &none).await;
    shim.create(Io::default()).await;
    shim.finish().await;
    let shim = restoring(&node, "ck4", "true", &none).await;
    shim.create(Io::default()).await;
    let refused = shim.start("").await.unwrap_err();
    assert!(refused.to_string().contains("OCI runtime restore failed"), "{refused}");
    assert_eq!(shim.state("").await.status(), Status::Created);
    shim.finish().await;
    assert_eq!(exits(&node.events), []);
    node.events.wait("/tasks/delete").await;
}

#[tokio::test]
async fn nothing_waits_until_a_dump_is_written() {
    let node = Node::new();
    let mut shim = node.shim("ck5", &shell("echo first >/state; exec sleep 1000")).await;
    shim.options = saving(&node);
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    let (hold, held) = (node.path("saving/hold"), node.path("saving/held"));
    std::fs::write(&hold, "").unwrap();
    let path = node.path("slow").to_string_lossy().into_owned();
    let leave = CheckpointOptions::default();
    let meanwhile = async {
        eventually("it is being dumped", || held.exists()).await;
        let id = || shim.id.clone();
        let update = wire::UpdateTaskRequest { id: id(), ..Default::default() };
        let refused: [Result<(), Error>; 4] = [
            shim.call("Pause", &wire::PauseRequest { id: id() }).await,
            shim.call("Resume", &wire::ResumeRequest { id: id() }).await,
            shim.call("Update", &update).await,
            save(&shim, &path, &leave).await,
        ];
        for refused in refused {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
            assert!(refused.to_string().contains("ck5 is being checkpointed"), "{refused}");
        }
        let running = shim.delete("").await.unwrap_err();
        assert!(running.to_string().contains("cannot delete a running process"), "{running}");
        assert_eq!(shim.state("").await.status(), Status::Running);
        shim.kill("", 9, false).await.unwrap();
        assert_eq!(shim.wait("").await, 137);
        std::fs::remove_file(&hold).unwrap();
    };
    // Whether what it wrote of a container that was killed is a dump is for runc to say.
    let (_, ()) = tokio::join!(save(&shim, &path, &leave), meanwhile);
    shim.finish().await;
}

#[tokio::test]
async fn nothing_waits_until_a_restore_has_ended() {
    let node = Node::new();
    let saved = node.path("saved");
    std::fs::create_dir(&saved).unwrap();
    std::fs::write(saved.join("state"), "first\n").unwrap();
    std::fs::write(saved.join("pages-1.img"), vec![0; 3_000_000]).unwrap();
    let path = saved.to_string_lossy().into_owned();
    let shim = restoring(&node, "ck7", "exec sleep 1000", &path).await;
    shim.create(Io::default()).await;
    let (hold, held) = (node.path("saving/hold"), node.path("saving/held"));
    std::fs::write(&hold, "").unwrap();
    let meanwhile = async {
        eventually("it is being restored", || held.exists()).await;
        let id = || shim.id.clone();
        let update = wire::UpdateTaskRequest { id: id(), ..Default::default() };
        let refused: [Result<(), Error>; 6] = [
            shim.call("Pause", &wire::PauseRequest { id: id() }).await,
            shim.call("Resume", &wire::ResumeRequest { id: id() }).await,
            shim.call("Update", &update).await,
            save(&shim, &path, &CheckpointOptions::default()).await,
            shim.start("").await.map(drop),
            shim.delete("").await.map(drop),
        ];
        for refused in refused {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
            assert!(refused.to_string().contains("ck7 is being restored"), "{refused}");
        }
        assert_eq!(shim.state("").await.status(), Status::Created);
        std::fs::remove_file(&hold).unwrap();
    };
    let (started, ()) = tokio::join!(shim.start(""), meanwhile);
    assert_ne!(started.unwrap(), 0);
    assert_eq!(shim.state("").await.status(), Status::Running);
    // They are served again.
    let _: () = shim.call("Pause", &wire::PauseRequest { id: shim.id.clone() }).await.unwrap();
    let _: () = shim.call("Resume", &wire::ResumeRequest { id: shim.id.clone() }).await.unwrap();
    shim.kill("", 9, false).await.unwrap();
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
}

#[tokio::test]
async fn nothing_is_added_to_one_that_awaits_its_restore() {
    let node = Node::new();
    let none = node.path("none").to_string_lossy().into_owned();
    let shim = restoring(&node, "ck6", "true", &none).await;
    shim.create(Io::default()).await;
    let refused = shim.exec("e", &["true"], Io::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown, "{refused}");
    assert!(refused.to_string().contains("cannot exec in a created state"), "{refused}");
    shim.finish().await;
}
