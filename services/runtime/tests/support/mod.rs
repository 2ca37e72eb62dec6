//! The real service's program on temporary folders, with a stand-in for the services that it asks.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by test programs, each uses a part")]

mod neighbours;
pub mod odd;
pub mod sandbox;
pub mod told;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use berth_grpc::Channel;
use berth_ids::Namespace;
use berth_lifecycle::{Tasks as Jobs, child};
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::tasks::v1 as tasks;
use berth_proto::containerd::task::v3 as shim;
use berth_proto::containerd::types::Mount;
use berth_proto::containerd::v1::types::Status as TaskStatus;
use containers::containers_client::ContainersClient;
use tasks::tasks_client::TasksClient;
use tonic::{Request, Status};

use neighbours::Neighbours;

/// The longest that anything here may take.
pub const SOON: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_berth-runtime");

/// A running service.
pub struct Node {
    pub folder: tempfile::TempDir,
    pub channel: Channel,
    pub neighbours: Neighbours,
    process: tokio::process::Child,
    jobs: Jobs,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        berth_testkit::clear_away(self.folder.path());
    }
}

impl Node {
    pub async fn start() -> Node {
        Node::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts it in a folder of a certain name.
    pub async fn start_in(folder: tempfile::TempDir) -> Node {
        std::fs::create_dir_all(folder.path().join("run")).unwrap();
        let (jobs, neighbours) = (Jobs::new(), Neighbours::default());
        for name in ["distribution", "bundle"] {
            let (routes, socket) =
                (neighbours.routes(), folder.path().join(format!("run/{name}.sock")));
            berth_grpc::server::serve(&socket, 0o600, routes, &jobs).unwrap();
        }
        std::fs::write(folder.path().join("berth.toml"), config(folder.path())).unwrap();
        let process = spawn(folder.path(), &[]);
        let channel = berth_grpc::channel(&folder.path().join("run/runtime.sock"));
        make_rootfs(&folder.path().join("image"));
        Node { folder, channel, neighbours, process, jobs }
    }

    pub fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone())
    }

    pub fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone())
    }

    /// Sends the service a signal.
    pub fn signal(&self, number: i32) {
        signal(i32::try_from(self.process.id().unwrap()).unwrap(), number);
    }

    /// Has the service stand still until it [goes on](Self::go_on).
    pub async fn stop(&self) {
        stop(i32::try_from(self.process.id().unwrap()).unwrap()).await;
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// What the service says of its own tasks, a line for each.
    pub async fn jobs_of_service(&self) -> String {
        let pid = self.process.id().unwrap();
        let text = std::env::temp_dir().join(format!("berth-runtime.{pid}.tasks.log"));
        let _ = std::fs::remove_file(&text);
        self.signal(libc::SIGUSR1);
        until("it describes its tasks", || text.exists()).await;
        let told = std::fs::read_to_string(&text).unwrap();
        std::fs::remove_file(text).unwrap();
        told
    }

    /// Kills the service with SIGKILL.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
        self.left().await;
    }

    /// Waits until nothing is left of a service that was killed: a child that it was just making has its
    /// store and its socket until it is a program of its own.
    async fn left(&self) {
        let config = self.folder.path().join("berth.toml");
        let config = config.to_string_lossy().into_owned();
        let is_it = |line: &str| line.starts_with(PROGRAM) && line.contains(&config);
        until("nothing is left of the service", || processes(is_it).is_empty()).await;
    }

    /// Waits for the service to end by itself.
    pub async fn died(&mut self) {
        let ended = tokio::time::timeout(SOON, self.process.wait()).await;
        ended.expect("it does not end").unwrap();
        self.left().await;
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Starts it again with variables in its environment.
    pub fn restart_with(&mut self, environment: &[(&str, String)]) {
        self.process = spawn(self.folder.path(), environment);
        // A new connection: the old one may not have noticed yet that its peer is gone.
        self.channel = berth_grpc::channel(&self.folder.path().join("run/runtime.sock"));
    }

    /// Kills the service and starts it again.
    pub async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.restart();
    }

    /// Records a container of busybox that runs `script`.
    pub async fn container(&self, shim: &str, id: &str, script: &str) {
        let container = container(shim, id, script);
        let request = containers::CreateContainerRequest { container: Some(container) };
        self.containers().create(ns(request)).await.unwrap();
    }

    pub async fn create(&self, id: &str) -> Result<u32, Status> {
        self.create_with(id, |_| ()).await
    }

    /// Makes a task after `change` has had its way with the request.
    pub async fn create_with(
        &self,
        id: &str,
        change: impl FnOnce(&mut tasks::CreateTaskRequest),
    ) -> Result<u32, Status> {
        let image = self.folder.path().join("image").to_string_lossy().into_owned();
        let rootfs = Mount {
            r#type: "bind".into(),
            source: image,
            target: String::new(),
            options: vec!["rbind".into(), "rw".into()],
        };
        let mut request = tasks::CreateTaskRequest {
            container_id: id.into(),
            rootfs: vec![rootfs],
            ..Default::default()
        };
        change(&mut request);
        Ok(self.tasks().create(ns(request)).await?.into_inner().pid)
    }

    pub async fn start_task(&self, id: &str, exec: &str) -> Result<u32, Status> {
        let request = tasks::StartRequest { container_id: id.into(), exec_id: exec.into() };
        Ok(self.tasks().start(ns(request)).await?.into_inner().pid)
    }

    /// Records, makes and starts.
    pub async fn run(&self, shim: &str, id: &str, script: &str) -> u32 {
        self.container(shim, id, script).await;
        let pid = self.create(id).await.unwrap();
        assert_eq!(self.start_task(id, "").await.unwrap(), pid);
        pid
    }

    pub async fn wait(&self, id: &str, exec: &str) -> Result<u32, Status> {
        let request = tasks::WaitRequest { container_id: id.into(), exec_id: exec.into() };
        let mut client = self.tasks();
        let waited = tokio::time::timeout(SOON, client.wait(ns(request))).await;
        Ok(waited.expect("nobody says how it ended")?.into_inner().exit_status)
    }

    pub async fn kill_task(&self, id: &str, exec: &str, signal: u32) -> Result<(), Status> {
        let (container_id, exec_id) = (id.into(), exec.into());
        let request = tasks::KillRequest { container_id, exec_id, signal, all: false };
        self.tasks().kill(ns(request)).await.map(|_| ())
    }

    pub async fn delete(&self, id: &str) -> Result<u32, Status> {
        let request = tasks::DeleteTaskRequest { container_id: id.into() };
        Ok(self.tasks().delete(ns(request)).await?.into_inner().exit_status)
    }

    /// Waits until a task is gone of which the end was told: while it is cleaned up after, its name
    /// is taken, and whoever deletes it hears how it ended.
    pub async fn gone(&self, id: &str) {
        if let Err(none) = self.delete(id).await {
            assert_eq!(none.code(), tonic::Code::NotFound, "{none}");
        }
        assert!(!self.bundle(id).exists());
    }

    /// Calls the shim of a task behind the service's back.
    async fn call_shim<M: prost::Message + Default>(
        &self,
        id: &str,
        method: &str,
        request: &impl prost::Message,
    ) -> Result<M, berth_ttrpc::Error> {
        // All write it there, and serve this version.
        let address = std::fs::read_to_string(self.bundle(id).join("address")).unwrap();
        let socket = Path::new(address.trim_start_matches("unix://"));
        let shim = berth_ttrpc::Client::connect(socket, SOON).await.unwrap();
        shim.call("containerd.task.v2.Task", method, request, SOON).await
    }

    /// Has a task's shim delete it.
    pub async fn delete_in_shim(&self, id: &str) {
        let request = shim::DeleteRequest { id: id.into(), exec_id: String::new() };
        let deleted = self.call_shim::<shim::DeleteResponse>(id, "Delete", &request).await;
        match deleted {
            Ok(deleted) => assert_ne!(deleted.pid, 0),
            // The service heard of it first, and ended the shim.
            Err(berth_ttrpc::Error::Closed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until a task's shim has seen its end; answers when that was.
    pub async fn ended_in_shim(&self, id: &str) -> Option<prost_types::Timestamp> {
        let request = shim::WaitRequest { id: id.into(), exec_id: String::new() };
        let ended = self.call_shim::<shim::WaitResponse>(id, "Wait", &request).await;
        ended.unwrap().exited_at
    }

    /// The tasks and their statuses. Of one whose shim does not answer within seconds, as on a machine
    /// that stalls, none is known at first.
    pub async fn list(&self) -> Vec<(String, i32)> {
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let listed = self.list_at_once().await;
            let unknown = |(_, status): &(String, i32)| *status == TaskStatus::Unknown as i32;
            if !listed.iter().any(unknown) {
                return listed;
            }
            assert!(tokio::time::Instant::now() < end, "a shim does not answer: {listed:?}");
        }
    }

    /// The tasks and their statuses, some of them unknown if their shims are stuck.
    pub async fn list_at_once(&self) -> Vec<(String, i32)> {
        let request = ns(tasks::ListTasksRequest::default());
        let listed = self.tasks().list(request).await.unwrap().into_inner().tasks;
        listed.into_iter().map(|task| (task.id, task.status)).collect()
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        self.folder.path().join("run/runtime/test").join(id)
    }

    /// The shim's process that serves a task.
    pub fn shim_pid(&self, id: &str) -> i32 {
        self.shims_of(id).first().copied().unwrap_or_else(|| panic!("no shim of {id}"))
    }

    /// The shims' processes that were started for a task.
    pub fn shims_of(&self, id: &str) -> Vec<i32> {
        let own = self.folder.path().to_string_lossy().into_owned();
        processes(|line| {
            line.contains("shim-runc")
                && line.contains(&format!("-id {id} "))
                && line.contains(&own)
        })
    }

    /// Ends the service; nothing of it may be left.
    pub async fn finish(mut self) {
        let pid = self.process.id().unwrap();
        signal(i32::try_from(pid).unwrap(), libc::SIGTERM);
        let ended = tokio::time::timeout(SOON, self.process.wait()).await;
        let status = ended.expect("it ends when told to").unwrap();
        assert!(status.success(), "runtime ended with {status}");
        self.jobs.drain(SOON).await;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.folder.path().to_string_lossy().into_owned();
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&own)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
    }
}

/// The processes whose command line is one of these.
fn processes(is_one: impl Fn(&str) -> bool) -> Vec<i32> {
    let line = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.filter(|pid| is_one(&line(pid))).collect()
}

/// Sends a signal.
pub fn signal(pid: i32, signal: i32) {
    let signal = berth_testkit::Signal::from_named_raw(signal).unwrap();
    berth_testkit::signal(pid.unsigned_abs(), signal).unwrap();
}

/// Stops a process; none of its threads runs any more when this returns.
pub async fn stop(pid: i32) {
    signal(pid, libc::SIGSTOP);
    let stands = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    until("it stands still", || threads().all(stands)).await;
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + SOON;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "not {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A request in the tests' namespace.
pub fn ns<T>(message: T) -> Request<T> {
    let namespace: Namespace = "test".parse().unwrap();
    berth_grpc::with_namespace(message, &namespace)
}

/// The shims that every test runs with: Debian's, and ours over gRPC and as it is.
pub fn shims() -> Vec<String> {
    let built = |name| Path::new(env!("CARGO_BIN_EXE_berth-runtime")).with_file_name(name);
    let all = [Path::new("/usr/bin").join(SHIM), built(GRPC_SHIM), built(SHIM)];
    for shim in &all {
        let shows = shim.display();
        assert!(shim.exists(), "no {shows}: apt-get install containerd, cargo build --workspace");
    }
    all.iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

const SHIM: &str = "containerd-shim-runc-v2";
/// Lies in `tests/grpc_shim`.
pub const GRPC_SHIM: &str = "grpc-shim";

fn spawn(folder: &Path, environment: &[(&str, String)]) -> tokio::process::Child {
    let mut command = child::command(PROGRAM);
    let state = folder.join("run");
    command.arg("--config").arg(folder.join("berth.toml"));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.arg("--root").arg(folder.join("lib")).arg("--state").arg(&state);
    command.arg("--address").arg(state.join("berth.sock")).args(["--log-level", "warn"]);
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().unwrap()
}

/// Networks are the node's own: `net.d`, and plugins in `bin` before Debian's.
fn config(folder: &Path) -> String {
    let [net, bin] = ["net.d", "bin"].map(|name| folder.join(name));
    format!(
        "[runtime]\nrestart_interval = \"500ms\"\n[network]\nconf_dir = {net:?}\n\
         bin_dirs = [{bin:?}, \"/usr/lib/cni\"]\nplugin_timeout = \"30s\"\n"
    )
}

fn make_rootfs(folder: &Path) {
    for name in ["bin", "proc", "dev", "tmp"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let busybox = std::fs::read("/bin/busybox").unwrap();
    berth_testkit::write_program(&folder.join("bin/busybox"), busybox).unwrap();
    std::os::unix::fs::symlink("busybox", folder.join("bin/sh")).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The control group of a container: that of equal ids of two containers of one test program is one.
pub fn cgroup(id: &str) -> String {
    format!("/berth-test/{}-{id}", std::process::id())
}

/// A container's record.
pub fn container(shim: &str, id: &str, script: &str) -> containers::Container {
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": process(script),
        "root": { "path": "rootfs" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": {
            "cgroupsPath": cgroup(id),
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }
            ]
        }
    });
    containers::Container {
        id: id.into(),
        runtime: Some(containers::container::Runtime { name: shim.into(), options: None }),
        spec: Some(prost_types::Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
            value: spec.to_string().into_bytes(),
        }),
        ..Default::default()
    }
}

/// A process that runs `script`.
pub fn process(script: &str) -> serde_json::Value {
    serde_json::json!({
        "user": { "uid": 0, "gid": 0 },
        "args": ["/bin/busybox", "sh", "-c", script],
        "env": ["PATH=/bin"],
        "cwd": "/"
    })
}
