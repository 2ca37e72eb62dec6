//! containerd.task.v2.Task and v3.

use std::sync::Arc;

use berth_proto::containerd::runc::v1::{CheckpointOptions, ProcessDetails};
use berth_proto::containerd::task::v3::{
    CheckpointTaskRequest, CloseIoRequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, UpdateTaskRequest,
    WaitRequest, WaitResponse,
};
use berth_proto::containerd::v1::types::ProcessInfo;
use berth_ttrpc::{Call, Status, reply};
use bytes::Bytes;

use crate::clock::timestamp;
use crate::io::Stdio;
use crate::task::{Checkpoint, Creation, ExecAddition, Shim};
use crate::{Error, bundle};

/// Answers one call.
pub(super) async fn call(shim: &Arc<Shim>, call: Call) -> Result<Bytes, Status> {
    match call.method.as_str() {
        "Create" => create(shim, call.decode()?).await,
        "Start" => start(shim, call.decode()?).await,
        "Delete" => delete(shim, call.decode()?).await,
        "Exec" => exec(shim, call.decode()?),
        "State" => state(shim, &call.decode()?).await,
        "Wait" => wait(shim, &call.decode()?).await,
        "Kill" => kill(shim, call.decode()?).await,
        "Pids" => pids(shim, &call.decode()?),
        "Pause" => pause(shim, call.decode()?).await,
        "Resume" => resume(shim, call.decode()?).await,
        "Stats" => stats(shim, &call.decode()?),
        "ResizePty" => resize(shim, &call.decode()?),
        "CloseIO" => close_io(shim, &call.decode()?),
        "Update" => update(shim, call.decode()?).await,
        "Checkpoint" => checkpoint(shim, call.decode()?).await,
        "Connect" => connect(shim, &call.decode()?),
        "Shutdown" => {
            shim.shutdown();
            Ok(Bytes::new())
        }
        method => Err(Status::unimplemented(&call.service, method)),
    }
}

fn done(result: Result<(), Error>) -> Result<Bytes, Status> {
    Ok(result.map(|()| Bytes::new())?)
}

async fn create(shim: &Arc<Shim>, request: CreateTaskRequest) -> Result<Bytes, Status> {
    let checkpoint = Some(request.checkpoint).filter(|path| !path.is_empty()).map(Into::into);
    let creation = Creation {
        options: bundle::options(request.options.as_ref())?,
        id: request.id,
        bundle: request.bundle.into(),
        rootfs: request.rootfs,
        stdio: Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        checkpoint,
    };
    let pid = shim.tasks.complete(shim.clone().create(creation)).await?;
    Ok(reply(&CreateTaskResponse { pid: pid.unsigned_abs() }))
}

async fn start(shim: &Arc<Shim>, request: StartRequest) -> Result<Bytes, Status> {
    let pid = shim.tasks.complete(shim.clone().start(request.id, request.exec_id)).await?;
    Ok(reply(&StartResponse { pid: pid.unsigned_abs() }))
}

async fn delete(shim: &Arc<Shim>, request: DeleteRequest) -> Result<Bytes, Status> {
    let ended = shim.tasks.complete(shim.clone().delete(request.id, request.exec_id)).await?;
    Ok(reply(&DeleteResponse {
        pid: ended.pid.unsigned_abs(),
        exit_status: ended.exit.status,
        exited_at: Some(timestamp(ended.exit.at)),
    }))
}

fn exec(shim: &Shim, request: ExecProcessRequest) -> Result<Bytes, Status> {
    let spec = request.spec.map(|spec| spec.value).unwrap_or_default();
    let stdio = Stdio {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
    };
    done(shim.add_exec(ExecAddition { id: request.id, exec: request.exec_id, stdio, spec }))
}

async fn state(shim: &Shim, request: &StateRequest) -> Result<Bytes, Status> {
    let container = shim.settled(&request.id).await?;
    let view = container.view(&request.exec_id)?;
    Ok(reply(&StateResponse {
        id: view.id,
        bundle: container.bundle.to_string_lossy().into_owned(),
        pid: view.pid.unsigned_abs(),
        status: view.status.into(),
        stdin: view.stdio.stdin,
        stdout: view.stdio.stdout,
        stderr: view.stdio.stderr,
        terminal: view.stdio.terminal,
        exit_status: view.exit.map_or(0, |exit| exit.status),
        exited_at: view.exit.map(|exit| timestamp(exit.at)),
        exec_id: request.exec_id.clone(),
    }))
}

async fn wait(shim: &Shim, request: &WaitRequest) -> Result<Bytes, Status> {
    let exit = shim.settled(&request.id).await?.wait(&request.exec_id).await?;
    let (exit_status, exited_at) = (exit.status, Some(timestamp(exit.at)));
    Ok(reply(&WaitResponse { exit_status, exited_at }))
}

async fn kill(shim: &Arc<Shim>, request: KillRequest) -> Result<Bytes, Status> {
    let KillRequest { id, exec_id, signal, all } = request;
    done(shim.tasks.complete(shim.clone().kill(id, exec_id, signal, all)).await)
}

fn pids(shim: &Shim, request: &PidsRequest) -> Result<Bytes, Status> {
    let info = |(pid, exec): (u32, Option<String>)| ProcessInfo {
        pid,
        info: exec.map(|exec_id| berth_proto::pack(&ProcessDetails { exec_id })),
    };
    let processes = shim.pids(&request.id)?.into_iter().map(info).collect();
    Ok(reply(&PidsResponse { processes }))
}

async fn pause(shim: &Arc<Shim>, request: PauseRequest) -> Result<Bytes, Status> {
    done(shim.tasks.complete(shim.clone().pause(request.id)).await)
}

async fn resume(shim: &Arc<Shim>, request: ResumeRequest) -> Result<Bytes, Status> {
    done(shim.tasks.complete(shim.clone().resume(request.id)).await)
}

fn stats(shim: &Shim, request: &StatsRequest) -> Result<Bytes, Status> {
    Ok(reply(&StatsResponse { stats: Some(shim.metrics(&request.id)?) }))
}

fn resize(shim: &Shim, request: &ResizePtyRequest) -> Result<Bytes, Status> {
    done(shim.resize(&request.id, &request.exec_id, request.width, request.height))
}

fn close_io(shim: &Shim, request: &CloseIoRequest) -> Result<Bytes, Status> {
    done(shim.close_stdin(&request.id, &request.exec_id))
}

async fn update(shim: &Arc<Shim>, request: UpdateTaskRequest) -> Result<Bytes, Status> {
    let resources = request.resources.unwrap_or_default();
    done(shim.tasks.complete(shim.clone().update(request.id, resources)).await)
}

async fn checkpoint(shim: &Arc<Shim>, request: CheckpointTaskRequest) -> Result<Bytes, Status> {
    let options = request.options.as_ref().and_then(berth_proto::unpack::<CheckpointOptions>);
    let options =
        options.transpose().map_err(Error::invalid("checkpoint options"))?.unwrap_or_default();
    let checkpoint = Checkpoint { path: request.path.into(), options };
    done(shim.tasks.complete(shim.clone().checkpoint(request.id, checkpoint)).await)
}

fn connect(shim: &Shim, request: &ConnectRequest) -> Result<Bytes, Status> {
    let container = shim.container(&request.id).ok();
    let pid = container.and_then(|container| Some(container.view("").ok()?.pid)).unwrap_or(0);
    Ok(reply(&ConnectResponse {
        shim_pid: std::process::id(),
        task_pid: pid.unsigned_abs(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}
