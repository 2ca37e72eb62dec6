//! What is attached, as callers see it.

use std::net::IpAddr;
use std::path::PathBuf;

use berth_cni::{Cidr, NetworkResult, Version};
use berth_ids::Namespace;

use super::{Key, Networks};
use crate::error::Result;
use crate::records::{Attachment, Joined};

/// Something that is attached, or is about to be or not to be any more.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The namespace of the container or sandbox.
    pub namespace: String,
    /// Its name.
    pub id: String,
    /// As it is on record.
    pub record: Attachment,
    /// Where its network namespace is pinned.
    pub netns: PathBuf,
    /// Where the user namespace is pinned that owns it, where it has one of its own.
    pub userns: Option<PathBuf>,
    /// Its files: `hosts`, `hostname`, `resolv.conf`.
    pub files: PathBuf,
    /// Its network namespace is not there.
    pub down: bool,
}

/// One interface of it.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// The hardware address, as far as it is known.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// Their subnets' gateways.
    pub gateways: Vec<IpAddr>,
}

/// An interface as the plugins have told of it.
#[must_use]
pub fn interface(joined: &Joined) -> Interface {
    let read = NetworkResult::read(joined.result.as_bytes(), Version::NEWEST);
    let Ok(result) = read else { return Interface::default() };
    let own = |i: &&berth_cni::Interface| i.name == joined.ifname && !i.sandbox.is_empty();
    let mac = result.interfaces.iter().find(own).map(|own| own.mac.clone());
    let ips: Vec<_> = result.addresses_of(&joined.ifname).collect();
    Interface {
        mac: mac.unwrap_or_default(),
        addresses: ips.iter().map(|ip| ip.address).collect(),
        gateways: ips.iter().filter_map(|ip| ip.gateway).collect(),
    }
}

impl Attached {
    /// Its interfaces, in order.
    pub fn interfaces(&self) -> impl Iterator<Item = (&Joined, Interface)> {
        self.record.joined.iter().map(|joined| (joined, interface(joined)))
    }
}

impl Networks {
    /// What is attached: of one namespace, on one network, of one id; empty ones do not count. In the order of the names.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub fn attachments(
        &self,
        ns: Option<&Namespace>,
        network: &str,
        id: &str,
    ) -> Result<Vec<Attached>> {
        let is_on = |joined: &Joined| network.is_empty() || joined.network == network;
        let is_one = |(key, record): &(Key, Attachment)| {
            ns.is_none_or(|ns| key.0 == ns.as_str())
                && (id.is_empty() || key.1 == id)
                && record.joined.iter().any(is_on)
        };
        let found = self.every()?.into_iter().filter(is_one);
        Ok(found.map(|(key, record)| self.view(&key, record)).collect())
    }

    pub(super) fn view(&self, key: &Key, record: Attachment) -> Attached {
        let (netns, files) = (self.0.folders.netns(key), self.0.folders.of(key));
        let down = !berth_netns::is_namespace(&netns);
        let userns = record.wanted.users.as_ref().map(|_| self.0.folders.userns(key));
        let (namespace, id) = key.clone();
        Attached { namespace, id, record, netns, userns, files, down }
    }
}
