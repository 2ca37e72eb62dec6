//! A node for the shim's tests: bundles made of busybox, a listener for its events, a client.
//!
//! Needs root, runc and busybox.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and starts programs"
)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_proto::containerd::events::{TaskDelete, TaskExit};
use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::runtime::bootstrap::v1::{
    BootstrapParams, BootstrapResult, Extension,
};
use berth_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use berth_proto::containerd::task::v3 as wire;
use berth_proto::containerd::types::{Envelope, Mount};
use berth_ttrpc::{Call, Client, Error, Handler, Server, Status};
use bytes::Bytes;
use prost::{Message, Name};
use prost_types::Any;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-runc-v2");
pub const LONG: Duration = Duration::from_secs(30);
pub const NAMESPACE: &str = "test";

/// Events as they arrived.
#[derive(Default)]
pub struct Recorder {
    events: Mutex<Vec<Envelope>>,
    more: Notify,
}

impl Handler for Recorder {
    async fn call(&self, call: Call) -> Result<Bytes, Status> {
        assert_eq!(call.service, "containerd.services.events.ttrpc.v1.Events");
        let request: ForwardRequest = call.decode()?;
        self.events.lock().unwrap().push(request.envelope.unwrap());
        self.more.notify_waiters();
        Ok(Bytes::new())
    }
}

impl Recorder {
    pub fn topics(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|event| event.topic.clone()).collect()
    }

    pub fn all<M: Name + Default>(&self) -> Vec<M> {
        let events = self.events.lock().unwrap();
        let any = events.iter().filter_map(|event| event.event.as_ref());
        any.filter_map(berth_proto::unpack::<M>).map(Result::unwrap).collect()
    }

    /// Waits until an event of the topic has arrived.
    pub async fn wait(&self, topic: &str) {
        self.wait_for(topic, 1).await;
    }

    /// Waits until so many have: a shim that has answered, and is gone from its socket, may still tell.
    pub async fn wait_for(&self, topic: &str, times: usize) {
        let arrived = async {
            loop {
                let more = self.more.notified();
                if self.topics().iter().filter(|known| *known == topic).count() >= times {
                    return;
                }
                more.await;
            }
        };
        let waited = tokio::time::timeout(LONG, arrived).await;
        assert!(waited.is_ok(), "no {topic} in {:?}", self.topics());
    }
}

pub struct Node {
    pub dir: tempfile::TempDir,
    pub events: Arc<Recorder>,
    listener: JoinSet<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        berth_testkit::clear_away(self.dir.path());
    }
}

impl Node {
    pub fn new() -> Node {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::Builder::new().prefix("shim").tempdir().unwrap();
        let image = dir.path().join("image");
        for folder in ["bin", "proc", "dev", "tmp", "sys"] {
            std::fs::create_dir_all(image.join(folder)).unwrap();
        }
        berth_testkit::copy_program("/usr/bin/busybox", image.join("bin/busybox")).unwrap();
        let names =
            ["sh", "cat", "echo", "sleep", "stty", "tail", "true", "yes", "head", "seq", "setsid"];
        for name in names {
            std::os::unix::fs::symlink("busybox", image.join("bin").join(name)).unwrap();
        }
        let mut node =
            Node { dir, events: Arc::new(Recorder::default()), listener: JoinSet::new() };
        node.listen();
        node
    }

    /// Begins to take events.
    pub fn listen(&mut self) {
        let path = self.path("events.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let handler = self.events.clone();
        self.listener.spawn(async move {
            Server::new(handler).serve(listener, std::future::pending(), LONG).await.unwrap();
        });
    }

    pub async fn deafen(&mut self) {
        self.listener.shutdown().await;
        std::fs::remove_file(self.path("events.sock")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a bundle. Its control group is none of another run of these tests.
    pub fn bundle(&self, id: &str, spec: &Value) -> PathBuf {
        let (bundle, mut spec) = (self.path("bundles").join(id), spec.clone());
        spec["linux"]["cgroupsPath"] = format!("/berth-test/{}-{id}", std::process::id()).into();
        std::fs::create_dir_all(bundle.join("rootfs")).unwrap();
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        bundle
    }

    /// The shim's `start` in a bundle.
    pub fn start(&self, id: &str, bundle: &Path) -> Command {
        let mut command = Command::new(SHIM);
        // The address tells its sockets from those of another run, where nobody says where they are to be.
        command.args(["-namespace", NAMESPACE, "-address"]).arg(self.path("none"));
        command.arg("-publish-binary").arg(self.path("publish")).args(["-id", id, "start"]);
        command.current_dir(bundle).env_remove("MAX_SHIM_VERSION");
        command.env("TTRPC_ADDRESS", self.path("events.sock"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the shim's `start` in a bundle and returns what it wrote.
    pub fn launch(&self, id: &str, bundle: &Path, input: &[u8], env: &[(&str, &str)]) -> Output {
        let mut child = self.start(id, bundle).envs(env.iter().copied()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What containerd 2.3 writes to `start`.
    pub fn params(&self, id: &str, events: &str) -> Vec<u8> {
        let params = BootstrapParams {
            instance_id: id.into(),
            namespace: NAMESPACE.into(),
            containerd_ttrpc_address: events.into(),
            containerd_grpc_address: "/none".into(),
            socket_dir: Some(self.path("s").to_string_lossy().into()),
            extensions: vec![Extension { value: Some(berth_proto::pack(&self.options())) }],
            ..BootstrapParams::default()
        };
        params.encode_to_vec()
    }

    pub fn options(&self) -> Options {
        let root = self.path("runc").to_string_lossy().into_owned();
        Options { root, ..Options::default() }
    }

    /// Starts a shim the way containerd 2.3 does.
    pub async fn shim(&self, id: &str, spec: &Value) -> Shim {
        let events = self.path("events.sock").to_string_lossy().into_owned();
        self.shim_telling(id, spec, &events).await
    }

    /// Starts a shim that sends its events to a socket; without one to the program `publish` of
    /// the node's folder.
    pub async fn shim_telling(&self, id: &str, spec: &Value, events: &str) -> Shim {
        let bundle = self.bundle(id, spec);
        let env = [("TTRPC_ADDRESS", events)];
        let output = self.launch(id, &bundle, &self.params(id, events), &env);
        assert!(output.status.success(), "{output:?}");
        let result = BootstrapResult::decode(&output.stdout[..]).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
        let socket = PathBuf::from(result.address.strip_prefix("unix://").unwrap());
        let client = Client::connect(&socket, LONG).await.unwrap();
        let image = self.path("image").to_string_lossy().into_owned();
        let (options, checkpoint) = (self.options(), String::new());
        Shim { client, id: id.into(), bundle, socket, image, options, checkpoint }
    }
}

pub struct Shim {
    pub client: Client,
    pub id: String,
    pub bundle: PathBuf,
    pub socket: PathBuf,
    pub options: Options,
    pub checkpoint: String,
    image: String,
}

/// Streams of a process.
#[derive(Default)]
pub struct Io {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

impl Shim {
    pub async fn call<M: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<M, Error> {
        self.call_within(LONG, method, request).await
    }

    /// A call of one who waits no longer than so.
    pub async fn call_within<M: Message + Default>(
        &self,
        deadline: Duration,
        method: &str,
        request: &impl Message,
    ) -> Result<M, Error> {
        self.client.call("containerd.task.v3.Task", method, request, deadline).await
    }

    pub async fn try_create(&self, io: Io) -> Result<u32, Error> {
        self.try_create_within(LONG, io).await
    }

    pub async fn try_create_within(&self, deadline: Duration, io: Io) -> Result<u32, Error> {
        let options = vec!["rbind".into(), "rw".into()];
        let r#type = "bind".into();
        let rootfs = Mount { r#type, source: self.image.clone(), target: String::new(), options };
        let request = wire::CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.to_string_lossy().into(),
            rootfs: vec![rootfs],
            terminal: io.terminal,
            stdin: io.stdin,
            stdout: io.stdout,
            stderr: io.stderr,
            checkpoint: self.checkpoint.clone(),
            options: Some(berth_proto::pack(&self.options)),
            ..wire::CreateTaskRequest::default()
        };
        let made = self.call_within(deadline, "Create", &request).await;
        made.map(|answer: wire::CreateTaskResponse| answer.pid)
    }

    pub async fn create(&self, io: Io) -> u32 {
        self.try_create(io).await.unwrap()
    }

    pub async fn start(&self, exec: &str) -> Result<u32, Error> {
        self.start_within(LONG, exec).await
    }

    pub async fn start_within(&self, deadline: Duration, exec: &str) -> Result<u32, Error> {
        let request = wire::StartRequest { id: self.id.clone(), exec_id: exec.into() };
        let started = self.call_within(deadline, "Start", &request).await;
        started.map(|answer: wire::StartResponse| answer.pid)
    }

    pub async fn exec(&self, exec: &str, args: &[&str], io: Io) -> Result<(), Error> {
        let request = wire::ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec.into(),
            terminal: io.terminal,
            stdin: io.stdin,
            stdout: io.stdout,
            stderr: io.stderr,
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
                value: process(args).to_string().into_bytes(),
            }),
        };
        self.call("Exec", &request).await
    }

    pub async fn wait(&self, exec: &str) -> u32 {
        let request = wire::WaitRequest { id: self.id.clone(), exec_id: exec.into() };
        let answer: wire::WaitResponse = self.call("Wait", &request).await.unwrap();
        assert!(answer.exited_at.is_some());
        answer.exit_status
    }

    pub async fn state(&self, exec: &str) -> wire::StateResponse {
        let request = wire::StateRequest { id: self.id.clone(), exec_id: exec.into() };
        self.call("State", &request).await.unwrap()
    }

    pub async fn kill(&self, exec: &str, signal: u32, all: bool) -> Result<(), Error> {
        let (id, exec_id) = (self.id.clone(), exec.into());
        self.call("Kill", &wire::KillRequest { id, exec_id, signal, all }).await
    }

    pub async fn delete(&self, exec: &str) -> Result<wire::DeleteResponse, Error> {
        let request = wire::DeleteRequest { id: self.id.clone(), exec_id: exec.into() };
        self.call("Delete", &request).await
    }

    pub async fn pid(&self) -> u32 {
        let request = wire::ConnectRequest { id: self.id.clone() };
        let answer: wire::ConnectResponse = self.call("Connect", &request).await.unwrap();
        answer.shim_pid
    }

    /// Deletes the container, tells the shim to end, and waits until it has.
    pub async fn finish(&self) {
        self.delete("").await.unwrap();
        self.shutdown().await;
        tokio::time::timeout(LONG, self.client.closed()).await.unwrap();
        self.gone().await;
        assert!(!mounted(&self.bundle));
    }

    pub async fn shutdown(&self) {
        let request = wire::ShutdownRequest { id: self.id.clone(), now: false };
        let _: () = self.call("Shutdown", &request).await.unwrap();
    }

    /// Waits until the socket is gone.
    pub async fn gone(&self) {
        eventually("the socket is gone", || !self.socket.exists()).await;
    }
}

pub fn mounted(below: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.contains(&*below.to_string_lossy())
}

/// Waits until something holds that nothing announces.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, held).await.is_ok(), "never: {what}");
}

/// A spec whose processes are the host's to see: they end with nobody but themselves.
pub fn shared_pids(mut spec: Value) -> Value {
    spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "pid");
    spec
}

/// Makes a named pipe.
pub fn fifo(path: &Path) -> String {
    let mode = rustix::fs::Mode::from_raw_mode(0o700);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    path.to_string_lossy().into_owned()
}

/// Reads a named pipe to its end. It is opened at once: the shim has it open since the creation, and
/// a process that ends soon may have closed it later.
pub fn read(path: String) -> impl Future<Output = String> + Send + 'static {
    let mut pipe = std::fs::File::open(path).unwrap();
    async move {
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).unwrap();
            text
        });
        tokio::time::timeout(LONG, text).await.expect("output did not end").unwrap()
    }
}

fn process(args: &[&str]) -> Value {
    let capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"];
    json!({
        "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin", "TERM=xterm"], "cwd": "/",
        "capabilities": {"bounding": capabilities, "effective": capabilities,
            "permitted": capabilities},
    })
}

pub fn spec(args: &[&str]) -> Value {
    let namespaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2", "process": process(args), "hostname": "shim",
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {
            "namespaces": namespaces,
            "resources": {},
        },
    })
}

pub fn shell(script: &str) -> Value {
    spec(&["sh", "-c", script])
}

/// Makes a spec's terminal flag what it has to be.
pub fn terminal(mut spec: Value) -> Value {
    spec["process"]["terminal"] = true.into();
    spec
}

pub fn exits(events: &Recorder) -> Vec<(String, u32)> {
    events.all::<TaskExit>().into_iter().map(|exit| (exit.id, exit.exit_status)).collect()
}

pub fn deletes(events: &Recorder) -> Vec<u32> {
    events.all::<TaskDelete>().into_iter().map(|delete| delete.exit_status).collect()
}

/// Writes a program.
pub fn script(path: &Path, text: &str) {
    berth_testkit::write_program(path, text).unwrap();
}

/// Runs a future at once with the test's own.
pub fn background<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let mut tasks = JoinSet::new();
    tasks.spawn(future);
    async move { tasks.join_next().await.unwrap().unwrap() }
}
