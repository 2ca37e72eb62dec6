//! Root file systems of which bundle makes a part before the shim mounts the rest.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_grpc::{Channel, with_namespace};
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::mounts::v1 as mounts;
use berth_proto::containerd::services::tasks::v1 as tasks;
use berth_proto::containerd::types::Mount;
use berth_testkit::{Layer, Node, until};
use containers::containers_client::ContainersClient;
use mounts::mounts_client::MountsClient;
use tasks::tasks_client::TasksClient;
use tonic::{Code, Request};

const ID: &str = "roots-activated";

fn within<T>(message: T) -> Result<Request<T>> {
    Ok(with_namespace(message, &"roots".parse()?))
}

fn mount(kind: &str, source: &str, options: Vec<String>) -> Mount {
    Mount { r#type: kind.into(), source: source.into(), target: String::new(), options }
}

/// A container whose first process proves that both folders are its root.
fn container() -> containers::Container {
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/busybox", "sh", "-c", "test -e /upper-file && echo >/written; sleep 600"],
            "env": ["PATH=/bin"],
            "cwd": "/"
        },
        "root": { "path": "rootfs" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": {
            "cgroupsPath": format!("/roots/{ID}"),
            "namespaces": [{ "type": "pid" }, { "type": "mount" }]
        }
    });
    containers::Container {
        id: ID.into(),
        runtime: Some(containers::container::Runtime {
            name: "io.containerd.runc.v2".into(),
            options: None,
        }),
        spec: Some(prost_types::Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
            value: spec.to_string().into_bytes(),
        }),
        ..Default::default()
    }
}

async fn active(channel: &Channel) -> Result<Option<usize>> {
    let request = within(mounts::InfoRequest { name: ID.into() })?;
    match MountsClient::new(channel.clone()).info(request).await {
        Ok(answer) => Ok(Some(answer.into_inner().info.context("no info")?.active.len())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

async fn create(channel: &Channel, rootfs: Vec<Mount>) -> Result<u32> {
    let request =
        tasks::CreateTaskRequest { container_id: ID.into(), rootfs, ..Default::default() };
    Ok(TasksClient::new(channel.clone()).create(within(request)?).await?.into_inner().pid)
}

async fn end(channel: &Channel) -> Result<()> {
    let mut client = TasksClient::new(channel.clone());
    let kill = tasks::KillRequest { container_id: ID.into(), signal: 9, ..Default::default() };
    client.kill(within(kill)?).await?;
    let wait = tasks::WaitRequest { container_id: ID.into(), exec_id: String::new() };
    client.wait(within(wait)?).await?;
    client.delete(within(tasks::DeleteTaskRequest { container_id: ID.into() })?).await?;
    Ok(())
}

#[test]
fn mounts_that_a_shim_cannot_make_are_made_for_it_and_undone() -> Result<()> {
    let node = Node::start()?;
    let (lower, scratch) = (node.path("lower"), node.path("scratch"));
    Layer::busybox()?.unpack(&lower)?;
    for folder in ["upper", "work"] {
        fs_err::create_dir_all(scratch.join(folder))?;
    }
    fs_err::write(scratch.join("upper/upper-file"), "")?;
    // The second refers to where the first was mounted.
    let rootfs = vec![
        mount("bind", &scratch.display().to_string(), vec!["rbind".into(), "rw".into()]),
        mount(
            "format/overlay",
            "overlay",
            vec![
                format!("lowerdir={}", lower.display()),
                "upperdir={{ mount 0 }}/upper".into(),
                "workdir={{ mount 0 }}/work".into(),
            ],
        ),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = berth_grpc::channel(&node.address());
        let request = containers::CreateContainerRequest { container: Some(container()) };
        ContainersClient::new(channel.clone()).create(within(request)?).await?;
        let bad = vec![
            rootfs[0].clone(),
            mount("format/overlay", "overlay", vec!["{{ mount 7 }}".into()]),
        ];
        create(&channel, bad).await.unwrap_err();
        assert_eq!(active(&channel).await?, None);

        create(&channel, rootfs.clone()).await?;
        let start = tasks::StartRequest { container_id: ID.into(), exec_id: String::new() };
        TasksClient::new(channel.clone()).start(within(start)?).await?;
        assert_eq!(active(&channel).await?, Some(1));
        let written = || scratch.join("upper/written").exists();
        until("the container has written", Duration::from_secs(20), written)?;

        // A runtime that was killed knows that there is something to undo.
        let old = node.service_pid("berth-runtime")?;
        node.kill_service("berth-runtime")?;
        let back = || node.service_pid("berth-runtime").is_ok_and(|pid| pid != old);
        until("runtime is back", Duration::from_secs(20), back)?;
        end(&channel).await?;
        assert_eq!(active(&channel).await?, None);
        assert_eq!(node.mounts(), Vec::<String>::new());
        Ok(())
    })
}
