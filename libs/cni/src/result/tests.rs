//! Results in each version.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(value: &Value) -> NetworkResult {
    NetworkResult::read(value.to_string().as_bytes(), Version::V1_1_0).unwrap()
}

#[test]
fn the_old_shape_is_read_and_written() {
    let old = json!({
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
        "dns": {"nameservers": ["10.1.0.1"], "domain": "x"}
    });
    let result = read(&old);
    assert_eq!(result.ips.len(), 2);
    assert_eq!(result.routes[1].gw, Some("fd00::1".parse().unwrap()));
    assert_eq!(result.to_value(Version::V0_2_0), old);
    let expected = json!({
        "cniVersion": "0.4.0",
        "ips": [
            {"version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1"},
            {"version": "6", "address": "fd00::5/64"}
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::1"}],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "x"}
    });
    assert_eq!(result.to_value(Version::V0_4_0), expected);
}

#[test]
fn each_version_says_what_it_has_words_for() {
    let newest = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "eth0", "mtu": 1400, "sandbox": "/n", "socketPath": "/s", "pciID": "0:1"}
        ],
        "ips": [{"interface": 1, "address": "10.1.0.5/16"}],
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1, "advmss": 2, "priority": 3, "table": 0, "scope": 253}]
    });
    let result = read(&newest);
    assert_eq!(result.to_value(Version::V1_1_0), newest);
    let expected = json!({
        "cniVersion": "0.3.1",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"}, {"name": "eth0", "sandbox": "/n"}
        ],
        "ips": [{"version": "4", "interface": 1, "address": "10.1.0.5/16"}],
        "routes": [{"dst": "0.0.0.0/0"}]
    });
    assert_eq!(result.to_value(Version::V0_3_1), expected);
    let found: Vec<_> = result.addresses_of("eth0").map(|ip| ip.address.to_string()).collect();
    assert_eq!(found, ["10.1.0.5/16"]);
    assert_eq!(result.addresses_of("cni0").count(), 0);
}

#[test]
fn what_go_writes_for_nothing_is_nothing() {
    let odd = json!({
        "interfaces": null, "routes": null, "dns": {"nameservers": null}, "cniVersion": "",
        "ips": [{"version": "4", "interface": -1, "address": "10.0.0.1/8", "gateway": ""}],
        "somethingElse": {"x": []}
    });
    let result = read(&odd);
    assert_eq!((result.ips[0].interface, result.ips[0].gateway), (None, None));
    assert!(result.dns.is_empty() && result.routes.is_empty());
}

#[test]
fn what_is_no_result_is_an_error_that_says_why() {
    for (text, why) in [
        ("", "EOF"),
        ("[]", "no object"),
        (r#"{"cniVersion":"9.0.0"}"#, "\"9.0.0\" is not known"),
        (r#"{"ips":[{"address":"10.0.0.1"}]}"#, "ADDRESS/LENGTH"),
        (r#"{"ips":[{"address":"10.0.0.1/8","gateway":"x"}]}"#, "\"x\" is no address"),
        (r#"{"ips":[{}]}"#, "address"),
        (r#"{"routes":[{"dst":"0.0.0.0/0","mtu":-1}]}"#, "-1"),
        (&"[".repeat(100_000), "recursion"),
    ] {
        let error = NetworkResult::read(text.as_bytes(), Version::V1_0_0).unwrap_err();
        assert!(error.contains(why), "{text:.80}: {error}");
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    let length = |addr: IpAddr| (Just(addr), 0..=if addr.is_ipv4() { 32u8 } else { 128 });
    address().prop_flat_map(length).prop_map(|(addr, prefix)| Cidr::new(addr, prefix).unwrap())
}

fn interface() -> impl Strategy<Value = Interface> {
    ("[a-z0-9]{1,15}", "[a-f0-9:]{0,17}", any::<u32>(), ".{0,20}", ".{0,9}", ".{0,9}").prop_map(
        |(name, mac, mtu, sandbox, socket_path, pci_id)| Interface {
            name,
            mac,
            mtu,
            sandbox,
            socket_path,
            pci_id,
        },
    )
}

fn ip() -> impl Strategy<Value = Ip> {
    (cidr(), proptest::option::of(address()), proptest::option::of(0..9usize))
        .prop_map(|(address, gateway, interface)| Ip { address, gateway, interface })
}

fn route() -> impl Strategy<Value = Route> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    let options = (any::<Option<u32>>(), any::<Option<u32>>());
    (cidr(), proptest::option::of(address()), numbers, options).prop_map(
        |(dst, gw, (mtu, advmss, priority), (table, scope))| Route {
            dst,
            gw,
            mtu,
            advmss,
            priority,
            table,
            scope,
        },
    )
}

fn dns() -> impl Strategy<Value = Dns> {
    let list = || proptest::collection::vec(".{0,9}", 0..3);
    (list(), ".{0,9}", list(), list()).prop_map(|(nameservers, domain, search, options)| Dns {
        nameservers,
        domain,
        search,
        options,
    })
}

fn result() -> impl Strategy<Value = NetworkResult> {
    use proptest::collection::vec;
    (vec(interface(), 0..4), vec(ip(), 0..5), vec(route(), 0..5), dns())
        .prop_map(|(interfaces, ips, routes, dns)| NetworkResult { interfaces, ips, routes, dns })
}

/// What is left of a result in a version.
fn as_said_in(mut result: NetworkResult, version: Version) -> NetworkResult {
    if version < Version::V1_1_0 {
        for i in &mut result.interfaces {
            *i = Interface {
                name: i.name.clone(),
                mac: i.mac.clone(),
                sandbox: i.sandbox.clone(),
                ..Interface::default()
            };
        }
        for r in &mut result.routes {
            *r = Route { mtu: 0, advmss: 0, priority: 0, table: None, scope: None, ..r.clone() };
        }
    }
    if version <= Version::V0_2_0 {
        let (mut ips, mut routes) = (Vec::new(), Vec::new());
        for four in [true, false] {
            let first = result.ips.iter().find(|ip| ip.address.addr().is_ipv4() == four);
            let Some(first) = first else { continue };
            ips.push(Ip { interface: None, ..first.clone() });
            let of_it = result.routes.iter().filter(|r| r.dst.addr().is_ipv4() == four);
            routes.extend(of_it.cloned());
        }
        result = NetworkResult { interfaces: Vec::new(), ips, routes, dns: result.dns };
    }
    result
}

proptest! {
    #[test]
    fn what_was_written_is_read_back_as_far_as_the_version_has_words(
        result in result(), version in proptest::sample::select(&Version::ALL[..])
    ) {
        let written = result.to_value(version);
        prop_assert_eq!(&written["cniVersion"], version.as_str());
        let back = NetworkResult::from_value(&written, Version::V1_0_0).unwrap();
        prop_assert_eq!(&back, &as_said_in(result, version));
        // Once more changes nothing.
        prop_assert_eq!(back.to_value(version), written);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = NetworkResult::read(text.as_bytes(), Version::V0_1_0);
    }
}
