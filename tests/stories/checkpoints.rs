//! Checkpoints in the content store, as a client without a lease makes them, over a collection and a
//! kill of runtime. criu is stood in for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_proto::containerd::events::ContentCreate;
use berth_proto::containerd::runc::v1::CheckpointOptions;
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::events::v1::SubscribeRequest;
use berth_proto::containerd::services::events::v1::events_client::EventsClient;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_proto::containerd::services::tasks::v1 as tasks;
use berth_proto::containerd::types::{Descriptor, Envelope, Mount};
use berth_testkit::{saving_runc, until};
use containers::containers_client::ContainersClient;
use content::content_client::ContentClient;
use prost::Message;
use snapshots::snapshots_client::SnapshotsClient;
use tasks::tasks_client::TasksClient;
use tonic::{Code, Request, Status};

use crate::stage::Stage;

const ID: &str = "checkpoint-one";
const KINDS: [&str; 2] = [
    "application/vnd.containerd.container.criu.checkpoint.criu.tar",
    "application/vnd.containerd.container.checkpoint.config.v1+proto",
];

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

/// What is told from now on of blobs that are made.
async fn created(channel: &Channel) -> Result<tonic::Streaming<Envelope>> {
    let filters = vec!["topic==\"/content/create\"".to_owned()];
    let request = SubscribeRequest { filters };
    Ok(EventsClient::new(channel.clone()).subscribe(request).await?.into_inner())
}

/// The media types of the next two blobs.
async fn told(events: &mut tonic::Streaming<Envelope>) -> Result<Vec<String>> {
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let event = tokio::time::timeout(Duration::from_secs(20), events.message()).await??;
        let event = event.and_then(|envelope| envelope.event).context("an event")?;
        let made = berth_proto::unpack::<ContentCreate>(&event).context("of a blob")??;
        kinds.push(made.media_type);
    }
    Ok(kinds)
}

/// Saves the task and deletes it. The blobs are there after a collection.
async fn save(stage: &Stage, channel: &Channel) -> Result<Descriptor> {
    let request = tasks::CheckpointTaskRequest { container_id: ID.into(), ..Default::default() };
    let mut events = created(channel).await?;
    let saved = TasksClient::new(channel.clone()).checkpoint(within(request)).await?.into_inner();
    let kinds: Vec<_> = saved.descriptors.iter().map(|blob| blob.media_type.as_str()).collect();
    ensure!(kinds == KINDS, "{kinds:?}");
    ensure!(told(&mut events).await? == KINDS, "blobs of other types were told of");
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
    stage.node.shims_end()
}

/// Asks that the task be saved and end.
async fn end(channel: &Channel, lease: &str) -> Result<Vec<Descriptor>, Status> {
    let options = Some(berth_proto::pack(&CheckpointOptions { exit: true, ..Default::default() }));
    let request =
        tasks::CheckpointTaskRequest { container_id: ID.into(), options, ..Default::default() };
    let mut request = within(request);
    if !lease.is_empty() {
        request = with_lease(request, lease).map_err(berth_grpc::status)?;
    }
    Ok(TasksClient::new(channel.clone()).checkpoint(request).await?.into_inner().descriptors)
}

/// The dumps that nothing but their folders holds.
fn kept(stage: &Stage) -> Vec<PathBuf> {
    let folder = stage.node.path("root/runtime/checkpoints/kept");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn a_checkpoint_that_a_task_ends_with_is_not_lost() -> Result<()> {
    let stage = running()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let channel = berth_grpc::channel(&stage.node.address());
    let refused = runtime.block_on(end(&channel, "no-such-lease")).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    let dumps = kept(&stage);
    ensure!(dumps.len() == 1, "{dumps:?}");
    let said = refused.message().contains(&*dumps[0].to_string_lossy());
    ensure!(said, "{refused} does not name {dumps:?}");
    stage.node.kill_service("berth-runtime")?;
    until("runtime is back", Duration::from_secs(20), || {
        stage.ctr("tasks ls").is_ok_and(|list| list.contains("STOPPED"))
    })?;
    assert_eq!(fs_err::read_to_string(dumps[0].join("state"))?, "first\n");
    stage.berth(&format!("rm -f {ID}"))?;
    Ok(())
}

#[test]
fn a_checkpoint_that_a_task_ends_with_is_stored_over_a_restart() -> Result<()> {
    let stage = running()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let channel = berth_grpc::channel(&stage.node.address());
    fs_err::write(stage.node.path("hold"), "")?;
    let saved = std::thread::scope(|scope| -> Result<_> {
        let saving = scope.spawn(|| runtime.block_on(end(&channel, "")));
        until("it is being dumped", Duration::from_secs(20), || stage.node.path("held").exists())?;
        for service in ["berth-bundle", "berth-distribution"] {
            stage.node.kill_service(service)?;
        }
        fs_err::remove_file(stage.node.path("hold"))?;
        saving.join().map_err(|_| anyhow::anyhow!("it panicked"))?.context("save")
    })?;
    let kinds: Vec<_> = saved.iter().map(|blob| blob.media_type.as_str()).collect();
    assert_eq!(kinds, KINDS);
    assert_eq!(kept(&stage), Vec::<PathBuf>::new());
    stage.berth(&format!("rm -f {ID}"))?;
    Ok(())
}
