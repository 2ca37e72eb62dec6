//! Nodes of one cluster on this machine, each with an image and a container that runs on.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use berth_testkit::{Authority, Node, loopback, until};
use serde_json::Value;

use crate::archive::Archive;
use crate::member::{Member, SERVICES};

/// Until something is so that nothing hinders.
pub const SOON: Duration = Duration::from_secs(90);
/// The shortest lease there may be: what is waited for comes soon.
pub const SHORT: &str = "lease = \"5s\"";
/// One that does not run out while a story lasts.
pub const LONG: &str = "lease = \"5m\"";
/// Where nodes answer each other: each has an address of its own.
pub const PEERS: u16 = 7411;
/// What all clusters here are called: each has an etcd of its own.
pub const NAME: &str = "stories";

/// How a node is to be.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// The keys of `[cluster.etcd]`, as they are written.
    pub etcd: String,
    /// More keys of `[cluster]`, as they are written.
    pub keys: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// What starts berthd, if not its binary.
    pub command: Vec<OsString>,
}

impl Setting {
    /// One of this name at this etcd.
    pub fn new(name: &str, endpoints: &[String], keys: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: NAME.to_owned(),
            etcd: format!("endpoints = {endpoints:?}"),
            keys: keys.to_owned(),
            address: loopback(),
            command: Vec::new(),
        }
    }
}

/// Nodes, and what vouches for them among each other. Ends with its owner.
pub struct Cluster {
    pub members: Vec<Member>,
    pub authority: Authority,
    pub archive: Archive,
}

impl Cluster {
    /// Nodes of these names at this etcd.
    pub fn start(endpoints: &[String], names: &[&str], keys: &str) -> Result<Self> {
        let settings: Vec<_> =
            names.iter().map(|name| Setting::new(name, endpoints, keys)).collect();
        Self::start_with(&settings)
    }

    /// Nodes that are to be so.
    pub fn start_with(settings: &[Setting]) -> Result<Self> {
        let (authority, archive) = (Authority::new()?, Archive::new()?);
        let mut cluster = Self { members: Vec::new(), authority, archive };
        cluster.add(settings)?;
        Ok(cluster)
    }

    /// More of them. They start beside each other.
    pub fn add(&mut self, settings: &[Setting]) -> Result<()> {
        let mut unstarted = Vec::new();
        for setting in settings {
            let config = self.config(setting)?;
            unstarted.push(Member::unstarted(setting, &config, &tag())?);
        }
        let archive = &self.archive;
        let started = std::thread::scope(|scope| {
            let begun: Vec<_> = unstarted
                .into_iter()
                .map(|member| scope.spawn(move || member.started(archive)))
                .collect();
            let ends = begun.into_iter().map(|one| one.join().expect("no panic"));
            ends.collect::<Result<Vec<_>>>()
        });
        self.members.extend(started?);
        Ok(())
    }

    /// The configuration of a node, with a certificate of its name.
    pub fn config(&self, setting: &Setting) -> Result<String> {
        let Setting { name, cluster, etcd, keys, address, .. } = setting;
        let file = format!("node-{name}");
        self.authority.issue_to(&file, name, &format!("DNS:{name}"))?;
        let path = |name: &str| self.authority.path(name).display().to_string();
        let (ca, cert, key) =
            (path("ca.pem"), path(&format!("{file}.pem")), path(&format!("{file}.key")));
        Ok(format!(
            "[cluster]\nname = {cluster:?}\nnode = {name:?}\naddresses = [\"{address}\"]\n{keys}\n\
             [cluster.labels]\nzone = {name:?}\n[cluster.etcd]\n{etcd}\n\
             [cluster.peer]\naddress = \"{address}:{PEERS}\"\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n"
        ))
    }

    /// Goes through a story; when it fails the nodes tell what they have logged lately.
    pub fn play(mut self, story: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        story(&mut self).map_err(|error| self.explain(&error))
    }

    /// The same of a story through which each process lives: none may end, and be started again, to get over it.
    pub fn live_through(self, story: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.play(|cluster| {
            let before = cluster.processes()?;
            story(cluster)?;
            let after = cluster.processes()?;
            ensure!(after == before, "processes were started again: {before:?}, {after:?}");
            Ok(())
        })
    }

    /// The processes of all services of all nodes.
    fn processes(&self) -> Result<Vec<u32>> {
        let services = |member: &Member| SERVICES.map(|service| member.node.service_pid(service));
        self.members.iter().flat_map(services).collect()
    }

    fn explain(&self, error: &Error) -> Error {
        let logs = self.members.iter().map(Member::last_lines).collect::<Vec<_>>().join("\n");
        anyhow::anyhow!("{error:#}\n{logs}")
    }

    /// A node.
    pub fn of(&self, name: &str) -> &Member {
        let found = self.members.iter().find(|member| member.name == name);
        found.unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// The same, to be stopped and started.
    pub fn of_mut(&mut self, name: &str) -> &mut Member {
        let found = self.members.iter_mut().find(|member| member.name == name);
        found.unwrap_or_else(|| panic!("there is no node {name}"))
    }
}

/// What no other story of this machine has in the names of its containers.
pub fn tag() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("cluster-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Asks until it is so; what is asked may fail meanwhile, and the last answer is told.
pub fn soon(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let mut last = None;
    until(what, SOON, || match is() {
        Ok(is) => {
            last = None;
            is
        }
        Err(error) => {
            last = Some(error);
            false
        }
    })
    .with_context(|| last.map_or_else(String::new, |error| format!("{error:#}")))
}

/// The texts of a field.
pub fn texts(objects: &[Value], field: &str) -> Vec<String> {
    objects.iter().map(|of| of[field].as_str().unwrap_or_default().to_owned()).collect()
}

/// Where the workspace's binaries are.
pub fn binaries() -> Result<PathBuf> {
    Ok(Node::binary("berthd")?.parent().context("binaries are in a folder")?.to_owned())
}
