//! Container records and their tasks.

use anyhow::{Context, Result, bail};
use berth_proto::containerd::services::containers::v1::{
    Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest,
    ListContainersRequest, UpdateContainerRequest, container::Runtime,
};
use berth_proto::containerd::services::snapshots::v1::{MountsRequest, RemoveSnapshotRequest};
use berth_proto::containerd::services::tasks::v1::{
    DeleteTaskRequest, GetRequest, KillRequest, ListTasksRequest, WaitRequest,
};
use berth_proto::containerd::types::Mount;
use berth_proto::containerd::v1::types::{Process, Status};
use berth_runtime_spec::Spec;

use crate::client::{Client, Step};
use crate::{logs, network};

/// Where the container's output is kept.
pub const LOG_LABEL: &str = "io.berth.log-path";
/// What the last program of the container ended with, once its task is gone.
pub const EXIT_LABEL: &str = "io.berth.exit-code";
/// When it ended.
pub const EXITED_LABEL: &str = "io.berth.exited-at";
/// The signal that asks the program to end.
pub const STOP_SIGNAL_LABEL: &str = "io.berth.stop-signal";

/// The runtime that containers are recorded with.
pub const RUNTIME: &str = "io.containerd.runc.v2";
/// The signal that cannot be refused.
pub const KILL: u32 = 9;

/// The container that was typed: by name, or by the start of one.
pub async fn get(client: &Client, typed: &str) -> Result<Container> {
    let doing = || format!("look for container {typed}");
    if berth_ids::validate_identifier(typed).is_ok() {
        let request = client.request(GetContainerRequest { id: typed.to_owned() });
        let answer = client.containers().get(request).await.optional().step(doing)?;
        if let Some(found) = answer.and_then(|answer| answer.into_inner().container) {
            return Ok(found);
        }
    }
    let (mut found, mut count) = (None, 0);
    if let Some(filter) = begins_with(typed) {
        list(client, vec![filter], |container| {
            found = Some(container);
            count += 1;
        })
        .await?;
    }
    match (found, count) {
        (Some(found), 1) => Ok(found),
        (Some(_), count) => bail!("container {typed:?} is ambiguous, {count} begin so"),
        (None, _) => {
            let namespace = client.namespace();
            bail!("container {typed:?}: not found in namespace {namespace}, see `berth ps -a`")
        }
    }
}

/// The container that was typed, to be removed. What still runs of one whose record is lost gets a
/// record again, since nothing is done to a task without a container.
pub async fn get_to_remove(client: &Client, typed: &str, force: bool) -> Result<Container> {
    let found = get(client, typed).await;
    if found.is_ok() || !tasks(client).await?.iter().any(|task| task.id == typed) {
        return found;
    }
    if !force {
        bail!(
            "the record of container {typed} is lost, what runs of it ends with `berth rm -f {typed}`"
        );
    }
    let runtime = Some(Runtime { name: RUNTIME.to_owned(), options: None });
    let id = typed.to_owned();
    let record =
        Container { id, runtime, spec: Some(prost_types::Any::default()), ..Default::default() };
    let request = client.request(CreateContainerRequest { container: Some(record.clone()) });
    let doing = || format!("give what runs of container {typed} a record");
    client.containers().create(request).await.step(doing)?;
    Ok(record)
}

/// The filter for containers whose name begins so; none for what no name can begin with.
fn begins_with(typed: &str) -> Option<String> {
    let in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let may_be = !typed.is_empty() && typed.bytes().all(in_names);
    may_be.then(|| format!("id~=/^{}/", typed.replace('.', "[.]")))
}

/// Gives each container of the namespace that one of the filters matches to `take`.
///
/// They come one by one: a node's containers are more than one message may have, and more than is
/// worth keeping.
pub async fn list(
    client: &Client,
    filters: Vec<String>,
    mut take: impl FnMut(Container),
) -> Result<()> {
    let doing = || "list containers".to_owned();
    let request = client.request(ListContainersRequest { filters });
    let mut stream = client.containers().list_stream(request).await.step(doing)?.into_inner();
    while let Some(message) = stream.message().await.step(doing)? {
        if let Some(container) = message.container {
            take(container);
        }
    }
    Ok(())
}

/// All tasks of the namespace.
pub async fn tasks(client: &Client) -> Result<Vec<Process>> {
    let request = client.request(ListTasksRequest::default());
    let answer = client.tasks().list(request).await.step(|| "list tasks".to_owned())?;
    Ok(answer.into_inner().tasks)
}

/// The container's task, if it has one.
pub async fn task(client: &Client, id: &str) -> Result<Option<Process>> {
    let request = GetRequest { container_id: id.to_owned(), ..Default::default() };
    let answer = client.tasks().get(client.request(request)).await.optional();
    let answer = answer.step(|| format!("look at the task of container {id}"))?;
    Ok(answer.and_then(|answer| answer.into_inner().process))
}

/// The task of a container that is running or paused.
pub async fn running(client: &Client, id: &str) -> Result<Process> {
    match task(client, id).await? {
        Some(task) if is_alive(&task) => Ok(task),
        _ => bail!("container {id} is not running, start it with `berth start {id}`"),
    }
}

/// Whether the task's program has not ended.
pub fn is_alive(task: &Process) -> bool {
    !matches!(task.status(), Status::Stopped | Status::Unknown)
}

/// The spec in a container's record.
pub fn spec(container: &Container) -> Result<Spec> {
    let any = container.spec.as_ref();
    let any = any.with_context(|| format!("container {} has no spec", container.id))?;
    serde_json::from_slice(&any.value)
        .with_context(|| format!("parse the spec of container {}", container.id))
}

/// The mounts that make the container's root file system.
pub async fn mounts(client: &Client, container: &Container) -> Result<Vec<Mount>> {
    if container.snapshot_key.is_empty() {
        return Ok(Vec::new());
    }
    let request = MountsRequest {
        snapshotter: container.snapshotter.clone(),
        key: container.snapshot_key.clone(),
    };
    let answer = client.snapshots().mounts(client.request(request)).await;
    let answer = answer.step(|| format!("find the root file system of container {}", container.id));
    Ok(answer?.into_inner().mounts)
}

/// Sends a signal to the container's program, or to all of its processes.
pub async fn kill(client: &Client, id: &str, signal: u32, all: bool) -> Result<()> {
    let request = KillRequest { container_id: id.to_owned(), signal, all, ..Default::default() };
    let answer = client.tasks().kill(client.request(request)).await;
    answer.step(|| format!("send signal {signal} to container {id}")).map(|_| ())
}

/// Waits for the container's program to end.
pub async fn wait(client: &Client, id: &str) -> Result<u32> {
    let request = WaitRequest { container_id: id.to_owned(), ..Default::default() };
    let answer = client.tasks().wait(client.patient(request)).await;
    Ok(answer.step(|| format!("wait for container {id}"))?.into_inner().exit_status)
}

/// Deletes the ended task of a container, if it has one, and notes in its record how it ended.
pub async fn forget_task(client: &Client, container: &Container) -> Result<()> {
    let id = &container.id;
    let request = DeleteTaskRequest { container_id: id.clone() };
    let answer = client.tasks().delete(client.request(request)).await.optional();
    let answer = answer.step(|| format!("delete the task of container {id}"))?;
    let Some(ended) = answer.map(tonic::Response::into_inner) else { return Ok(()) };
    let exited = crate::output::moment(ended.exited_at.as_ref());
    let labels =
        [(EXIT_LABEL.to_owned(), ended.exit_status.to_string()), (EXITED_LABEL.to_owned(), exited)];
    let paths = labels.iter().map(|(label, _)| format!("labels.{label}")).collect();
    let request = UpdateContainerRequest {
        container: Some(Container {
            id: id.clone(),
            labels: labels.into_iter().collect(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    let answer = client.containers().update(client.request(request)).await;
    answer.optional().step(|| format!("note how container {id} ended")).map(|_| ())
}

/// Removes a container with all that is its own; a running one only when `force` is set.
pub async fn remove(client: &Client, container: &Container, force: bool) -> Result<()> {
    let id = &container.id;
    if let Some(task) = task(client, id).await? {
        if is_alive(&task) && task.status() != Status::Created {
            if !force {
                bail!("container {id} is running, stop it with `berth stop {id}` or give -f");
            }
            end(client, id).await?;
        } else if task.status() == Status::Created {
            end(client, id).await?;
        }
        let request = DeleteTaskRequest { container_id: id.clone() };
        let answer = client.tasks().delete(client.request(request)).await.optional();
        answer.step(|| format!("delete the task of container {id}"))?;
    }
    disconnect(client, container).await;
    let request = DeleteContainerRequest { id: id.clone() };
    let answer = client.containers().delete(client.request(request)).await.optional();
    answer.step(|| format!("delete container {id}"))?;
    remove_snapshot(client, container).await?;
    match container.labels.get(LOG_LABEL) {
        Some(path) => logs::remove(path.as_ref()),
        None => Ok(()),
    }
}

/// Undoes what the container's network has of it. What is in the way is told and keeps nobody: the node tries it again
/// once the record is gone.
async fn disconnect(client: &Client, container: &Container) {
    if network::is_connected(container)
        && let Err(error) = network::detach(client, &container.id).await
    {
        eprintln!("berth: {}", crate::client::told(&error));
    }
}

/// Kills the container's program and waits until it has ended.
async fn end(client: &Client, id: &str) -> Result<()> {
    // Waiting begins first, so that an end in between is not missed.
    let waiting = wait(client, id);
    let killing = async {
        match kill(client, id, KILL, true).await {
            Err(error) if crate::client::answered(&error, tonic::Code::NotFound) => Ok(()),
            outcome => outcome,
        }
    };
    let (ended, killed) = futures::join!(waiting, killing);
    killed?;
    match ended {
        Err(error) if crate::client::answered(&error, tonic::Code::NotFound) => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

async fn remove_snapshot(client: &Client, container: &Container) -> Result<()> {
    if container.snapshot_key.is_empty() {
        return Ok(());
    }
    let request = RemoveSnapshotRequest {
        snapshotter: container.snapshotter.clone(),
        key: container.snapshot_key.clone(),
    };
    let answer = client.snapshots().remove(client.request(request)).await.optional();
    answer.step(|| format!("remove the root file system of container {}", container.id))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_names_beginning_is_taken_as_it_is() {
        assert_eq!(begins_with("a.b-").as_deref(), Some("id~=/^a[.]b-/"));
        for typed in ["", "a/b", "a|b", ".*,id", "a b"] {
            assert_eq!(begins_with(typed), None, "{typed}");
        }
    }
}
