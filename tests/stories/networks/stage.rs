//! A node in a network namespace of its own, and what containers leave there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_testkit::{Image, Node, Registry, is_root, program, run, until};
use serde_json::Value;

use crate::stage::Stage;

/// How long something may take that is on its way.
pub const SOON: Duration = Duration::from_secs(30);

/// A web server that says its name, for `run`.
pub const SERVE: &str =
    "mkdir -p /tmp/w && hostname > /tmp/w/index.html && exec httpd -f -p 80 -h /tmp/w";

/// Runs a test on a node that has the image. Registry, node and clients are in one new network namespace.
pub fn in_a_network(test: impl FnOnce(&mut Stage) -> Result<()> + Send) -> Result<()> {
    in_a_network_with("", test)
}

/// The same, on a node with this configuration.
pub fn in_a_network_with(
    config: &str,
    test: impl FnOnce(&mut Stage) -> Result<()> + Send,
) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    berth_netns::in_new(|| {
        let registry = Registry::start()?;
        let image = Image::busybox()?.push(&registry, "busybox:1")?;
        let mut stage = Stage { node: Node::start_with(config)?, image, registry };
        stage.berth(&format!("pull -q {}", stage.image))?;
        test(&mut stage)
    })?
}

impl Stage {
    /// The first of what `inspect` tells.
    pub fn inspected(&self, line: &str) -> Result<Value> {
        let told: Value = serde_json::from_str(&self.berth(line)?)?;
        told.get(0).cloned().with_context(|| format!("berth {line} tells nothing"))
    }

    /// The addresses of a container, of IPv4 and of IPv6.
    pub fn addresses(&self, name: &str) -> Result<[String; 2]> {
        let all = self.json("ps -a")?;
        let one = all.as_array().into_iter().flatten().find(|one| one["id"] == name);
        let addresses =
            one.with_context(|| format!("{name} is not in {all}"))?["addresses"].clone();
        let addresses: Vec<String> = serde_json::from_value(addresses)?;
        <[String; 2]>::try_from(addresses).map_err(|all| anyhow::anyhow!("{name} has {all:?}"))
    }

    /// What a script in a container prints.
    pub fn inside(&self, name: &str, script: &str) -> Result<String> {
        self.node.berth(&format!("exec {name} sh -c")).args([script]).output()?.ok()
    }

    /// Waits until a container gets this answer from the web server of a host.
    pub fn reaches(&self, name: &str, host: &str, answer: &str) -> Result<()> {
        // wget of a static busybox ends with a signal when it looks the port up.
        let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {host} 80");
        let mut last = String::new();
        let reached = until(&format!("{name} reaches {host}"), SOON, || {
            let got = self.inside(name, &script);
            last = format!("{got:?}");
            got.is_ok_and(|got| got.lines().last() == Some(answer))
        });
        reached.context(last)
    }

    /// What a berth command says that has to fail.
    pub fn refused(&self, line: &str) -> Result<String> {
        let output = self.node.berth(line).output()?;
        if output.code == 0 {
            bail!("berth {line} works: {output}");
        }
        Ok(output.stderr)
    }

    /// Waits until nothing is left of any container's network.
    pub fn nothing_is_left(&self) -> Result<()> {
        let mut left = Vec::new();
        let gone = until("nothing is left of networks", SOON, || {
            left = self.left().unwrap_or_else(|error| vec![format!("{error:#}")]);
            left.is_empty()
        });
        gone.with_context(|| format!("{left:#?}"))
    }

    /// Namespaces, files, addresses, plugins' records, devices and rules of containers.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let (state, root) = (self.node.path("state/runtime"), self.node.path("root/runtime"));
        for folder in [state.join(".netns"), root.join("cni/results"), root.join("cni/partial")] {
            left.extend(files(&folder));
        }
        let of_containers = files(&state.join(".networks"));
        left.extend(of_containers.into_iter().filter(|file| !file.ends_with("/.ipam")));
        for network in files(&state.join(".networks/.ipam")) {
            let noted = files(network.as_ref()).into_iter();
            left.extend(
                noted.filter(|f| !f.ends_with("/lock") && !f.contains("/last_reserved_ip.")),
            );
        }
        let links = run("ip -o link")?;
        let links = links.lines().filter_map(|line| line.split(' ').nth(1));
        left.extend(links.filter(|name| name.starts_with("veth")).map(str::to_owned));
        for save in ["iptables-save", "ip6tables-save"] {
            let rules = program(save).output()?.ok()?;
            left.extend(rules.lines().filter(|rule| of_a_container(rule)).map(str::to_owned));
        }
        Ok(left)
    }
}

/// A rule with an address of a container, or a chain of one: these are named by a digest.
fn of_a_container(rule: &str) -> bool {
    let chain = rule.split("CNI-").nth(1).unwrap_or_default();
    let digest = chain.strip_prefix("DN-").unwrap_or(chain).split(' ').next().unwrap_or_default();
    let hashed = digest.len() >= 20 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    hashed || rule.contains("10.89.") || rule.contains("fd62:")
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}
