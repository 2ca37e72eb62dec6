//! busybox's httpd on a registry's storage: where a registry may send its clients for blobs.

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::registry::free_port;
use crate::{Registry, program, until};

/// A running file server. Ends with its owner.
#[derive(Debug)]
pub struct Files {
    child: Child,
    port: u16,
}

impl Files {
    /// Serves the storage of a registry.
    ///
    /// # Errors
    /// When busybox-static is not installed or does not listen in time.
    pub fn start(storage: &Registry) -> Result<Self> {
        let port = free_port()?;
        let child = program("/bin/busybox")
            .args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"])
            .args([storage.storage()])
            .into_command()
            .stdin(Stdio::null())
            .spawn()
            .context("start busybox httpd (Debian package busybox-static)")?;
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let files = Self { child, port };
        until("busybox httpd listens", Duration::from_secs(20), listens)?;
        Ok(files)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
