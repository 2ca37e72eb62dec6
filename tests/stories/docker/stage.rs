//! A node, dockerd on it, and an image.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Dockerd, Layer, Node, Run, until};

/// How long something may take that nothing announces.
pub const SOON: Duration = Duration::from_secs(40);

/// dockerd with the image `busybox` on a node. Fields are dropped in this order.
pub struct Stage {
    /// The daemon.
    pub dockerd: Dockerd,
    /// The node.
    pub node: Node,
}

impl Stage {
    /// Starts them.
    pub fn new() -> Result<Self> {
        let node = Node::start()?;
        let dockerd = Dockerd::start(&node)?;
        dockerd.import(Layer::busybox()?, "busybox")?;
        Ok(Self { dockerd, node })
    }

    /// What a successful docker command printed.
    pub fn docker(&self, line: &str) -> Result<String> {
        self.dockerd.docker(line).output()?.ok()
    }

    /// All that a docker command printed that has to end with `code`.
    pub fn refused(&self, line: &str, code: i32) -> Result<String> {
        self.dockerd.docker(line).output()?.fails(code)
    }

    /// `docker run` with options, on the image, of a script.
    pub fn run(&self, options: &str, script: &str) -> Run {
        let line = format!("run --network none {options} busybox sh -c");
        self.dockerd.docker(&line).args([script])
    }

    /// Values of a container, as `docker inspect` has them.
    pub fn state(&self, name: &str, values: &str) -> Result<String> {
        let inspect = self.dockerd.docker("inspect --format").args([values, name]);
        Ok(inspect.output()?.ok()?.trim().to_owned())
    }

    /// Waits until the values of a container are these.
    pub fn becomes(&self, name: &str, values: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let waited = until(&format!("{values} of {name} is {wanted}"), SOON, || {
            last = self.state(name, values).unwrap_or_else(|error| error.to_string());
            last == wanted
        });
        waited.with_context(|| format!("it is {last}"))
    }

    /// Waits until docker has of a container's standard output just this: a program writes when it has
    /// come so far, and docker copies it then.
    pub fn has_written(&self, name: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let waited = until(&format!("{name} has written {wanted:?}"), SOON, || {
            last = self.docker(&format!("logs {name}")).unwrap_or_else(|error| error.to_string());
            last == wanted
        });
        waited.with_context(|| format!("it is {last:?}"))
    }

    /// Removes all, and asks whether anything of it is left. `berth fsck` finds nothing, before and after.
    pub fn clear(mut self) -> Result<()> {
        self.node.fsck()?;
        let names = self.docker("ps -a -q")?;
        if !names.is_empty() {
            self.dockerd.docker("rm -f").args(names.split_whitespace()).output()?.ok()?;
        }
        let pruned = self.docker("system prune -a -f --volumes")?;
        ensure!(pruned.contains("Total reclaimed space"), "{pruned}");
        ensure!(self.docker("images -q")?.is_empty(), "images are left");
        for line in ["containers ls -q", "tasks ls -q", "leases ls -q"] {
            let left = self.node.ctr(&format!("--namespace moby {line}")).output()?.ok()?;
            ensure!(left.is_empty(), "{line}: {left}");
        }
        self.node.shims_end()?;
        let groups = self.dockerd.groups();
        ensure!(groups.is_empty(), "groups are left: {groups:?}");
        ensure!(self.dockerd.stop()? == Some(0), "dockerd fails: {}", self.dockerd.log()?);
        let mut mounts = self.node.mounts();
        // dockerd's own on its folder, which it does not undo when one before it was killed.
        mounts.retain(|at| !at.ends_with("/docker/data"));
        ensure!(mounts.is_empty(), "mounts are left: {mounts:?}");
        self.node.fsck()
    }
}
