//! Results as each version writes them.
//!
//! | versions | addresses | routes | interfaces |
//! |---|---|---|---|
//! | 0.1.0, 0.2.0 | one each in `ip4` and `ip6` | beside the address | none |
//! | 0.3.0 to 0.4.0 | `ips`, each with its `version` | `routes` | name, mac, sandbox |
//! | 1.0.0 | `ips` | `routes` | the same |
//! | 1.1.0 | `ips` | `routes`, with more about each | and mtu, socketPath, pciID |

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Cidr, Dns, Interface, Ip, NetworkResult, Route, is_zero};
use crate::Version;

/// All keys of all versions.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Wire {
    #[serde(rename = "cniVersion", skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<OldIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<OldIp>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    interfaces: Vec<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    ips: Vec<NewIp>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    routes: Vec<WireRoute>,
    #[serde(skip_serializing_if = "Dns::is_empty", deserialize_with = "nullable")]
    dns: Dns,
}

#[derive(Serialize, Deserialize)]
struct OldIp {
    ip: Cidr,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    routes: Vec<WireRoute>,
}

#[derive(Serialize, Deserialize)]
struct NewIp {
    /// Read by nobody: the address says it.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<i64>,
    address: Cidr,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    gateway: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct WireRoute {
    dst: Cidr,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    gw: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "is_zero")]
    mtu: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    advmss: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    priority: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<u32>,
}

pub(super) fn read(wire: Wire, asked: Version) -> Result<NetworkResult, String> {
    let version = match wire.version.as_deref() {
        None | Some("") => asked,
        Some(name) => {
            Version::find(name).ok_or_else(|| format!("version {name:?} is not known"))?
        }
    };
    let mut result = NetworkResult { dns: wire.dns, ..NetworkResult::default() };
    if version <= Version::V0_2_0 {
        for old in [wire.ip4, wire.ip6].into_iter().flatten() {
            result.ips.push(Ip { address: old.ip, gateway: old.gateway, interface: None });
            result.routes.extend(old.routes.into_iter().map(Route::from));
        }
        return Ok(result);
    }
    result.interfaces = wire.interfaces;
    result.routes = wire.routes.into_iter().map(Route::from).collect();
    result.ips = wire.ips.into_iter().map(Ip::from).collect();
    Ok(result)
}

pub(super) fn write(result: &NetworkResult, version: Version) -> Value {
    let mut wire =
        Wire { version: Some(version.to_string()), dns: result.dns.clone(), ..Wire::default() };
    if version <= Version::V0_2_0 {
        wire.ip4 = old(result, true);
        wire.ip6 = old(result, false);
    } else {
        wire.interfaces = result.interfaces.iter().map(|i| interface(i, version)).collect();
        wire.ips = result.ips.iter().map(|ip| new_ip(ip, version)).collect();
        wire.routes = result.routes.iter().map(|r| route(r, version)).collect();
    }
    // Strings, numbers, lists and objects of them: there is nothing that has no JSON.
    serde_json::to_value(wire).unwrap_or_default()
}

/// The first address of a family, and all routes of that.
fn old(result: &NetworkResult, four: bool) -> Option<OldIp> {
    let ip = result.ips.iter().find(|ip| ip.address.addr().is_ipv4() == four)?;
    let routes = result.routes.iter().filter(|route| route.dst.addr().is_ipv4() == four);
    let routes = routes.map(|r| route(r, Version::V0_2_0)).collect();
    Some(OldIp { ip: ip.address, gateway: ip.gateway, routes })
}

fn interface(interface: &Interface, version: Version) -> Interface {
    let mut interface = interface.clone();
    if version < Version::V1_1_0 {
        interface.mtu = 0;
        interface.socket_path.clear();
        interface.pci_id.clear();
    }
    interface
}

fn new_ip(ip: &Ip, version: Version) -> NewIp {
    let family = if ip.address.addr().is_ipv4() { "4" } else { "6" };
    NewIp {
        version: (version < Version::V1_0_0).then_some(family),
        interface: ip.interface.and_then(|index| i64::try_from(index).ok()),
        address: ip.address,
        gateway: ip.gateway,
    }
}

fn route(route: &Route, version: Version) -> WireRoute {
    let mut wire = WireRoute {
        dst: route.dst,
        gw: route.gw,
        mtu: 0,
        advmss: 0,
        priority: 0,
        table: None,
        scope: None,
    };
    if version >= Version::V1_1_0 {
        (wire.mtu, wire.advmss, wire.priority) = (route.mtu, route.advmss, route.priority);
        (wire.table, wire.scope) = (route.table, route.scope);
    }
    wire
}

impl From<WireRoute> for Route {
    fn from(wire: WireRoute) -> Self {
        let WireRoute { dst, gw, mtu, advmss, priority, table, scope } = wire;
        Self { dst, gw, mtu, advmss, priority, table, scope }
    }
}

impl From<NewIp> for Ip {
    fn from(wire: NewIp) -> Self {
        // Some plugins say -1 for none.
        let interface = wire.interface.and_then(|index| usize::try_from(index).ok());
        Self { address: wire.address, gateway: wire.gateway, interface }
    }
}

/// Plugins in Go may write `null` for what is empty.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An address, or nothing said as `""`.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| serde::de::Error::custom(format!("{text:?} is no address"));
    text.parse().map(Some).map_err(wrong)
}
