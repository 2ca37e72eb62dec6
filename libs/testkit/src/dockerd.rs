//! Debian's dockerd on a node, with files of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::processes::{clear_away, signal};
use crate::{Layer, Node, Run, ended, program, until};

/// Not `docker` from PATH, where another version may come first.
const CLIENT: &str = "/usr/bin/docker";
const DAEMON: &str = "/usr/sbin/dockerd";
/// Where dockerd looks for plugins, wherever its own files are.
const PLUGINS: &str = "/run/docker/plugins";
const PATIENCE: Duration = Duration::from_secs(60);
/// Leaves the machine's network alone.
const WITHOUT_NETWORK: &str = "--bridge none --iptables=false --ip-masq=false --ip-forward=false";

/// A running dockerd. To be dropped before its node, whose
/// folder it is in: clears away its containers, control groups and processes then.
#[derive(Debug)]
pub struct Dockerd {
    /// The node's folder.
    node: PathBuf,
    folder: PathBuf,
    address: PathBuf,
    /// The parent of its containers' control groups.
    group: String,
    /// Further options.
    options: String,
    /// The folder of plugins is there because of this dockerd.
    made_plugins: bool,
    child: Option<Child>,
}

impl Dockerd {
    /// Starts it on a node and waits until it answers. Its containers are without a network.
    ///
    /// # Errors
    /// When docker.io is not installed or dockerd does not answer; with its log.
    pub fn start(node: &Node) -> Result<Self> {
        Self::start_with(node, WITHOUT_NETWORK)
    }

    /// The same with these options, split at spaces. Without any it makes bridges and rules of iptables, so that
    /// it had better be in a network namespace of its own.
    ///
    /// # Errors
    /// When docker.io is not installed or dockerd does not answer; with its log.
    pub fn start_with(node: &Node, options: &str) -> Result<Self> {
        let folder = node.path("docker");
        fs_err::create_dir_all(&folder)?;
        // Else it is in /etc/docker. There is no option for it.
        let config = serde_json::json!({ "deprecated-key-path": folder.join("key.json") });
        fs_err::write(folder.join("daemon.json"), config.to_string())?;
        let of_node = folder.parent().context("a node has a folder")?.to_owned();
        let name = of_node.file_name().context("a node's folder has a name")?;
        let mut dockerd = Self {
            group: format!("{}-docker", name.to_string_lossy()),
            node: of_node,
            made_plugins: !Path::new(PLUGINS).exists(),
            address: node.address(),
            folder,
            options: options.to_owned(),
            child: None,
        };
        dockerd.start_again()?;
        Ok(dockerd)
    }

    /// Starts it again after its end. It takes over the containers that run.
    ///
    /// # Errors
    /// When it does not answer; with its log.
    pub fn start_again(&mut self) -> Result<()> {
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        let log = log.into_parts().0;
        let options = "--debug --live-restore --exec-opt native.cgroupdriver=cgroupfs";
        let child = program(DAEMON)
            .args(options.split_whitespace().chain(self.options.split_whitespace()))
            .args(["--config-file".into(), self.path("daemon.json")])
            .args(["--containerd".into(), self.address.clone()])
            .args(["--data-root".into(), self.path("data")])
            .args(["--exec-root".into(), self.path("run")])
            .args(["--pidfile".into(), self.path("pid")])
            .args(["--cgroup-parent", &format!("/{}", self.group), "--host", &self.host()])
            .into_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start dockerd (Debian package docker.io)")?;
        self.child = Some(child);
        let answers = || matches!(self.docker("version").output(), Ok(out) if out.code == 0);
        until("dockerd answers", PATIENCE, answers).with_context(|| self.log().unwrap_or_default())
    }

    /// `docker` on this dockerd, with a command line split at spaces.
    #[must_use]
    pub fn docker(&self, line: &str) -> Run {
        let docker = program(CLIENT).env("DOCKER_CONFIG", &self.folder);
        docker.args(["--host", &self.host()]).args(line.split_whitespace())
    }

    /// Makes an image of one layer.
    ///
    /// # Errors
    /// When dockerd does not take it.
    pub fn import(&self, layer: Layer, name: &str) -> Result<()> {
        self.docker("import -").args([name]).output_with(&layer.finish()?)?.ok().map(drop)
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("dockerd is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends it with SIGTERM and waits for it; answers its exit code.
    ///
    /// # Errors
    /// When it is not running or does not end.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        let child = self.child.as_mut().context("dockerd is not running")?;
        signal(child.id(), Signal::TERM)?;
        let status = ended("dockerd", child, PATIENCE)?;
        self.child = None;
        Ok(status.code())
    }

    /// All that it has logged.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs_err::read_to_string(self.path("log"))?)
    }

    /// How often it has begun to hear of its containers' ends.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn subscriptions(&self) -> Result<usize> {
        let log = self.log()?;
        let begun = log.lines().filter(|line| line.contains("processing event stream"));
        Ok(begun.filter(|line| line.contains(" namespace=moby")).count())
    }

    /// The control group that those of its containers are in.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The control groups of its containers.
    #[must_use]
    pub fn groups(&self) -> Vec<PathBuf> {
        self.parents().iter().flat_map(|parent| below(parent)).collect()
    }

    /// The parents of these groups, in all hierarchies.
    fn parents(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = below(root).into_iter().chain([root.to_owned()]);
        hierarchies.map(|at| at.join(&self.group)).filter(|group| group.is_dir()).collect()
    }

    /// Where it answers, as clients of docker have it in DOCKER_HOST.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("sock").display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The folders in a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|of| of.is_dir()))
        .map(|e| e.path())
        .collect()
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("dockerd's log:\n{}", self.log().unwrap_or_default());
        }
        if self.child.is_some() {
            let _ = self.kill();
        }
        clear_away(&self.node);
        // A group may be removed when its processes are gone, which takes a moment.
        let _ = until("groups are gone", PATIENCE, || {
            for group in self.groups().into_iter().chain(self.parents()) {
                let _ = fs_err::remove_dir(group);
            }
            self.parents().is_empty()
        });
        if self.made_plugins {
            let _ = fs_err::remove_dir(PLUGINS);
            let _ = fs_err::remove_dir("/run/docker");
        }
    }
}
