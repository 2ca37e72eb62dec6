//! Debian's dockerd on a node, in a network of its own, with the project of docker-compose.yml.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Dockerd, Node, Run, program, until};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::Value;

use crate::debian;

/// How long something may take that nothing announces.
const SOON: Duration = Duration::from_secs(60);
/// How long images take to be built, and containers to be started.
const BUILDS: Duration = Duration::from_secs(600);
/// What deploy/docker/Dockerfile installs.
const PACKAGES: [&str; 7] =
    ["ca-certificates", "runc", "tini", "btrfs-progs", "e2fsprogs", "erofs-utils", "xfsprogs"];

/// Fields are dropped in this order.
pub struct Stage {
    pub dockerd: Dockerd,
    pub node: Node,
    programs: PathBuf,
}

/// Leaves the machine's network for one that has nothing but a loopback interface: dockerd's bridges and rules are
/// made there, what is published on loopback is not the machine's, and no packet leaves. This thread is moved, and
/// with it all that it starts from then on.
fn leave_the_network() -> Result<()> {
    // SAFETY: no files or memory are unshared, and sockets that are open stay what they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("make a network namespace")?;
    program("ip").args(["link", "set", "lo", "up"]).output()?.ok().map(drop)
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose").join(name)
}

pub fn repository() -> Result<PathBuf> {
    Ok(fs_err::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?)
}

impl Stage {
    /// dockerd with a base image, and one of berth's programs.
    pub fn new() -> Result<Self> {
        leave_the_network()?;
        let programs = Node::binary("otlp-sink")?.parent().context("a folder")?.to_owned();
        let node = Node::start()?;
        let runc = format!("--add-runtime fewer={}", here("runc.sh").display());
        let dockerd = Dockerd::start_with(&node, &format!("{runc} --default-runtime fewer"))?;
        dockerd.import(debian::with(&PACKAGES)?, "berth-test/debian")?;
        let stage = Self { dockerd, node, programs };
        let build = stage.docker("build -q --target programs -t berth-test/programs -f");
        build.args([here("Dockerfile"), stage.programs.clone()]).output()?.ok()?;
        Ok(stage)
    }

    /// `docker`, which builds as it does since version 23.
    pub fn docker(&self, line: &str) -> Run {
        self.dockerd.docker(line).env("DOCKER_BUILDKIT", "1").patience(BUILDS)
    }

    /// `docker-compose` on the project, with a command line split at spaces.
    pub fn compose(&self, line: &str) -> Result<Run> {
        let compose = program("docker-compose").within(repository()?).patience(BUILDS);
        let path = std::env::var("PATH")?;
        Ok(compose
            // Debian's docker, which it builds images with, and not another version of it.
            .env("PATH", format!("/usr/bin:{path}"))
            .env("DOCKER_HOST", self.dockerd.host())
            .env("DOCKER_CONFIG", self.node.path("docker"))
            .env("DOCKER_BUILDKIT", "1")
            .env("BERTH_STAND_INS", here("Dockerfile"))
            .env("BERTH_PROGRAMS", &self.programs)
            .args(["-p", "berth", "-f", "docker-compose.yml", "-f", "tests/compose/override.yml"])
            .args(line.split_whitespace()))
    }

    /// What a successful command of docker-compose printed.
    pub fn composed(&self, line: &str) -> Result<String> {
        self.compose(line)?.output()?.ok()
    }

    /// `berth` on a node of the project; it has to succeed.
    pub fn berth(&self, node: u32, line: &str) -> Result<String> {
        self.composed(&format!("exec -T node-{node} berth {line}"))
    }

    /// Waits until a node of the project serves.
    pub fn serves(&self, node: u32) -> Result<()> {
        self.soon(&format!("node-{node} serves"), || self.berth(node, "info").map(|_| true))
    }

    /// Waits until it is so; with what went wrong last.
    pub fn soon(&self, what: &str, mut check: impl FnMut() -> Result<bool>) -> Result<()> {
        let mut last = None;
        let so =
            until(what, SOON, || check().map_err(|error| last = Some(error)).is_ok_and(|so| so));
        so.with_context(|| {
            format!("{last:?}\n{}", self.composed("logs --no-color --tail 20").unwrap_or_default())
        })
    }

    /// Removes all, and asks whether anything of it is left.
    pub fn clear(mut self) -> Result<()> {
        self.docker("system prune -a -f --volumes").output()?.ok()?;
        for line in ["containers ls -q", "tasks ls -q", "leases ls -q"] {
            let left = self.node.ctr(&format!("--namespace moby {line}")).output()?.ok()?;
            ensure!(left.is_empty(), "{line}: {left}");
        }
        self.node.shims_end()?;
        let mut groups = self.dockerd.groups();
        // dockerd's own, of what it builds.
        groups.retain(|group| !group.ends_with("buildkit"));
        ensure!(groups.is_empty(), "groups are left: {groups:?}");
        ensure!(self.dockerd.stop()? == Some(0), "dockerd fails: {}", self.dockerd.log()?);
        let mounts = self.node.mounts();
        ensure!(mounts.is_empty(), "mounts are left: {mounts:?}");
        Ok(())
    }
}

/// What is answered to a GET at a loopback port.
pub fn get(port: u16, path: &str) -> Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(SOON))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").context("no head")?.1;
    serde_json::from_str(body).with_context(|| answer.clone())
}
