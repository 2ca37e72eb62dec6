//! A shim's task service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_ids::Namespace;
use berth_mount::Mount;
use berth_proto::containerd::task::v3 as wire;
use berth_proto::containerd::types;
use berth_proto::containerd::v1::types::Status as WireStatus;
use berth_trace::stage;
use prost::Message;
use tracing::Instrument;

use super::options::{domain, wire as wire_any};
use super::runs::Wanted;
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::process::{Exit, Io, Pid, State, Status};
use crate::records::Any;
use crate::shims::{Bootstrap, Timeouts};

const TASK_V2: &str = "containerd.task.v2.Task";
const TASK_V3: &str = "containerd.task.v3.Task";
/// Calls that runc is run for.
pub(super) const SLOW: Duration = Duration::from_secs(120);
/// Calls that touch the kernel alone.
pub(super) const QUICK: Duration = Duration::from_secs(20);
/// A dump of a container's memory, or its restore.
const CHECKPOINT: Duration = Duration::from_secs(600);
/// Waiting has no end of its own.
pub(super) const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A connection to one shim, for one task.
#[derive(Clone)]
pub struct ShimClient {
    transport: Transport,
    timeouts: Timeouts,
    service: &'static str,
    id: String,
    /// The task's folder, if it is known.
    bundle: Option<PathBuf>,
}

impl ShimClient {
    /// Connects to the shim of task `id`. Every call says which namespace that is in.
    ///
    /// # Errors
    /// [`Error::Shim`].
    pub async fn connect(
        bootstrap: &Bootstrap,
        ns: &Namespace,
        id: &str,
        timeouts: &Timeouts,
    ) -> Result<Self> {
        let transport = Transport::connect(bootstrap, ns, timeouts.load).await?;
        let service = if bootstrap.version >= 3 { TASK_V3 } else { TASK_V2 };
        let (timeouts, id) = (*timeouts, id.to_owned());
        Ok(Self { transport, timeouts, service, id, bundle: None })
    }

    /// The same connection, of which it is known what the shim writes down in the task's folder.
    #[must_use]
    pub fn in_bundle(self, bundle: &Path) -> Self {
        Self { bundle: Some(bundle.to_owned()), ..self }
    }

    /// The same connection to the service before the one that it calls, if there is one.
    #[must_use]
    pub fn older(&self) -> Option<Self> {
        let both = matches!(self.transport, Transport::Ttrpc(_)) && self.service == TASK_V3;
        both.then(|| Self { service: TASK_V2, ..self.clone() })
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        self.transport.closed().await;
    }

    async fn call<M: Message + Default + 'static>(
        &self,
        method: &str,
        request: impl Message + 'static,
        deadline: Duration,
    ) -> Result<M> {
        let span = stage!(
            "shim",
            otel.name = format!("shim {method}"),
            otel.kind = "client",
            rpc.system = "ttrpc",
            rpc.service = self.service,
            rpc.method = method,
            id = self.id,
        );
        let called = async {
            let wanted = Wanted::of(&span, self.bundle.as_deref());
            let more = wanted.headers();
            let called = self.transport.call(self.service, method, request, deadline, more);
            let answer = called.instrument(span.clone()).await;
            if let Some(bundle) = &self.bundle {
                wanted.collect(bundle).await;
            }
            answer
        };
        berth_recent::stage("shim", method).of(called).await
    }

    /// Makes the task; answers its first process.
    ///
    /// # Errors
    /// [`Error::Shim`], as of every call here.
    pub async fn create(
        &self,
        bundle: &str,
        rootfs: &[Mount],
        io: &Io,
        checkpoint: &str,
        options: Option<&Any>,
    ) -> Result<u32> {
        let request = wire::CreateTaskRequest {
            id: self.id.clone(),
            bundle: bundle.to_owned(),
            rootfs: rootfs.iter().map(wire_mount).collect(),
            terminal: io.terminal,
            stdin: io.stdin.clone(),
            stdout: io.stdout.clone(),
            stderr: io.stderr.clone(),
            checkpoint: checkpoint.to_owned(),
            parent_checkpoint: String::new(),
            options: options.map(wire_any),
        };
        let answer: wire::CreateTaskResponse = self.call("Create", request, SLOW).await?;
        Ok(answer.pid)
    }

    /// Starts the first process, or an added one.
    pub async fn start(&self, exec: &str) -> Result<u32> {
        self.start_within(exec, SLOW).await
    }

    /// Starts the first process of a task from a checkpoint, which takes as long as a dump.
    pub async fn restore(&self) -> Result<u32> {
        self.start_within("", CHECKPOINT).await
    }

    async fn start_within(&self, exec: &str, deadline: Duration) -> Result<u32> {
        let request = wire::StartRequest { id: self.id.clone(), exec_id: exec.to_owned() };
        let answer: wire::StartResponse = self.call("Start", request, deadline).await?;
        Ok(answer.pid)
    }

    /// The state of a process. Lists ask every shim.
    pub async fn state(&self, exec: &str) -> Result<State> {
        self.state_within(exec, self.timeouts.state).await
    }

    /// The state of a process, however long the shim takes.
    pub async fn state_at_last(&self, exec: &str) -> Result<State> {
        self.state_within(exec, FOREVER).await
    }

    async fn state_within(&self, exec: &str, deadline: Duration) -> Result<State> {
        let request = wire::StateRequest { id: self.id.clone(), exec_id: exec.to_owned() };
        let answer: wire::StateResponse = self.call("State", request, deadline).await?;
        Ok(State {
            pid: answer.pid,
            status: status(answer.status),
            io: Io {
                stdin: answer.stdin,
                stdout: answer.stdout,
                stderr: answer.stderr,
                terminal: answer.terminal,
            },
            exit_status: answer.exit_status,
            exited: berth_grpc::time::from_wire(answer.exited_at.as_ref()),
        })
    }

    /// Deletes a process that has ended, or the task with its first one.
    pub async fn delete(&self, exec: &str) -> Result<Exit> {
        let request = wire::DeleteRequest { id: self.id.clone(), exec_id: exec.to_owned() };
        let answer: wire::DeleteResponse = self.call("Delete", request, SLOW).await?;
        Ok(exit(&answer))
    }

    /// Signals a process, or all of the task.
    pub async fn kill(&self, exec: &str, signal: u32, all: bool) -> Result<()> {
        let request =
            wire::KillRequest { id: self.id.clone(), exec_id: exec.to_owned(), signal, all };
        self.call("Kill", request, QUICK).await
    }

    /// Adds a process.
    pub async fn exec(&self, exec: &str, io: &Io, spec: Option<&Any>) -> Result<()> {
        let request = wire::ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            terminal: io.terminal,
            stdin: io.stdin.clone(),
            stdout: io.stdout.clone(),
            stderr: io.stderr.clone(),
            spec: spec.map(wire_any),
        };
        self.call("Exec", request, SLOW).await
    }

    /// The processes in the task.
    pub async fn pids(&self) -> Result<Vec<Pid>> {
        let request = wire::PidsRequest { id: self.id.clone() };
        let answer: wire::PidsResponse = self.call("Pids", request, QUICK).await?;
        let pid = |p: berth_proto::containerd::v1::types::ProcessInfo| Pid {
            pid: p.pid,
            info: p.info.map(domain),
        };
        Ok(answer.processes.into_iter().map(pid).collect())
    }

    /// Freezes the task.
    pub async fn pause(&self) -> Result<()> {
        self.call("Pause", wire::PauseRequest { id: self.id.clone() }, QUICK).await
    }

    /// Thaws the task.
    pub async fn resume(&self) -> Result<()> {
        self.call("Resume", wire::ResumeRequest { id: self.id.clone() }, QUICK).await
    }

    /// Measures the task.
    pub async fn stats(&self) -> Result<Option<Any>> {
        let request = wire::StatsRequest { id: self.id.clone() };
        let answer: wire::StatsResponse = self.call("Stats", request, self.timeouts.stats).await?;
        Ok(answer.stats.map(domain))
    }

    /// Resizes a terminal.
    pub async fn resize(&self, exec: &str, width: u32, height: u32) -> Result<()> {
        let (id, exec_id) = (self.id.clone(), exec.to_owned());
        let request = wire::ResizePtyRequest { id, exec_id, width, height };
        self.call("ResizePty", request, QUICK).await
    }

    /// Closes a process's standard input.
    pub async fn close_stdin(&self, exec: &str) -> Result<()> {
        let (id, exec_id) = (self.id.clone(), exec.to_owned());
        self.call("CloseIO", wire::CloseIoRequest { id, exec_id, stdin: true }, QUICK).await
    }

    /// Changes the task's limits.
    pub async fn update(
        &self,
        resources: Option<&Any>,
        annotations: std::collections::HashMap<String, String>,
    ) -> Result<()> {
        let (id, resources) = (self.id.clone(), resources.map(wire_any));
        let request = wire::UpdateTaskRequest { id, resources, annotations };
        self.call("Update", request, QUICK).await
    }

    /// Dumps the task.
    pub async fn checkpoint(&self, path: &str, options: Option<&Any>) -> Result<()> {
        let (id, path) = (self.id.clone(), path.to_owned());
        let request = wire::CheckpointTaskRequest { id, path, options: options.map(wire_any) };
        self.call("Checkpoint", request, CHECKPOINT).await
    }

    /// Waits for the end of a process. The answer has no number of the process.
    pub async fn wait(&self, exec: &str) -> Result<Exit> {
        let request = wire::WaitRequest { id: self.id.clone(), exec_id: exec.to_owned() };
        let answer: wire::WaitResponse = self.call("Wait", request, FOREVER).await?;
        let at = berth_grpc::time::from_wire(answer.exited_at.as_ref());
        Ok(Exit { pid: 0, status: answer.exit_status, at: at.unwrap_or_else(now) })
    }

    /// Has the shim end if it serves no task any more.
    pub async fn shutdown(&self) -> Result<()> {
        let request = wire::ShutdownRequest { id: self.id.clone(), now: false };
        match self.call("Shutdown", request, self.timeouts.shutdown).await {
            Err(error) if error.is_closed() => Ok(()),
            done => done,
        }
    }
}

/// What a shim's program has printed after it cleaned up.
///
/// # Errors
/// [`Error::Invalid`] when it is not that.
pub fn deleted(printed: &[u8]) -> Result<Exit> {
    let answer = wire::DeleteResponse::decode(printed);
    let answer = answer.map_err(|e| Error::Invalid(format!("decode answer of dead shim: {e}")))?;
    Ok(exit(&answer))
}

fn exit(answer: &wire::DeleteResponse) -> Exit {
    let at = berth_grpc::time::from_wire(answer.exited_at.as_ref()).unwrap_or_else(now);
    Exit { pid: answer.pid, status: answer.exit_status, at }
}

pub(super) fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

pub(super) fn wire_mount(mount: &Mount) -> types::Mount {
    types::Mount {
        r#type: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    }
}

fn status(status: i32) -> Status {
    match WireStatus::try_from(status) {
        Ok(WireStatus::Created) => Status::Created,
        Ok(WireStatus::Running) => Status::Running,
        Ok(WireStatus::Stopped) => Status::Stopped,
        Ok(WireStatus::Paused) => Status::Paused,
        Ok(WireStatus::Pausing) => Status::Pausing,
        Ok(WireStatus::Unknown) | Err(_) => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use berth_ttrpc::{Call, Handler, Server, Status as Refusal};
    use bytes::Bytes;

    use super::*;

    /// A shim that notes whose namespace it is asked in.
    #[derive(Default)]
    struct Asked(Mutex<Vec<(String, Option<String>)>>);

    impl Handler for Asked {
        async fn call(&self, call: Call) -> Result<Bytes, Refusal> {
            let namespace = call.header("containerd-namespace-ttrpc").map(str::to_owned);
            let method = format!("{}/{}", call.service, call.method);
            self.0.lock().unwrap().push((method, namespace));
            Ok(Bytes::new())
        }
    }

    /// A shim that never answers.
    struct Silent;

    impl Handler for Silent {
        async fn call(&self, _: Call) -> Result<Bytes, Refusal> {
            std::future::pending().await
        }
    }

    /// Has `calls` call a shim that is served by `handler`.
    async fn with_shim<F: Future<Output = ()>>(
        handler: Arc<impl Handler>,
        timeouts: Timeouts,
        calls: impl FnOnce(ShimClient) -> F,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let server = Server::new(handler);
        let serving = server.serve(listener, std::future::pending(), QUICK);
        let calls = async {
            let address = format!("unix://{}", socket.display());
            let shim = Bootstrap { version: 3, address, protocol: "ttrpc".into() };
            let ns = "moby".parse().unwrap();
            calls(ShimClient::connect(&shim, &ns, "c", &timeouts).await.unwrap()).await;
        };
        tokio::select! {
            () = calls => {}
            ended = serving => panic!("{ended:?}"),
        }
    }

    #[tokio::test]
    async fn each_question_has_its_own_time() {
        let time = Duration::from_millis;
        let [shutdown, state, stats] = [11, 12, 13].map(time);
        let timeouts = Timeouts { load: QUICK, cleanup: QUICK, shutdown, state, stats };
        with_shim(Arc::new(Silent), timeouts, |client| async move {
            for (error, after) in [
                (client.shutdown().await.unwrap_err(), shutdown),
                (client.state("").await.unwrap_err(), state),
                (client.stats().await.unwrap_err(), stats),
            ] {
                let Error::Shim { source, .. } = error else { panic!("{error}") };
                let late = matches!(&source, berth_ttrpc::Error::Deadline { after: of, .. } if *of == after);
                assert!(late, "{source:?}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn every_call_says_its_namespace() {
        let asked = Arc::new(Asked::default());
        let (load, cleanup, shutdown, state, stats) = (QUICK, QUICK, QUICK, QUICK, QUICK);
        let timeouts = Timeouts { load, cleanup, shutdown, state, stats };
        with_shim(asked.clone(), timeouts, |client| async move {
            client.start("").await.unwrap();
            client.pids().await.unwrap();
        })
        .await;
        let told =
            |method: &str| (format!("containerd.task.v3.Task/{method}"), Some("moby".to_owned()));
        assert_eq!(*asked.0.lock().unwrap(), [told("Start"), told("Pids")]);
    }
}
