//! Making and removing networks.
//!
//! Invariant: a network's file is there whole and durable before it is acknowledged, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use berth_cni::{Cidr, Network};
use berth_ids::validate_labels;

use super::bridge::{Bridge, device_for};
use super::fault::Fault;
use super::files::remove_all;
use super::known::{All, Described};
use super::subnet::{self, Taken};
use super::{Networks, link};
use crate::error::{Error, Result};
use crate::records::Attachment;
use crate::work::to_the_end;

/// The network that is made when it is first attached to.
pub const DEFAULT: &str = "bridge";
/// The most networks that are made here.
pub const MAX_OWN: usize = 256;
/// The longest name of one, in bytes: with those of a container and an interface it is a file's.
pub const MAX_NAME: usize = 64;
/// Of its file, less the umask: it has no secrets.
const MODE: u32 = 0o666;
/// The most labels of one.
const MAX_LABELS: usize = 128;
/// What the kernel takes as the size of a packet; IPv6 needs as much.
const MTUS: std::ops::RangeInclusive<u32> = 1280..=65535;

/// What a network is to be like; what is empty is chosen.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// Its name.
    pub name: String,
    /// At most one of each IP version, in CIDR notation.
    pub subnets: Vec<String>,
    /// Without one of IPv6.
    pub ipv4_only: bool,
    /// Without a way out.
    pub internal: bool,
    /// In bytes; 0: the kernel's.
    pub mtu: u32,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

impl Networks {
    /// Makes a network. Its device is made by what is attached first.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Fault::Exists`], [`Fault::TooMany`], [`Fault::SubnetTaken`], [`Fault::NoSubnet`],
    /// [`Fault::File`].
    pub async fn create(&self, create: Create) -> Result<Described> {
        let this = self.clone();
        let work = async move {
            let asked = check(&create)?;
            let _alone = this.0.known.changes.write().await;
            let all = this.0.known.all().await?;
            this.make(create, asked, all).await
        };
        to_the_end(&self.0.jobs, "network-create", work).await
    }

    /// Makes the default network if it is not there.
    pub(super) async fn ensure_default(&self) -> Result<()> {
        if self.0.known.all().await?.networks.contains_key(DEFAULT) {
            return Ok(());
        }
        match self.create(Create { name: DEFAULT.to_owned(), ..Create::default() }).await {
            Err(Error::Network(Fault::Exists { .. })) => Ok(()),
            made => made.map(drop),
        }
    }

    async fn make(&self, create: Create, asked: Vec<Cidr>, all: All) -> Result<Described> {
        let file = self.0.known.own.join(format!("{}.conflist", create.name));
        if let Some(there) = all.networks.get(&create.name) {
            let file = there.network.file().to_owned();
            return Err(Fault::Exists { name: create.name, file }.into());
        }
        if all.networks.values().filter(|network| network.own).count() >= MAX_OWN {
            return Err(Fault::TooMany(MAX_OWN).into());
        }
        let (pools, data) = (self.0.pools.clone(), self.0.folders.addresses());
        let work = move || {
            // One that is no network is somebody's all the same.
            if file.symlink_metadata().is_ok() {
                return Err(Fault::Exists { name: create.name, file });
            }
            let subnets = subnets(&create, asked, &all, &pools)?;
            let device = device_for(&create.name, &devices(&all)?);
            let Create { name, internal, mtu, labels, .. } = &create;
            let (device, internal, mtu) = (&*device, *internal, *mtu);
            let (subnets, data) = (&*subnets, &*data);
            let list = Bridge { name, device, subnets, internal, mtu, labels, data }.to_list();
            let text = format!("{list:#}\n");
            let written = berth_durable::replace(&file, text.as_bytes(), MODE);
            written.map_err(Fault::file("write", &file))?;
            let network = Network::read(&file).map_err(Box::new)?;
            Ok(Described { network: Arc::new(network), own: true, pods: false })
        };
        Ok(berth_lifecycle::blocking("make network", work).await.map_err(Fault::from)??)
    }

    /// Takes a network away that was made here, and then its device.
    ///
    /// # Errors
    /// [`Fault::NoNetwork`], [`Fault::NotOwn`], [`Fault::InUse`], [`Fault::File`].
    pub async fn remove(&self, name: &str) -> Result<()> {
        let (this, name) = (self.clone(), name.to_owned());
        let work = async move { this.unmake(&name).await };
        to_the_end(&self.0.jobs, "network-remove", work).await
    }

    async fn unmake(&self, name: &str) -> Result<()> {
        let _alone = self.0.known.changes.write().await;
        let mut all = self.0.known.all().await?;
        let found = all.networks.remove(name).ok_or_else(|| Fault::NoNetwork(name.to_owned()))?;
        let file = found.network.file().to_owned();
        if !found.own {
            return Err(Fault::NotOwn { name: name.to_owned(), file }.into());
        }
        if let Some(by) = self.used_by(name)? {
            return Err(Fault::InUse { name: name.to_owned(), by }.into());
        }
        let (devices, data) = (found.bridges(), self.0.folders.addresses().join(name));
        // One that another network names too goes with that.
        let others: BTreeSet<_> = all.networks.values().flat_map(Described::bridges).collect();
        let work = move || {
            fs_err::remove_file(&file).map_err(Fault::file("remove", &file))?;
            let folder = file.parent().unwrap_or(Path::new("/"));
            berth_durable::sync_folder(folder).map_err(Fault::file("sync", folder))?;
            remove_all(&data)?;
            for device in devices.iter().filter(|device| !others.contains(*device)) {
                link::remove_bridge(device).map_err(Fault::file("remove device", device))?;
            }
            Ok::<_, Fault>(())
        };
        Ok(berth_lifecycle::blocking("remove network", work).await.map_err(Fault::from)??)
    }

    /// Some of what is attached to a network.
    fn used_by(&self, name: &str) -> Result<Option<String>> {
        let on_it = |record: &Attachment| record.joined.iter().any(|joined| joined.network == name);
        let users = self.every()?.into_iter().filter(|(_, record)| on_it(record));
        let mut users: Vec<_> = users.map(|((ns, id), _)| format!("{ns}/{id}")).collect();
        let more = users.len().saturating_sub(3);
        users.truncate(3);
        let named = users.join(", ");
        Ok((!named.is_empty()).then(|| match more {
            0 => named,
            more => format!("{named} and {more} more"),
        }))
    }
}

/// Its rules, and its subnets.
fn check(create: &Create) -> Result<Vec<Cidr>> {
    let invalid = |text: String| Err(Error::Invalid(text));
    let Create { name, subnets, mtu, labels, .. } = create;
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !begins || !name.chars().all(of_name) || name.len() > MAX_NAME {
        return invalid(format!(
            "network name {name:?}: it is 1 to {MAX_NAME} letters, digits, '_', '.' and '-', and does not \
             begin with one of these three"
        ));
    }
    if *mtu != 0 && !MTUS.contains(mtu) {
        return invalid(format!("mtu {mtu}: it is {} to {}", MTUS.start(), MTUS.end()));
    }
    if labels.len() > MAX_LABELS {
        return invalid(format!("{} labels: there may be {MAX_LABELS}", labels.len()));
    }
    validate_labels(labels).map_err(|source| Error::Name { what: "network.Labels", source })?;
    if subnets.len() > 2 {
        return invalid(format!("{} subnets: one of each IP version is enough", subnets.len()));
    }
    let subnets = subnets.iter().map(|text| check_subnet(text, create.ipv4_only));
    let subnets = subnets.collect::<Result<Vec<_>>>()?;
    if let [one, other] = &*subnets
        && one.addr().is_ipv4() == other.addr().is_ipv4()
    {
        return invalid(format!("subnets {one} and {other} are of one IP version"));
    }
    Ok(subnets)
}

fn check_subnet(text: &str, ipv4_only: bool) -> Result<Cidr> {
    let wrong = |why: &str| Error::Invalid(format!("subnet {text:?}: {why}"));
    let subnet: Cidr = text.parse().map_err(|_| wrong("it is not ADDRESS/LENGTH"))?;
    let (addr, is_v4) = (subnet.addr(), subnet.addr().is_ipv4());
    let lengths = if is_v4 { 8..=29 } else { 16..=125 };
    let special = addr.is_multicast() || addr.is_unspecified() || addr.is_loopback();
    match subnet {
        _ if !subnet::is_network(subnet) => Err(wrong("it is not the first address of a subnet")),
        _ if !lengths.contains(&subnet.prefix()) => {
            let (least, most) = (lengths.start(), lengths.end());
            Err(wrong(&format!("its length is not {least} to {most}")))
        }
        _ if special => Err(wrong("nobody can have its addresses")),
        _ if ipv4_only && !is_v4 => Err(wrong("it is to have IPv4 only")),
        _ => Ok(subnet),
    }
}

/// Those that were asked for, if nothing uses them, or else free ones.
fn subnets(
    create: &Create,
    asked: Vec<Cidr>,
    all: &All,
    pools: &[Cidr],
) -> Result<Vec<Cidr>, Fault> {
    let mut taken = subnet::of_machine().map_err(Fault::file("read routes in", "/proc/net"))?;
    for network in all.networks.values() {
        let name = network.network.name();
        let said = network.subnets().into_iter().filter_map(|text| text.parse().ok());
        taken.extend(said.map(|subnet| Taken { subnet, by: format!("network {name:?}") }));
    }
    for subnet in &asked {
        if let Some(taken) = taken.iter().find(|taken| subnet::overlap(taken.subnet, *subnet)) {
            let (subnet, by) = (subnet.to_string(), taken.by.clone());
            return Err(Fault::SubnetTaken { subnet, by });
        }
    }
    if !asked.is_empty() {
        return Ok(asked);
    }
    let (v4, v6): (Vec<_>, Vec<_>) = pools.iter().partition(|pool| pool.addr().is_ipv4());
    let mut versions = vec![("IPv4", v4)];
    // Where there is no pool of it, or no IPv6, it is a network without.
    if !create.ipv4_only && !v6.is_empty() && subnet::has_v6() {
        versions.push(("IPv6", v6));
    }
    let choose = |(version, pools): (&'static str, Vec<Cidr>)| {
        let shown: Vec<_> = pools.iter().map(Cidr::to_string).collect();
        let none = || Fault::NoSubnet { version, pools: shown.join(", ") };
        subnet::choose(&pools, &taken).ok_or_else(none)
    };
    versions.into_iter().map(choose).collect()
}

/// The names of devices that are there or may be made.
fn devices(all: &All) -> Result<BTreeSet<String>, Fault> {
    let there = subnet::interfaces().map_err(Fault::file("read devices in", "/proc/net"))?;
    Ok(all.networks.values().flat_map(Described::bridges).chain(there).collect())
}
