//! What is attached to networks, as it was asked for and as it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// A container or sandbox on networks, about to be or about not to be any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What was asked for.
    pub wanted: Wanted,
    /// How far it is.
    pub standing: Standing,
    /// Its interfaces, in order.
    pub joined: Vec<Joined>,
    /// What is in the way of its end; empty where nothing is.
    #[serde(default)]
    pub trouble: String,
    /// When it was asked for.
    pub created: SystemTime,
}

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Plugins may have begun.
    Joining,
    /// It was acknowledged. A machine that was started anew has nothing of it all the same.
    Attached,
    /// It is being undone, until that holds.
    Leaving,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The network's name.
    pub network: String,
    /// The interface's.
    pub ifname: String,
    /// What the plugins answered, as JSON; empty before that.
    #[serde(default)]
    pub result: String,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// In order; empty: those that pods are attached to.
    pub networks: Vec<Choice>,
    /// Its name; may be empty.
    pub hostname: String,
    /// Ports of the machine that lead to it.
    pub ports: Vec<Port>,
    /// What a resolver is told.
    pub dns: Dns,
    /// More lines for its hosts file.
    pub hosts: Vec<HostsLine>,
    /// `CNI_ARGS`.
    pub args: BTreeMap<String, String>,
    /// More capability arguments: a JSON object, or empty.
    pub capabilities: String,
    /// A folder of networks in place of the pods'; empty: those.
    #[serde(default)]
    pub conf_dir: String,
    /// How many of its files count; 0: as many as of the pods'.
    #[serde(default)]
    pub max_conf_num: usize,
    /// The ids of a user namespace that is to own its network namespace; none: the node's does.
    #[serde(default)]
    pub users: Option<Users>,
    /// No files are written for it.
    #[serde(default)]
    pub without_files: bool,
}

/// The ids of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

/// So many ids from one inside on are those from one outside on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first one inside.
    pub inside: u32,
    /// The first one outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// One network, and what is wanted on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The network's name.
    pub name: String,
    /// The interface's; empty: by its place.
    pub interface: String,
    /// With or without a prefix's length; empty: any.
    pub addresses: Vec<String>,
    /// The hardware address; empty: any.
    pub mac: String,
    /// More names that others know it by.
    pub aliases: Vec<String>,
}

/// A port of the machine that leads to one of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// On the machine.
    pub host_port: u16,
    /// In the container.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The machine's address; all of them where none is said.
    pub host_address: Option<IpAddr>,
}

/// What a resolver is told. What is empty is the network's, or else the machine's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers' addresses.
    pub servers: Vec<String>,
    /// Domains that short names are looked for in.
    pub searches: Vec<String>,
    /// Of the resolver.
    pub options: Vec<String>,
}

/// A line of a hosts file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsLine {
    /// The address.
    pub address: IpAddr,
    /// Its names.
    pub names: Vec<String>,
}
