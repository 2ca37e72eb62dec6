//! What a snapshotter must do, as random sequences of calls compared with a model of what they
//! mean. Written against containerd's API alone, so that it is run on any implementation: on
//! Debian's containerd first, which is the reference, then on a node. Needs root: it mounts.
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
mod suite;

use anyhow::Result;
use berth_testkit::{Containerd, Node};
use suite::Subject;

#[test]
fn containerd_overlayfs() -> Result<()> {
    let containerd = Containerd::start()?;
    suite::run(Subject::Containerd, &containerd.address(), "overlayfs")
}

#[test]
fn containerd_native() -> Result<()> {
    let containerd = Containerd::start()?;
    suite::run(Subject::Containerd, &containerd.address(), "native")
}

#[test]
fn berth_overlayfs() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &node.address(), "overlayfs")
}

#[test]
fn berth_native() -> Result<()> {
    let node = Node::start()?;
    suite::run(Subject::Berth, &node.address(), "native")
}

/// A node whose snapshotter is containerd's, behind containerd's socket.
fn berth_proxied(snapshotter: &str) -> Result<()> {
    let containerd = Containerd::start()?;
    let config = format!(
        "[proxy_plugins.theirs]\ntype = \"snapshot\"\naddress = {:?}\nsnapshotter = {snapshotter:?}\n",
        containerd.address()
    );
    let node = Node::start_with(&config)?;
    suite::run(Subject::Berth, &node.address(), "theirs")
}

#[test]
fn berth_proxied_overlayfs() -> Result<()> {
    berth_proxied("overlayfs")
}

#[test]
fn berth_proxied_native() -> Result<()> {
    berth_proxied("native")
}
