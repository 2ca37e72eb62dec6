//! Debian's docker-registry on a free loopback port, with its own storage.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{program, until};

/// A running registry. Ends with its owner.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Registry {
    /// Starts a registry that lets everybody in.
    ///
    /// # Errors
    /// When docker-registry is not installed or does not listen in time.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// Starts a registry that asks for this user and password (basic auth, bcrypt by htpasswd).
    ///
    /// # Errors
    /// When docker-registry or htpasswd is not installed or the registry does not listen in time.
    pub fn start_with_password(user: &str, password: &str) -> Result<Self> {
        let entry = program("htpasswd").args(["-Bbn", user, password]).output()?.ok()?;
        Self::start_with(entry.trim())
    }

    fn start_with(htpasswd: &str) -> Result<Self> {
        let dir = tempfile::tempdir().context("make the registry's folder")?;
        let port = free_port()?;
        let at = dir.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {at}/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n"
        );
        if !htpasswd.is_empty() {
            fs_err::write(dir.path().join("htpasswd"), format!("{htpasswd}\n"))?;
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {at}/htpasswd\n");
        }
        let config_path = dir.path().join("config.yml");
        fs_err::write(&config_path, config)?;
        let log = fs_err::File::create(dir.path().join("log"))?.into_parts().0;
        let child = program("docker-registry")
            .args(["serve"])
            .args([&config_path])
            .into_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start docker-registry (Debian package docker-registry)")?;
        let registry = Self { child, port, _dir: dir };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        until("docker-registry listens", Duration::from_secs(20), listens)?;
        Ok(registry)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A full reference in this registry.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that nobody listened on a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
