//! The specs of a pod and of a container in it, run by the real runc. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use berth_cri_spec::{
    ContainerFacts, Handler, Node, PodFacts, PodFiles, Selinux, Settings, container, finish, pod,
};
use berth_proto::runtime::v1 as cri;
use berth_runtime_spec::{ImageConfig, RootView, Spec};
use berth_testkit::{is_root, until};

/// Bundles, the root of both, and what runc keeps; undone when dropped.
struct Bench {
    dir: tempfile::TempDir,
    parent: String,
    id: String,
    log: PathBuf,
    ids: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for part in ["bin", "etc", "proc", "sys", "dev", "tmp", "data"] {
            fs_err::create_dir_all(root.join(part)).unwrap();
        }
        fs_err::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for tool in ["sh", "sleep", "id", "cat", "grep", "hostname", "readlink", "touch", "env"] {
            fs_err::os::unix::fs::symlink("busybox", root.join("bin").join(tool)).unwrap();
        }
        fs_err::write(root.join("etc/passwd"), "app:x:1000:1001::/:\n").unwrap();
        fs_err::write(root.join("etc/group"), "app:x:1001:\nextra:x:77:app\n").unwrap();
        for file in ["hostname", "hosts", "resolv.conf"] {
            fs_err::write(dir.path().join(file), format!("our {file}\n")).unwrap();
        }
        fs_err::create_dir(dir.path().join("shm")).unwrap();
        fs_err::write(dir.path().join("shm/of-pod"), "").unwrap();
        let id = format!("berth-cri-spec-{}", std::process::id());
        let (parent, log) = (format!("/{id}"), dir.path().join("log"));
        Self { dir, parent, id, log, ids: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn runc(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this crate starts no processes but in this test"
    )]
    fn command(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.path("state")).arg("--log").arg(&self.log);
        command
    }

    /// Runs a spec to its end, or, detached, until its program has been started.
    fn run(&mut self, name: &str, spec: &Spec, detached: bool) -> Output {
        // Beside the root file system, which a relative path means.
        let bundle = self.path("");
        fs_err::write(bundle.join("config.json"), serde_json::to_vec(spec).unwrap()).unwrap();
        let id = format!("{}-{name}", self.id);
        self.ids.push(id.clone());
        let bundle = bundle.to_str().unwrap().to_owned();
        if !detached {
            return self.runc(&["run", "--bundle", &bundle, &id]);
        }
        // The program keeps the ends of our pipes: it gets none.
        let mut command = self.command();
        command.args(["run", "--detach", "--bundle", &bundle, &id]);
        let nowhere = || std::process::Stdio::null();
        command.stdin(nowhere()).stdout(nowhere()).stderr(nowhere());
        let status = command.status().unwrap();
        Output { status, stdout: Vec::new(), stderr: Vec::new() }
    }

    fn pid(&self, name: &str) -> u32 {
        let state = self.runc(&["state", &format!("{}-{name}", self.id)]);
        let state: serde_json::Value = serde_json::from_slice(&state.stdout).unwrap();
        state["pid"].as_u64().unwrap().try_into().unwrap()
    }

    fn said(&self) -> String {
        fs_err::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for id in &self.ids {
            self.runc(&["delete", "--force", id]);
        }
        // runc removes the groups of containers, not those above them.
        for entry in fs_err::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs_err::remove_dir(entry.path().join(&self.id));
        }
        let _ = fs_err::remove_dir(Path::new("/sys/fs/cgroup").join(&self.id));
    }
}

fn pod_config(parent: &str) -> cri::PodSandboxConfig {
    let metadata = cri::PodSandboxMetadata { name: "p".into(), ..Default::default() };
    let security = cri::LinuxSandboxSecurityContext {
        seccomp: Some(cri::SecurityProfile::default()),
        supplemental_groups: vec![5],
        ..Default::default()
    };
    let linux = cri::LinuxPodSandboxConfig {
        cgroup_parent: parent.to_owned(),
        security_context: Some(security),
        ..Default::default()
    };
    cri::PodSandboxConfig {
        metadata: Some(metadata),
        hostname: "anchor".into(),
        linux: Some(linux),
        ..Default::default()
    }
}

fn container_config(script: &str, data: &str) -> cri::ContainerConfig {
    let mount = cri::Mount {
        container_path: "/data/./".into(),
        host_path: data.to_owned(),
        readonly: true,
        ..Default::default()
    };
    let capabilities = cri::Capability {
        drop_capabilities: vec!["ALL".into()],
        add_ambient_capabilities: vec!["NET_BIND_SERVICE".into()],
        ..Default::default()
    };
    let security = cri::LinuxContainerSecurityContext {
        run_as_username: "app".into(),
        supplemental_groups: vec![9],
        capabilities: Some(capabilities),
        no_new_privs: true,
        masked_paths: vec!["/proc/timer_list".into()],
        readonly_paths: vec!["/proc/sys".into()],
        seccomp: Some(cri::SecurityProfile::default()),
        ..Default::default()
    };
    let resources = cri::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: 500,
        ..Default::default()
    };
    let linux =
        cri::LinuxContainerConfig { resources: Some(resources), security_context: Some(security) };
    let env = cri::KeyValue { key: "A".into(), value: b"1".to_vec() };
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: "c".into(), attempt: 0 }),
        command: vec!["sh".into(), "-c".into(), script.to_owned()],
        envs: vec![env],
        mounts: vec![mount],
        linux: Some(linux),
        ..Default::default()
    }
}

/// What the container says of itself.
const SCRIPT: &str = "hostname; env | grep -E '^(A|HOSTNAME|PATH)='; id; \
    cat /etc/hosts /etc/resolv.conf /data/file; \
    [ -e /dev/shm/of-pod ] && echo shm; touch /data/x 2>/dev/null || echo protected; \
    [ -s /proc/timer_list ] || echo masked; \
    cat /proc/self/oom_score_adj; \
    grep -E '^(CapBnd|CapAmb|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; \
    for kind in net uts ipc; do readlink /proc/self/ns/$kind; done; \
    cat /proc/1/cmdline";

#[test]
fn a_container_runs_in_its_pod() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::new();
    let data = bench.path("made/on/demand");
    let node = Node::look();
    // A score below our own needs more rights than builders have.
    let settings = Settings { restrict_oom_score_adj: true, ..Default::default() };
    let handler = Handler::default();
    let init = ["/bin/sleep".to_owned(), "1000".to_owned()];
    let image = ImageConfig { entrypoint: init.into(), ..Default::default() };
    let pod_config = pod_config(&bench.parent);
    let facts = PodFacts {
        id: "pod",
        image: &image,
        image_name: "",
        root: bench.path("rootfs"),
        netns: None,
        userns: None,
        shm: bench.path("shm"),
        resolv_conf: bench.path("resolv.conf"),
        selinux: Selinux::default(),
        handler: &handler,
        settings: &settings,
        node: &node,
    };
    let root = RootView::of_layers([bench.path("rootfs")]).unwrap();
    let spec = pod(&pod_config, &facts, &root).unwrap();
    let made = bench.run("pod", &spec, true);
    assert!(made.status.success(), "{}", bench.said());
    let pid = bench.pid("pod");

    let files = PodFiles {
        hostname: bench.path("hostname"),
        hosts: bench.path("hosts"),
        resolv_conf: bench.path("resolv.conf"),
        shm: bench.path("shm"),
    };
    let of_busybox = ImageConfig { cmd: vec!["false".into()], ..Default::default() };
    let facts = ContainerFacts {
        id: "c",
        pod_id: "pod",
        pod_pid: pid,
        target_pid: None,
        image: &of_busybox,
        image_name: "busybox",
        files: &files,
        volumes: &[],
        selinux: Selinux::default(),
        pod_label: "",
        handler: &handler,
        settings: &settings,
        node: &node,
    };
    let config = container_config(SCRIPT, data.to_str().unwrap());
    let mut spec = container(&config, &pod_config, &facts).unwrap();
    finish(&mut spec, &config, &facts, &root).unwrap();
    fs_err::write(data.join("file"), "data\n").unwrap();
    let output = bench.run("c", &spec, false);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", bench.said());

    let of_pod = |kind: &str| {
        let link = fs_err::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        link.to_str().unwrap().to_owned()
    };
    let expected = [
        "anchor".to_owned(),
        "A=1".into(),
        "HOSTNAME=anchor".into(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        "uid=1000(app) gid=1001(app) groups=9,77(extra),1001(app)".into(),
        "our hosts".into(),
        "our resolv.conf".into(),
        "data".into(),
        "shm".into(),
        "protected".into(),
        "masked".into(),
        "500".into(),
        "CapEff:\t0000000000000400".into(),
        "CapBnd:\t0000000000000400".into(),
        "CapAmb:\t0000000000000400".into(),
        "NoNewPrivs:\t1".into(),
        "Seccomp:\t2".into(),
        of_pod("net"),
        of_pod("uts"),
        of_pod("ipc"),
    ];
    for line in &expected {
        assert!(text.lines().any(|have| have == line), "{line:?} in {text}");
    }
    assert!(text.ends_with("/bin/sleep\u{0}1000\u{0}"), "the first process is the pod's: {text:?}");

    // The pod goes on until it is told.
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    bench.runc(&["kill", &format!("{}-pod", bench.id), "KILL"]);
    until("the pod ends", Duration::from_secs(30), || {
        !Path::new(&format!("/proc/{pid}/ns/net")).exists()
    })
    .unwrap();
}
