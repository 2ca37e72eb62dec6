//! busybox's httpd on a registry's storage: where a registry may send its clients for blobs.

use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::processes::listens;
use crate::{Registry, program};

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
        let child = program("/bin/busybox")
            .args(["httpd", "-f", "-p", "127.0.0.1:0", "-h"])
            .args([storage.storage()])
            .into_command()
            .stdin(Stdio::null())
            .spawn()
            .context("start busybox httpd (Debian package busybox-static)")?;
        let mut files = Self { child, port: 0 };
        files.port = listens("busybox httpd", files.child.id())?;
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
