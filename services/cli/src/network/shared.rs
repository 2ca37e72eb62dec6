//! The network of another container: its namespace, and the files that go with it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use berth_runtime_spec::BindMount;

use super::attach;
use crate::client::Client;
use crate::container;

/// What is mounted in a container that is on networks.
pub(super) const FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// What a container has of another.
pub(super) struct Shared {
    /// The other's name.
    pub(super) id: String,
    /// Its network namespace.
    pub(super) netns: PathBuf,
    /// What is mounted in it as hosts, hostname and resolv.conf.
    pub(super) files: Vec<BindMount>,
    /// The name of its host.
    pub(super) hostname: Option<String>,
}

/// Looks at the container that was typed.
pub(super) async fn of(client: &Client, typed: &str) -> Result<Shared> {
    let record = container::get(client, typed).await?;
    let attached = attach::of(client, &record.id).await?.filter(|attached| !attached.down);
    let netns = match attached {
        Some(attached) => attached.netns.into(),
        // Pinned nowhere, it is there as long as its processes are.
        None => {
            let task = container::running(client, &record.id).await?;
            format!("/proc/{}/ns/net", task.pid).into()
        }
    };
    let spec = container::spec(&record)?;
    let mounts = spec.mounts().iter().flatten();
    let files = mounts.filter_map(|mount| {
        let target = mount.destination().clone();
        let source = mount.source().clone().filter(|source| source.is_absolute())?;
        let is_one = FILES.iter().any(|file| target == Path::new(file));
        let propagation = String::new();
        is_one.then_some(BindMount { source, target, read_only: true, propagation })
    });
    let (files, hostname) = (files.collect(), spec.hostname().clone());
    Ok(Shared { id: record.id, netns, files, hostname })
}
