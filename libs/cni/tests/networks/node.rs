//! A node for a test: a network namespace, folders, an engine, containers, and what is left in all of them.

use std::cell::RefCell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_cni::{Attachment, Engine, Network, Settings};
use berth_netns::NetNs;
use berth_testkit::{program, run, write_program};
use serde_json::{Value, json};

/// Debian's plugins.
pub const DEBIAN: &str = "/usr/lib/cni";
/// No step takes as long.
pub const LONG: Duration = Duration::from_secs(120);

pub struct Node {
    pub dir: tempfile::TempDir,
    pub engine: Engine,
    containers: RefCell<Vec<NetNs>>,
}

/// Runs a test on a node of its own. Plugins run in its namespace, as they do in that of the thread.
pub fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send) {
    if !berth_testkit::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    berth_netns::in_new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(Node::in_folder(dir, LONG)));
    })
    .unwrap();
}

impl Node {
    fn in_folder(dir: tempfile::TempDir, deadline: Duration) -> Self {
        fs_err::create_dir(dir.path().join("bin")).unwrap();
        let engine = engine(dir.path(), deadline);
        Self { dir, engine, containers: RefCell::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An engine of another run, or with less patience.
    pub fn engine(&self, deadline: Duration) -> Engine {
        engine(self.dir.path(), deadline)
    }

    /// A new container's `eth0`.
    pub fn container(&self, name: &str) -> Attachment {
        let ns = NetNs::make(&self.path("netns"), name).unwrap();
        let netns = Some(ns.path().to_owned());
        self.containers.borrow_mut().push(ns);
        let ifname = "eth0".to_owned();
        Attachment { container_id: name.to_owned(), netns, ifname, ..Attachment::default() }
    }

    /// A network of these plugins.
    pub fn network(&self, version: &str, plugins: Value) -> Network {
        self.named("net", version, plugins)
    }

    pub fn named(&self, name: &str, version: &str, plugins: Value) -> Network {
        let list = json!({"cniVersion": version, "name": name, "plugins": plugins});
        Network::parse(list.to_string().as_bytes(), Path::new("test.conflist")).unwrap()
    }

    /// A bridge with addresses of both families.
    pub fn bridge(&self) -> Value {
        json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": self.ipam("10.88.0.0/24", "fd88::/64"),
        })
    }

    pub fn ipam(&self, four: &str, six: &str) -> Value {
        json!({
            "type": "host-local", "dataDir": self.path("data"),
            "ranges": [[{"subnet": four}], [{"subnet": six}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        })
    }

    /// A plugin that is this script. `$prev` has its previous result, `$conf` all that it was told.
    pub fn script(&self, name: &str, body: &str) -> Value {
        let prelude = "#!/bin/sh\ncd \"$(dirname \"$0\")/..\" || exit 9\nconf=$(cat)\n\
            prev=$(printf %s \"$conf\" | jq -c '.prevResult // {cniVersion: .cniVersion}')\n";
        write_program(&self.path("bin").join(name), format!("{prelude}{body}\n")).unwrap();
        json!({ "type": name })
    }

    pub fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What is there of containers: devices, addresses, rules, records and locks.
    pub fn left(&self) -> Vec<String> {
        let mut left = files(&self.path("data").join("net"));
        left.retain(|f| !f.ends_with("/lock") && !f.contains("/last_reserved_ip."));
        for folder in ["cache/results", "cache/partial", "cache/new", "cache/locks"] {
            left.extend(files(&self.path(folder)));
        }
        let links = run("ip -o link").unwrap();
        let links = links.lines().filter_map(|line| line.split(' ').nth(1));
        left.extend(links.filter(|l| *l != "lo:" && *l != "cni0:").map(|l| format!("link {l}")));
        for save in ["iptables-save", "ip6tables-save"] {
            let rules = program(save).output().unwrap().ok().unwrap();
            left.extend(rules.lines().filter(|rule| of_a_container(rule)).map(str::to_owned));
        }
        left
    }

    /// The same of one: also what is inside of it.
    pub fn inside(&self, attachment: &Attachment) -> String {
        let ns = NetNs::at(attachment.netns.clone().unwrap());
        ns.enter(|| run("ip -o addr").unwrap()).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for ns in self.containers.borrow().iter() {
            let _ = ns.remove();
        }
    }
}

pub fn engine(dir: &Path, deadline: Duration) -> Engine {
    let bin_dirs = vec![dir.join("bin"), DEBIAN.into()];
    Engine::new(Settings { bin_dirs, cache: dir.join("cache"), deadline })
}

/// Chains that plugins make for all containers stay, and have none of these.
fn of_a_container(rule: &str) -> bool {
    let chain = rule.strip_prefix(":CNI-").or(rule.strip_prefix("-A CNI-"));
    let hashed = chain.is_some_and(|chain| {
        let name = chain.split(' ').next().unwrap_or_default();
        let hash = name.strip_prefix("DN-").unwrap_or(name);
        hash.len() >= 20 && hash.bytes().all(|b| b.is_ascii_hexdigit())
    });
    hashed || rule.contains("10.88.0.") || rule.contains("fd88::")
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
}

/// Waits for something that nothing announces.
pub async fn soon(what: &str, mut check: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !check() {
        assert!(start.elapsed() < LONG, "{what}: not so after {LONG:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process is there and no zombie.
pub fn lives(pid: &str) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
