//! What a snapshotter must do, as random sequences of calls compared with a model of what they
//! mean. Written against containerd's API alone, so that it is run on any implementation: on
//! Debian's containerd first, which is the reference, then on a node: through its gateway, and on
//! the services' own sockets. Needs root: it mounts.
//!
//! The sequences are the same in every run; `BERTH_SEED=NUMBER` tries others, `BERTH_CASES` how
//! many. A failure names the shortest sequence that shows it.

mod activation;
mod client;
mod differ;
mod leases;
mod metadata;
mod model;
mod operation;
mod sockets;
mod suite;

use anyhow::Result;
use berth_testkit::{Containerd, Disk, Node, is_root, scratch};
use sockets::Sockets;
use suite::Subject;

#[test]
fn containerd_overlayfs() -> Result<()> {
    let containerd = Containerd::start()?;
    suite::run(Subject::Containerd, &Sockets::of_containerd(&containerd), "overlayfs")
}

#[test]
fn containerd_native() -> Result<()> {
    let containerd = Containerd::start()?;
    suite::run(Subject::Containerd, &Sockets::of_containerd(&containerd), "native")
}

#[test]
fn berth_overlayfs() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &Sockets::of_gateway(&node), "overlayfs")
}

#[test]
fn berth_native() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &Sockets::of_gateway(&node), "native")
}

#[test]
fn bundle_overlayfs() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &Sockets::of_services(&node), "overlayfs")
}

#[test]
fn bundle_native() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &Sockets::of_services(&node), "native")
}

#[test]
fn bundle_erofs() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &Sockets::of_services(&node), "erofs")
}

#[test]
fn containerd_btrfs() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let containerd = Containerd::start_as(|folder| {
        let at = folder.join("root/io.containerd.snapshotter.v1.btrfs");
        Disk::btrfs(&folder.join("disk.img"), &at).map(Disk::leave)
    })?;
    suite::run(Subject::Containerd, &Sockets::of_containerd(&containerd), "btrfs")
}

/// A node whose bundle has a btrfs.
fn with_btrfs() -> Result<Node> {
    Node::start_as("", &[], |folder| {
        Disk::btrfs(&folder.join("disk.img"), &folder.join("root/bundle/btrfs")).map(Disk::leave)
    })
}

#[test]
fn berth_btrfs() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    suite::run(Subject::Berth, &Sockets::of_gateway(&with_btrfs()?), "btrfs")
}

#[test]
fn bundle_btrfs() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    suite::run(Subject::Berth, &Sockets::of_services(&with_btrfs()?), "btrfs")
}

/// A node whose block files are of this size.
fn with_blockfile(size: u64) -> Result<Node> {
    Node::start_as("", &[], |folder| scratch(&folder.join("root/bundle/blockfile/scratch"), size))
}

#[test]
fn berth_blockfile() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    suite::run(Subject::Berth, &Sockets::of_gateway(&with_blockfile(8 << 20)?), "blockfile")
}

#[test]
fn bundle_blockfile() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    suite::run(Subject::Berth, &Sockets::of_services(&with_blockfile(8 << 20)?), "blockfile")
}

#[test]
fn berth_erofs() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &Sockets::of_gateway(&node), "erofs")
}

/// Writable layers that are file systems of a size.
#[test]
fn berth_erofs_in_blocks() -> Result<()> {
    let node = Node::start_with("[bundle.erofs]\ndefault_size = \"16MiB\"\n")?;
    suite::run(Subject::Berth, &Sockets::of_gateway(&node), "erofs")
}

/// A node whose snapshotter is containerd's, behind containerd's socket.
fn berth_proxied(snapshotter: &str) -> Result<()> {
    let containerd = Containerd::start()?;
    let config = format!(
        "[proxy_plugins.theirs]\ntype = \"snapshot\"\naddress = {:?}\nsnapshotter = {snapshotter:?}\n",
        containerd.address()
    );
    let node = Node::start_with(&config)?;
    suite::run(Subject::Berth, &Sockets::of_gateway(&node), "theirs")
}

#[test]
fn berth_proxied_overlayfs() -> Result<()> {
    berth_proxied("overlayfs")
}

#[test]
fn berth_proxied_native() -> Result<()> {
    berth_proxied("native")
}
