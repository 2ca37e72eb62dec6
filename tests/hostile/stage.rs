//! A node of a cluster, which is all that there is of it. It serves kubelets, and has no network for pods.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use berth_testkit::{Authority, Etcd, Node, loopback, until};

use crate::ANSWERED;

/// What the node is called.
pub const NAME: &str = "node";
/// Where it answers other nodes.
const PORT: u16 = 7411;

/// It ends with its owner: the node first.
pub struct Stage {
    pub node: Node,
    /// Whom the node believes who other nodes are.
    pub authority: Authority,
    /// Where it answers other nodes.
    pub address: Ipv4Addr,
    _etcd: Etcd,
}

impl Stage {
    /// A node that is shown to itself.
    pub fn start() -> Result<Self> {
        let (etcd, authority, address) = (Etcd::start()?, Authority::new()?, loopback());
        for name in [NAME, "other"] {
            authority.issue_to(name, name, &format!("DNS:{name}"))?;
        }
        let path = |name: &str| authority.path(name);
        let node = Node::start_with(&format!(
            "[cluster]\nname = \"hostile\"\nnode = {NAME:?}\naddresses = [\"{address}\"]\n\
             [cluster.etcd]\nendpoints = {:?}\n[cluster.peer]\naddress = \"{address}:{PORT}\"\n\
             ca = {:?}\ncert = {:?}\nkey = {:?}\n\
             [cri]\nenabled = true\nrestrict_oom_score_adj = true\n[network]\nconf_dir = {:?}\n",
            etcd.endpoints(),
            path("ca.pem"),
            path("node.pem"),
            path("node.key"),
            path("no-networks"),
        ))?;
        let mut last = String::new();
        until("the node is shown", ANSWERED, || match node.berth("cluster nodes").output() {
            Ok(listed) => {
                last = listed.to_string();
                listed.code == 0 && listed.stdout.lines().count() == 2
            }
            Err(error) => {
                last = format!("{error:#}");
                false
            }
        })
        .with_context(|| last.clone())?;
        Ok(Self { node, authority, address, _etcd: etcd })
    }

    /// `HOST:PORT` for other nodes.
    pub fn door(&self) -> String {
        format!("{}:{PORT}", self.address)
    }
}
