//! A node for a test, what is asked of it, and what is left on it.

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;

use berth_grpc::Channel;
use berth_netns::NetNs;
use berth_proto::berth::node::v1 as wire;
use berth_testkit::{program, run, write_program};
use serde_json::{Value, json};
use tonic::{Request, Status};
use wire::networks_client::NetworksClient;

use crate::support::{Node, ns};

pub struct Stage {
    pub node: Node,
}

/// Runs a test in a network namespace of its own: what the service starts is there too.
pub fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Stage) -> F + Send) {
    if !berth_testkit::is_root() {
        return;
    }
    berth_netns::in_new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(Stage { node: Node::start().await }).await });
    })
    .unwrap();
}

impl Stage {
    pub fn path(&self, name: &str) -> PathBuf {
        self.node.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn client(&self) -> NetworksClient<Channel> {
        NetworksClient::new(self.node.channel.clone())
    }

    /// A network that is made here; what is not said is chosen.
    pub async fn create(&self, name: &str) -> Result<wire::Network, Status> {
        self.create_with(wire::CreateNetworkRequest { name: name.into(), ..Default::default() })
            .await
    }

    pub async fn create_with(
        &self,
        request: wire::CreateNetworkRequest,
    ) -> Result<wire::Network, Status> {
        Ok(self.client().create(request).await?.into_inner().network.unwrap())
    }

    pub async fn remove(&self, name: &str) -> Result<(), Status> {
        let request = wire::RemoveNetworkRequest { name: name.into() };
        self.client().remove(request).await.map(drop)
    }

    pub async fn list(&self) -> wire::ListNetworksResponse {
        self.client().list(wire::ListNetworksRequest {}).await.unwrap().into_inner()
    }

    pub async fn names(&self) -> Vec<String> {
        self.list().await.networks.into_iter().map(|network| network.name).collect()
    }

    pub async fn attach(&self, request: wire::AttachRequest) -> Result<wire::Attachment, Status> {
        Ok(self.client().attach(ns(request)).await?.into_inner().attachment.unwrap())
    }

    pub async fn detach(&self, id: &str) -> Result<(), Status> {
        self.client().detach(ns(wire::DetachRequest { id: id.into() })).await.map(drop)
    }

    /// Of all namespaces.
    pub async fn attachments(&self) -> Vec<wire::Attachment> {
        let request = Request::new(wire::AttachmentsRequest::default());
        self.client().attachments(request).await.unwrap().into_inner().attachments
    }

    /// The one of this name.
    pub async fn attachment(&self, id: &str) -> Option<wire::Attachment> {
        let request = ns(wire::AttachmentsRequest { id: id.into(), ..Default::default() });
        self.client().attachments(request).await.unwrap().into_inner().attachments.pop()
    }

    pub async fn ready(&self) -> wire::NetworksReadyResponse {
        self.client().ready(wire::NetworksReadyRequest {}).await.unwrap().into_inner()
    }

    /// Waits until nothing is attached, nor left of anything.
    pub async fn nothing_is_left(&self) {
        let end = tokio::time::Instant::now() + crate::support::SOON;
        loop {
            let attached = self.attachments().await;
            let left = self.left();
            if attached.is_empty() && left.is_empty() {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{attached:?} {left:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Namespaces, files, addresses, plugins' records, devices and rules of containers.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for folder in [
            "run/runtime/.netns",
            "run/runtime/.userns",
            "lib/runtime/cni/results",
            "lib/runtime/cni/partial",
        ] {
            left.extend(files(&self.path(folder)));
        }
        let of_networks = files(&self.path("run/runtime/.networks"));
        left.extend(of_networks.into_iter().filter(|file| !file.ends_with("/.ipam")));
        for network in files(&self.path("run/runtime/.networks/.ipam")) {
            let noted = files(network.as_ref()).into_iter();
            left.extend(
                noted.filter(|f| !f.ends_with("/lock") && !f.contains("/last_reserved_ip.")),
            );
        }
        let links = run("ip -o link").unwrap();
        let links = links.lines().filter_map(|line| line.split(' ').nth(1));
        left.extend(links.filter(|name| name.starts_with("veth")).map(str::to_owned));
        for save in ["iptables-save", "ip6tables-save"] {
            let rules = program(save).output().unwrap().ok().unwrap();
            left.extend(rules.lines().filter(|rule| of_a_container(rule)).map(str::to_owned));
        }
        left
    }

    /// A plugin that is this script. `$prev` has its previous result.
    pub fn script(&self, name: &str, body: &str) -> Value {
        fs_err::create_dir_all(self.path("bin")).unwrap();
        let prelude = "#!/bin/sh\ncd \"$(dirname \"$0\")/..\" || exit 9\nconf=$(cat)\n\
            prev=$(printf %s \"$conf\" | jq -c '.prevResult // {cniVersion: .cniVersion}')\n";
        write_program(&self.path("bin").join(name), format!("{prelude}{body}\n")).unwrap();
        json!({ "type": name })
    }

    /// A network of the pods' folder.
    pub fn configure(&self, name: &str, plugins: &Value) {
        self.configure_as(&format!("{name}.conflist"), name, "1.0.0", plugins);
    }

    pub fn configure_as(&self, file: &str, name: &str, version: &str, plugins: &Value) {
        fs_err::create_dir_all(self.path("net.d")).unwrap();
        let list = json!({"cniVersion": version, "name": name, "plugins": plugins});
        fs_err::write(self.path("net.d").join(file), list.to_string()).unwrap();
    }

    /// The same, and it is known.
    pub async fn configured(&self, name: &str, plugins: &Value) {
        self.configure(name, plugins);
        self.knows(name).await;
    }

    pub async fn knows(&self, name: &str) {
        let end = tokio::time::Instant::now() + crate::support::SOON;
        while !self.names().await.iter().any(|known| known == name) {
            assert!(tokio::time::Instant::now() < end, "{name} is not known");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// Chains that plugins make for all containers stay, and have none of these.
fn of_a_container(rule: &str) -> bool {
    let chain = rule.strip_prefix(":CNI-").or(rule.strip_prefix("-A CNI-"));
    let hashed = chain.is_some_and(|chain| {
        let name = chain.split(' ').next().unwrap_or_default();
        let hash = name.strip_prefix("DN-").unwrap_or(name);
        hash.len() >= 20 && hash.bytes().all(|b| b.is_ascii_hexdigit())
    });
    hashed || rule.contains("10.89.") || rule.contains("fd62:")
}

fn files(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
}

/// An attachment to these networks.
pub fn on(networks: &[&str], id: &str) -> wire::AttachRequest {
    let choice = |name: &&str| wire::NetworkChoice { name: (*name).into(), ..Default::default() };
    let networks = networks.iter().map(choice).collect();
    wire::AttachRequest { id: id.into(), networks, ..Default::default() }
}

pub fn inside(attachment: &wire::Attachment) -> NetNs {
    NetNs::at(&attachment.netns)
}

/// The addresses of an attachment's interface.
pub fn addresses(attachment: &wire::Attachment, interface: usize) -> Vec<IpAddr> {
    let addresses = attachment.interfaces[interface].addresses.iter();
    addresses.map(|cidr| cidr.split('/').next().unwrap().parse().unwrap()).collect()
}
