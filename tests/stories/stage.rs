//! What most stories begin with: a node, a registry with busybox in it, clients.

use anyhow::{Context, Result};
use berth_testkit::{Image, Node, Registry, Run};
use serde_json::Value;

/// A node and a registry with busybox in it.
pub struct Stage {
    /// The node.
    pub node: Node,
    /// The image's full name.
    pub image: String,
    /// The registry.
    pub registry: Registry,
}

impl Stage {
    /// A node that has nothing yet.
    pub fn new() -> Result<Self> {
        let registry = Registry::start()?;
        let image = Image::busybox()?.push(&registry, "busybox:1")?;
        Ok(Self { node: Node::start()?, image, registry })
    }

    /// A node that has the image, and collects nothing that nobody deletes: what ctr 1.6 writes has
    /// no lease, and goes with the next collection.
    pub fn uncollected() -> Result<Self> {
        let registry = Registry::start()?;
        let image = Image::busybox()?.push(&registry, "busybox:1")?;
        let config = "[distribution.gc]\nstartup_delay = \"0s\"\nmutation_threshold = 0\n";
        let stage = Self { node: Node::start_with(config)?, image, registry };
        stage.berth(&format!("pull -q {}", stage.image))?;
        Ok(stage)
    }

    /// A node that has the image.
    pub fn pulled() -> Result<Self> {
        let stage = Self::new()?;
        stage.berth(&format!("pull -q {}", stage.image))?;
        Ok(stage)
    }

    /// What a successful ctr command printed.
    pub fn ctr(&self, line: &str) -> Result<String> {
        self.node.ctr(line).output()?.ok()
    }

    /// What a ctr command printed that has to fail.
    pub fn ctr_refused(&self, line: &str) -> Result<String> {
        self.node.ctr(line).output()?.fails(1)
    }

    /// `ctr run` with options, on the image, of a script.
    pub fn ctr_run(&self, options: &str, id: &str, script: &str) -> Run {
        self.node.ctr(&format!("run {options} {} {id} /bin/sh -c", self.image)).args([script])
    }

    /// What a successful berth command printed.
    pub fn berth(&self, line: &str) -> Result<String> {
        self.node.berth(line).output()?.ok()
    }

    /// The JSON that a successful berth command printed.
    pub fn json(&self, line: &str) -> Result<Value> {
        let printed = self.berth(&format!("--json {line}"))?;
        serde_json::from_str(&printed).with_context(|| format!("berth {line}: {printed}"))
    }

    /// `berth run` with options, on the image, of a script.
    pub fn run(&self, options: &str, script: &str) -> Run {
        self.node.berth(&format!("run {options} {} sh -c", self.image)).args([script])
    }
}

/// A value of a cgroup: of version 1 by controller and file, of version 2 by file.
pub fn cgroup(path: &str, v1: (&str, &str), v2: &str) -> Result<String> {
    let root = std::path::Path::new("/sys/fs/cgroup");
    let path = path.trim_start_matches('/');
    let file = if root.join("cgroup.controllers").exists() {
        root.join(path).join(v2)
    } else {
        root.join(v1.0).join(path).join(v1.1)
    };
    Ok(fs_err::read_to_string(file)?.trim().to_owned())
}
