//! What an ADD has led to: interfaces, addresses, routes and name servers, of whatever version it was said in.

mod cidr;
#[cfg(test)]
mod tests;
mod wire;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use cidr::Cidr;
use wire::Wire;

use crate::Version;

/// The result of an ADD. It has all that the newest version has; older ones lack some of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkResult {
    /// What was made, in the container and on the node.
    pub interfaces: Vec<Interface>,
    /// The addresses.
    pub ips: Vec<Ip>,
    /// The routes.
    pub routes: Vec<Route>,
    /// Name servers that the network knows of.
    pub dns: Dns,
}

/// An interface. What is empty or 0 is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name, where it is.
    pub name: String,
    /// The hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// In bytes. 1.1.0.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// The namespace that it is in; empty on the node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The socket of an interface that is one (vhost-user). 1.1.0.
    #[serde(rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// The PCI device. 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// With the length of its network's prefix.
    pub address: Cidr,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
    /// Which of the interfaces has it.
    pub interface: Option<usize>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub dst: Cidr,
    /// The next hop; the gateway of an address where none is said.
    pub gw: Option<IpAddr>,
    /// In bytes; 0 where none is said. 1.1.0, as are those below.
    pub mtu: u32,
    /// The segment size to announce, in bytes; 0 where none is said.
    pub advmss: u32,
    /// Lower goes first; 0 where none is said.
    pub priority: u32,
    /// The routing table.
    pub table: Option<u32>,
    /// Global (0), link (253), host (254).
    pub scope: Option<u32>,
}

/// Name servers and what goes with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses, the first one first.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "wire::nullable")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Domains that short names are looked for in.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "wire::nullable")]
    pub search: Vec<String>,
    /// Of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "wire::nullable")]
    pub options: Vec<String>,
}

impl NetworkResult {
    /// Reads a result of any version, which is `asked` where it does not say.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(json: &[u8], asked: Version) -> Result<Self, String> {
        let value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        Self::from_value(&value, asked)
    }

    /// As [`NetworkResult::read`], of what was read as JSON already.
    pub(crate) fn from_value(value: &Value, asked: Version) -> Result<Self, String> {
        if !value.is_object() {
            return Err("it is no object".to_owned());
        }
        wire::read(Wire::deserialize(value).map_err(|e| e.to_string())?, asked)
    }

    /// As `version` writes it. What that version has no words for is left out: of 0.2.0 and older all but the first
    /// address of each family.
    #[must_use]
    pub fn to_value(&self, version: Version) -> Value {
        wire::write(self, version)
    }

    /// The addresses of the interface of this name inside of a namespace (`CNI_IFNAME`), or those of no interface.
    pub fn addresses_of<'a>(&'a self, ifname: &'a str) -> impl Iterator<Item = &'a Ip> {
        self.ips.iter().filter(move |ip| match ip.interface {
            None => true,
            Some(index) => {
                let found = self.interfaces.get(index);
                found.is_some_and(|i| i.name == ifname && !i.sandbox.is_empty())
            }
        })
    }
}

impl Dns {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
