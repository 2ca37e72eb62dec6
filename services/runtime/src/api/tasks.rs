//! `containerd.services.tasks.v1.Tasks`.

use std::time::SystemTime;

use berth_grpc::{lease, namespace, status};
use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::services::tasks::v1 as wire;
use berth_proto::containerd::types::Metric;
use berth_proto::containerd::v1::types::{Process, ProcessInfo, Status as WireStatus};
use berth_proto::unpack;
use tonic::{Request, Response, Status};
use wire::tasks_server::Tasks as Api;

use super::wire::{about, any, mount, time, wire_any};
use super::{checkpoint, introspection};
use crate::error::Error;
use crate::process::{self, Exit, Io, Pid, State};
use crate::tasks::{Create, Dump, Tasks};
use crate::warnings::Warnings;

/// Serves tasks.
pub(super) struct Service(pub(super) Tasks, pub(super) Warnings);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Api for Service {
    async fn create(
        &self,
        request: Request<wire::CreateTaskRequest>,
    ) -> Answer<wire::CreateTaskResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        introspection::deprecated(&request).for_each(|used| self.1.tell(used));
        let create = create_of(request)?;
        let container_id = create.id.clone();
        about(&container_id, "");
        let pid = self.0.create(ns, create).await.map_err(status)?;
        Ok(Response::new(wire::CreateTaskResponse { container_id, pid }))
    }

    async fn start(&self, request: Request<wire::StartRequest>) -> Answer<wire::StartResponse> {
        let ns = namespace(&request)?;
        let wire::StartRequest { container_id, exec_id } = request.into_inner();
        about(&container_id, &exec_id);
        let pid = self.0.start(&ns, &container_id, &exec_id).await.map_err(status)?;
        Ok(Response::new(wire::StartResponse { pid }))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteTaskRequest>,
    ) -> Answer<wire::DeleteResponse> {
        let ns = namespace(&request)?;
        let id = request.into_inner().container_id;
        about(&id, "");
        let exit = self.0.delete(&ns, &id).await.map_err(status)?;
        Ok(Response::new(deleted(String::new(), exit)))
    }

    async fn delete_process(
        &self,
        request: Request<wire::DeleteProcessRequest>,
    ) -> Answer<wire::DeleteResponse> {
        let ns = namespace(&request)?;
        let wire::DeleteProcessRequest { container_id, exec_id } = request.into_inner();
        about(&container_id, &exec_id);
        let exit = self.0.delete_process(&ns, &container_id, &exec_id).await.map_err(status)?;
        Ok(Response::new(deleted(exec_id, exit)))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Answer<wire::GetResponse> {
        let ns = namespace(&request)?;
        let wire::GetRequest { container_id, exec_id } = request.into_inner();
        about(&container_id, &exec_id);
        let state = self.0.get(&ns, &container_id, &exec_id).await.map_err(status)?;
        let id = if exec_id.is_empty() { container_id } else { exec_id };
        Ok(Response::new(wire::GetResponse { process: Some(process(id, &state)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Answer<wire::ListTasksResponse> {
        let ns = namespace(&request)?;
        let listed = self.0.list(&ns).await;
        let tasks = listed.into_iter().map(|task| process(task.id, &task.state)).collect();
        Ok(Response::new(wire::ListTasksResponse { tasks }))
    }

    async fn kill(&self, request: Request<wire::KillRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let wire::KillRequest { container_id, exec_id, signal, all } = request.into_inner();
        about(&container_id, &exec_id);
        let killed = self.0.kill(&ns, &container_id, &exec_id, signal, all).await;
        killed.map(Response::new).map_err(status)
    }

    async fn exec(&self, request: Request<wire::ExecProcessRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let io = Io {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        about(&request.container_id, &request.exec_id);
        let spec = request.spec.map(any);
        let added = self.0.exec(&ns, &request.container_id, &request.exec_id, io, spec).await;
        added.map(Response::new).map_err(status)
    }

    async fn resize_pty(&self, request: Request<wire::ResizePtyRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let wire::ResizePtyRequest { container_id, exec_id, width, height } = request.into_inner();
        about(&container_id, &exec_id);
        let resized = self.0.resize(&ns, &container_id, &exec_id, (width, height)).await;
        resized.map(Response::new).map_err(status)
    }

    async fn close_io(&self, request: Request<wire::CloseIoRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let wire::CloseIoRequest { container_id, exec_id, stdin } = request.into_inner();
        about(&container_id, &exec_id);
        if stdin {
            self.0.close_stdin(&ns, &container_id, &exec_id).await.map_err(status)?;
        } else {
            // Nothing is closed, of a process that is there.
            self.0.get(&ns, &container_id, &exec_id).await.map_err(status)?;
        }
        Ok(Response::new(()))
    }

    async fn pause(&self, request: Request<wire::PauseTaskRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let id = request.into_inner().container_id;
        about(&id, "");
        let paused = self.0.pause(&ns, &id).await;
        paused.map(Response::new).map_err(status)
    }

    async fn resume(&self, request: Request<wire::ResumeTaskRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let id = request.into_inner().container_id;
        about(&id, "");
        let resumed = self.0.resume(&ns, &id).await;
        resumed.map(Response::new).map_err(status)
    }

    async fn list_pids(
        &self,
        request: Request<wire::ListPidsRequest>,
    ) -> Answer<wire::ListPidsResponse> {
        let ns = namespace(&request)?;
        let id = request.into_inner().container_id;
        about(&id, "");
        let pids = self.0.pids(&ns, &id).await.map_err(status)?;
        let info = |p: Pid| ProcessInfo { pid: p.pid, info: p.info.as_ref().map(wire_any) };
        let processes = pids.into_iter().map(info).collect();
        Ok(Response::new(wire::ListPidsResponse { processes }))
    }

    async fn checkpoint(
        &self,
        request: Request<wire::CheckpointTaskRequest>,
    ) -> Answer<wire::CheckpointTaskResponse> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let wire::CheckpointTaskRequest { container_id, options, .. } = request.into_inner();
        about(&container_id, "");
        let (path, exit) = checkpoint::asked(options.as_ref()).map_err(status)?;
        let dump = Dump { path, exit, options: options.map(any), lease };
        let dumped = self.0.checkpoint(&ns, &container_id, dump).await.map_err(status)?;
        let descriptors = dumped.map(checkpoint::descriptors).unwrap_or_default();
        Ok(Response::new(wire::CheckpointTaskResponse { descriptors }))
    }

    async fn update(&self, request: Request<wire::UpdateTaskRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let wire::UpdateTaskRequest { container_id, resources, annotations } = request.into_inner();
        about(&container_id, "");
        let updated = self.0.update(&ns, &container_id, resources.map(any), annotations).await;
        updated.map(Response::new).map_err(status)
    }

    async fn metrics(
        &self,
        request: Request<wire::MetricsRequest>,
    ) -> Answer<wire::MetricsResponse> {
        let ns = namespace(&request)?;
        let timestamp = time(SystemTime::now());
        let filters = request.into_inner().filters;
        let measured = self.0.metrics(&ns, &filters).await.map_err(status)?;
        let metric = |(id, data): (String, Option<crate::records::Any>)| {
            let data = data.as_ref().map(wire_any);
            Metric { timestamp, id, data }
        };
        let metrics = measured.into_iter().map(metric).collect();
        Ok(Response::new(wire::MetricsResponse { metrics }))
    }

    async fn wait(&self, request: Request<wire::WaitRequest>) -> Answer<wire::WaitResponse> {
        let ns = namespace(&request)?;
        let wire::WaitRequest { container_id, exec_id } = request.into_inner();
        about(&container_id, &exec_id);
        let exit = self.0.wait(&ns, &container_id, &exec_id).await.map_err(status)?;
        let (exit_status, exited_at) = (exit.status, time(exit.at));
        Ok(Response::new(wire::WaitResponse { exit_status, exited_at }))
    }
}

fn invalid(text: String) -> Status {
    status(Error::Invalid(text))
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn create_of(request: wire::CreateTaskRequest) -> Result<Create, Status> {
    let mut named = String::new();
    let (mut shim_address, mut shim_version) = (request.task_api_address, request.task_api_version);
    if let Some(options) = request.options.as_ref().and_then(unpack::<Options>) {
        let options = options.map_err(|e| invalid(format!("decode runc options: {e}")))?;
        // Clients of containerd 2.0 say it there.
        if shim_address.is_empty() {
            shim_address = options.task_api_address;
        }
        if shim_version == 0 {
            shim_version = options.task_api_version;
        }
        named = options.criu_image_path;
    }
    let (checkpoint, image) = checkpoint::source(request.checkpoint, &named).map_err(status)?;
    Ok(Create {
        id: request.container_id,
        rootfs: request.rootfs.into_iter().map(mount).collect(),
        io: Io {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        options: request.options.map(any),
        runtime_path: request.runtime_path,
        checkpoint,
        image,
        shim_address,
        shim_version,
    })
}

fn deleted(id: String, exit: Exit) -> wire::DeleteResponse {
    wire::DeleteResponse { id, pid: exit.pid, exit_status: exit.status, exited_at: time(exit.at) }
}

fn process(id: String, state: &State) -> Process {
    let shown = match state.status {
        process::Status::Unknown => WireStatus::Unknown,
        process::Status::Created => WireStatus::Created,
        process::Status::Running => WireStatus::Running,
        process::Status::Stopped => WireStatus::Stopped,
        process::Status::Paused => WireStatus::Paused,
        process::Status::Pausing => WireStatus::Pausing,
    };
    Process {
        container_id: String::new(),
        id,
        pid: state.pid,
        status: shown.into(),
        stdin: state.io.stdin.clone(),
        stdout: state.io.stdout.clone(),
        stderr: state.io.stderr.clone(),
        terminal: state.io.terminal,
        exit_status: state.exit_status,
        exited_at: state.exited.and_then(time),
    }
}
