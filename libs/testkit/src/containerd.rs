//! The reference: Debian's containerd on folders of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::processes::{self, clear_away};
use crate::{Run, ended, loopback, program, until};

/// A running containerd, which collects nothing of itself. Its process, its containers and its
/// mounts end with it.
#[derive(Debug)]
pub struct Containerd {
    dir: TempDir,
    child: Child,
    metrics: String,
}

impl Containerd {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// When containerd is not installed or does not answer; with its log.
    pub fn start() -> Result<Self> {
        Self::start_as(|_| Ok(()))
    }

    /// Starts one after `prepare` has done its work on its folder, in which `root` is its root.
    ///
    /// # Errors
    /// As [`Containerd::start`], and when `prepare` fails.
    pub fn start_as(prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("reference-").tempdir()?;
        prepare(dir.path())?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        let metrics = format!("{}:1338", loopback());
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [{:?}]\n[grpc]\naddress = {:?}\n\
             [metrics]\naddress = {metrics:?}\n[plugins.{:?}]\nstartup_delay = \"1h\"\npause_threshold = 0.000001\n",
            at("root"),
            at("state"),
            "io.containerd.grpc.v1.cri",
            at("containerd.sock"),
            // Collections only for those who wait for one: the first of itself comes late, and so does
            // the next after one that was waited for, 5 ms through the threshold.
            "io.containerd.gc.v1.scheduler",
        );
        fs_err::write(dir.path().join("config.toml"), config)?;
        let log = fs_err::File::create(dir.path().join("log"))?.into_parts().0;
        let child = program("containerd")
            .args(["--config"])
            .args([dir.path().join("config.toml")])
            .into_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start containerd (Debian's package containerd has it)")?;
        let daemon = Self { dir, child, metrics };
        let answers = || matches!(daemon.ctr("version").output(), Ok(output) if output.code == 0);
        until("containerd answers", Duration::from_secs(30), answers)
            .with_context(|| fs_err::read_to_string(daemon.path("log")).unwrap_or_default())?;
        Ok(daemon)
    }

    /// Waits for its end, which something else has brought about.
    ///
    /// # Errors
    /// When it does not end.
    pub fn ends(&mut self) -> Result<()> {
        ended("containerd", &mut self.child, Duration::from_secs(60)).map(drop)
    }

    /// Sends its process a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, number: Signal) -> Result<()> {
        processes::signal(self.child.id(), number)
    }

    /// Its socket.
    #[must_use]
    pub fn address(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    /// Where it tells what it counts, `HOST:PORT`.
    #[must_use]
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// A path below its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Debian's `ctr` on it, with a command line split at spaces.
    #[must_use]
    pub fn ctr(&self, line: &str) -> Run {
        program("ctr").args(["--address"]).args([self.address()]).args(line.split_whitespace())
    }

    /// The shims that it has started.
    #[must_use]
    pub fn shims(&self) -> Vec<u32> {
        processes::shims(self.dir.path())
    }

    /// Mount points below its folder.
    #[must_use]
    pub fn mounts(&self) -> Vec<String> {
        processes::mounts(self.dir.path())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        clear_away(Path::new(self.dir.path()));
    }
}
