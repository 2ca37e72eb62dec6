//! Under containerd itself, with ctr as its client: Debian's, found on PATH.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and starts programs"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::*;
use sha2::{Digest, Sha256};

const IMAGE: &str = "docker.io/library/box:1";

struct Containerd {
    node: Node,
    process: Child,
    address: PathBuf,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Containerd {
    fn start() -> Containerd {
        let node = Node::new();
        let bin = node.path("path");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(SHIM, bin.join("containerd-shim-runc-v2")).unwrap();
        let address = node.path("c.sock");
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            node.path("root"),
            node.path("state"),
            address
        );
        std::fs::write(node.path("config.toml"), config).unwrap();
        let log = std::fs::File::create(node.path("containerd.log")).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let process = Command::new("containerd")
            .arg("--config")
            .arg(node.path("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Containerd { node, process, address };
        let begin = Instant::now();
        while !containerd.try_ctr(&["version"]).status.success() {
            assert!(begin.elapsed() < LONG, "containerd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        containerd.import();
        containerd
    }

    fn try_ctr(&self, args: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["60", "ctr", "--address"]).arg(&self.address).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn ctr(&self, args: &[&str]) -> String {
        let output = self.try_ctr(args);
        let log = || std::fs::read_to_string(self.node.path("containerd.log")).unwrap();
        assert!(output.status.success(), "ctr {args:?}: {output:?}\n{}", log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Imports busybox in the form that `docker save` writes.
    fn import(&self) {
        let save = self.node.path("save");
        std::fs::create_dir(&save).unwrap();
        tar(&save.join("layer.tar"), &self.node.path("image"), ".");
        let digest = Sha256::digest(std::fs::read(save.join("layer.tar")).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let manifest = serde_json::json!([
            {"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}
        ]);
        std::fs::write(save.join("config.json"), config.to_string()).unwrap();
        std::fs::write(save.join("manifest.json"), manifest.to_string()).unwrap();
        let archive = self.node.path("image.tar");
        tar(&archive, &save, ".");
        self.ctr(&["images", "import", "--snapshotter", "native", archive.to_str().unwrap()]);
    }

    fn run<'a>(&self, flags: &[&'a str], id: &'a str, command: &[&'a str]) -> Output {
        let mut args = vec!["run", "--snapshotter", "native", "--runc-root"];
        let root = self.node.path("runc");
        args.push(root.to_str().unwrap());
        args.extend(flags);
        args.extend([IMAGE, id]);
        args.extend(command);
        self.try_ctr(&args)
    }
}

fn tar(archive: &Path, folder: &Path, what: &str) {
    let mut command = Command::new("tar");
    command.arg("-cf").arg(archive).arg("-C").arg(folder).arg(what);
    assert!(command.status().unwrap().success());
}

/// Processes whose program is our shim and that serve the container.
fn shims(id: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let ours = processes.filter(|process| {
        let line = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        let program = std::fs::read_link(process.path().join("exe"));
        program.is_ok_and(|program| program == Path::new(SHIM)) && line.split('\0').any(|w| w == id)
    });
    ours.count()
}

#[tokio::test]
async fn ctr_runs_containers_in_our_shim() {
    let containerd = Containerd::start();
    let output = containerd.run(&["--rm"], "ctr-a", &["echo", "hello"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"hello\n");
    let output = containerd.run(&["--rm"], "ctr-b", &["sh", "-c", "echo no >&2; exit 3"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stderr, b"no\n");
    let output = containerd.run(&["--rm"], "ctr-c", &["/no/such"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("OCI runtime create failed"));
    // containerd tells them to end, and does not wait for that.
    let left = || shims("ctr-a") + shims("ctr-b") + shims("ctr-c");
    eventually("the shims are gone", || left() == 0).await;
}

#[tokio::test]
async fn ctr_keeps_containers_and_looks_into_them() {
    let containerd = Containerd::start();
    let output = containerd.run(&["-d"], "ctr-d", &["sleep", "1000"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(shims("ctr-d"), 1);
    assert!(containerd.ctr(&["tasks", "ls"]).contains("RUNNING"));
    let exec = ["tasks", "exec", "--exec-id", "e", "ctr-d", "sh", "-c", "echo in; exit 4"];
    let output = containerd.try_ctr(&exec);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(4), &b"in\n"[..]), "{output:?}");
    assert!(containerd.ctr(&["tasks", "metrics", "ctr-d"]).contains("ctr-d"));
    assert!(containerd.ctr(&["tasks", "ps", "ctr-d"]).lines().count() >= 2);
    containerd.ctr(&["tasks", "pause", "ctr-d"]);
    assert!(containerd.ctr(&["tasks", "ls"]).contains("PAUSED"));
    containerd.ctr(&["tasks", "resume", "ctr-d"]);
    containerd.ctr(&["tasks", "kill", "-s", "KILL", "ctr-d"]);
    let begin = Instant::now();
    while !containerd.ctr(&["tasks", "ls"]).contains("STOPPED") {
        assert!(begin.elapsed() < LONG, "the task does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = containerd.try_ctr(&["tasks", "rm", "ctr-d"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("exit code 137"), "{output:?}");
    containerd.ctr(&["containers", "rm", "ctr-d"]);
    eventually("the shim is gone", || shims("ctr-d") == 0).await;
}
