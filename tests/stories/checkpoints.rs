//! Checkpoints in the content store, as a client without a lease makes them, over a collection and a
//! kill of runtime. criu is stood in for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::{Channel, with_namespace};
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_proto::containerd::services::tasks::v1 as tasks;
use berth_proto::containerd::types::{Descriptor, Mount};
use berth_testkit::{saving_runc, until};
use containers::containers_client::ContainersClient;
use content::content_client::ContentClient;
use prost::Message;
use snapshots::snapshots_client::SnapshotsClient;
use tasks::tasks_client::TasksClient;
use tonic::{Code, Request, Status};

use crate::stage::Stage;

const ID: &str = "checkpoint-one";

fn within<T>(message: T) -> Request<T> {
    with_namespace(message, &"default".parse().expect("a namespace"))
}

/// A node with a container that has something to save.
fn running() -> Result<Stage> {
    let stage = Stage::pulled()?;
    let runc = stage.node.path("saving-runc");
    saving_runc(&runc)?;
    let options = format!("-d --runc-binary {}", runc.display());
    stage.ctr_run(&options, ID, "echo first >/state; sleep 600").output()?.ok()?;
    let mut look = 0;
    until("there is something to save", Duration::from_secs(20), || {
        look += 1;
        let line = format!("tasks exec --exec-id look{look} {ID} cat /state");
        stage.ctr(&line).is_ok_and(|state| state == "first\n")
    })?;
    Ok(stage)
}

async fn read(channel: &Channel, digest: &str) -> Result<Vec<u8>> {
    let request = content::ReadContentRequest { digest: digest.into(), ..Default::default() };
    let mut parts = ContentClient::new(channel.clone()).read(within(request)).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await? {
        bytes.extend(part.data);
    }
    Ok(bytes)
}

async fn create(
    channel: &Channel,
    rootfs: &[Mount],
    checkpoint: Descriptor,
) -> Result<u32, Status> {
    let request = tasks::CreateTaskRequest {
        container_id: ID.into(),
        rootfs: rootfs.to_vec(),
        checkpoint: Some(checkpoint),
        ..Default::default()
    };
    Ok(TasksClient::new(channel.clone()).create(within(request)).await?.into_inner().pid)
}

/// Saves the task and deletes it. The blobs are there after a collection.
async fn save(stage: &Stage, channel: &Channel) -> Result<Descriptor> {
    let request = tasks::CheckpointTaskRequest { container_id: ID.into(), ..Default::default() };
    let saved = TasksClient::new(channel.clone()).checkpoint(within(request)).await?.into_inner();
    let kinds: Vec<_> = saved.descriptors.iter().map(|blob| blob.media_type.as_str()).collect();
    let expected = [
        "application/vnd.containerd.container.criu.checkpoint.criu.tar",
        "application/vnd.containerd.container.checkpoint.config.v1+proto",
    ];
    ensure!(kinds == expected, "{kinds:?}");
    stage.ctr(&format!("images tag {} local/other:1", stage.image))?;
    stage.ctr("images rm --sync local/other:1")?;
    for blob in &saved.descriptors {
        let bytes = read(channel, &blob.digest).await?;
        ensure!(i64::try_from(bytes.len())? == blob.size, "{blob:?}");
    }
    let spec = prost_types::Any::decode(&*read(channel, &saved.descriptors[1].digest).await?)?;
    let request = containers::GetContainerRequest { id: ID.into() };
    let container = ContainersClient::new(channel.clone()).get(within(request)).await?;
    let container = container.into_inner().container.context("a container")?;
    ensure!(container.spec == Some(spec), "another specification was saved");
    ensure!(stage.ctr("leases ls")?.contains("berth-checkpoint-"), "nothing holds them");
    stage.ctr(&format!("tasks rm -f {ID}"))?;
    saved.descriptors.into_iter().next().context("two blobs")
}

#[test]
fn a_task_is_restored_from_the_content_store_over_a_kill() -> Result<()> {
    let stage = running()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = berth_grpc::channel(&stage.node.address());
        let tar = save(&stage, &channel).await?;
        let (snapshotter, key) = ("overlayfs".to_owned(), ID.to_owned());
        let request = within(snapshots::MountsRequest { snapshotter, key });
        let mounts = SnapshotsClient::new(channel.clone()).mounts(request).await?;
        let rootfs = mounts.into_inner().mounts;
        let folder = stage.node.path("root/runtime/checkpoints/restores/default").join(ID);

        let other = Descriptor { media_type: "x/y".into(), ..tar.clone() };
        let refused = create(&channel, &rootfs, other).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("unsupported checkpoint type \"x/y\""), "{refused}");
        let digest = format!("sha256:{}", "0".repeat(64));
        let absent = Descriptor { digest, ..tar.clone() };
        let refused = create(&channel, &rootfs, absent).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        assert!(!folder.exists());

        assert_eq!(create(&channel, &rootfs, tar).await?, 0, "it runs before its start");
        assert!(folder.join("state").exists());
        stage.node.kill_service("berth-runtime")?;
        until("runtime is back", Duration::from_secs(20), || {
            stage.ctr("tasks ls").is_ok_and(|list| list.contains("CREATED"))
        })?;
        let request = tasks::StartRequest { container_id: ID.into(), ..Default::default() };
        let started = TasksClient::new(channel.clone()).start(within(request)).await;
        ensure!(started?.into_inner().pid != 0, "it does not run");
        assert!(!folder.exists());
        Ok(())
    })?;
    let restored = stage.ctr(&format!("tasks exec --exec-id last {ID} cat /restored"))?;
    assert_eq!(restored, "first\n");
    stage.berth(&format!("rm -f {ID}"))?;
    assert_eq!(stage.node.shims(), Vec::<u32>::new());
    Ok(())
}
