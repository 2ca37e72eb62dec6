//! The reference: Debian's containerd on folders of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{program, until};
use tempfile::TempDir;

/// A running containerd. Its process and mounts end with it.
pub struct Containerd {
    dir: TempDir,
    child: Child,
}

impl Containerd {
    pub fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("reference-").tempdir()?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [{:?}]\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            "io.containerd.grpc.v1.cri",
            at("containerd.sock"),
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
        let daemon = Self { dir, child };
        let address = daemon.address();
        let answers = || {
            let version = program("ctr").args(["--address"]).args([&address]).args(["version"]);
            matches!(version.output(), Ok(output) if output.code == 0)
        };
        until("containerd answers", Duration::from_secs(30), answers).with_context(|| {
            fs_err::read_to_string(daemon.dir.path().join("log")).unwrap_or_default()
        })?;
        Ok(daemon)
    }

    pub fn address(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = berth_mount::unmount_beneath(Path::new(self.dir.path()));
    }
}
