//! Debian's plugins, from ADD to DEL.

use berth_cni::{Bandwidth, Capabilities, Error, Network, Version};
use berth_errors::{Code, Coded};
use berth_netns::NetNs;
use berth_testkit::run;
use serde_json::json;

use crate::node::{Node, on_a_node};

#[test]
fn a_chain_of_all_that_debian_has_is_added_checked_and_deleted() {
    on_a_node(async |node: Node| {
        let plugins = json!([
            node.bridge(),
            {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}},
            {"type": "bandwidth", "capabilities": {"bandwidth": true}},
            {"type": "firewall", "backend": "iptables"},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]);
        for version in ["0.4.0", "1.0.0"] {
            let network = node.network(version, plugins.clone());
            node.engine.validate(&network).await.unwrap();
            let mut container = node.container(&format!("c{}", version.replace('.', "-")));
            let megabit = 1_000_000;
            let bandwidth = Bandwidth {
                ingress_rate: megabit,
                ingress_burst: megabit,
                egress_rate: megabit,
                egress_burst: megabit,
            };
            container.capabilities =
                Capabilities { bandwidth: Some(bandwidth), ..Capabilities::default() };
            let outcome = node.engine.add(&network, &container).await.unwrap();
            assert_eq!(outcome.version.as_str(), version);
            let addresses: Vec<_> = outcome.result.addresses_of("eth0").collect();
            assert_eq!(addresses.len(), 2, "{outcome:?}");
            let inside = node.inside(&container);
            for ip in addresses {
                assert!(inside.contains(&ip.address.to_string()), "{ip:?} is not in {inside}");
            }
            assert_eq!(outcome.result.routes.len(), 2);
            assert!(run("tc qdisc show").unwrap().contains("tbf"), "no bandwidth is bounded");
            node.engine.check(&network, &container).await.unwrap();
            let again = node.engine.add(&network, &container).await.unwrap_err();
            assert_eq!(again.code(), Code::AlreadyExists, "{again}");
            node.engine.check(&network, &container).await.unwrap();
            for _ in 0..3 {
                node.engine.del(&network, &container).await.unwrap();
            }
            assert_eq!(node.left(), [""; 0]);
            let gone = node.engine.check(&network, &container).await.unwrap_err();
            assert_eq!(gone.code(), Code::NotFound, "{gone}");
        }
    });
}

#[test]
fn a_check_finds_what_is_gone() {
    on_a_node(async |node: Node| {
        // Without masquerading: this version of the plugin finds its rules by what is in the namespace.
        let mut bridge = node.bridge();
        bridge["ipMasq"] = false.into();
        let network = node.network("1.0.0", json!([bridge]));
        let container = node.container("c");
        node.engine.add(&network, &container).await.unwrap();
        let ns = NetNs::at(container.netns.clone().unwrap());
        ns.enter(|| run("ip addr flush dev eth0").unwrap()).unwrap();
        let error = node.engine.check(&network, &container).await.unwrap_err();
        assert!(matches!(&error, Error::Plugin { plugin, .. } if plugin == "bridge"), "{error}");
        let mut unchecked = network.to_list();
        unchecked["disableCheck"] = true.into();
        let unchecked = Network::parse(unchecked.to_string().as_bytes(), "x".as_ref()).unwrap();
        node.engine.check(&unchecked, &container).await.unwrap();
        node.engine.del(&network, &container).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn old_versions_are_spoken() {
    on_a_node(async |node: Node| {
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
            let file = node.path("old.conf");
            let mut conf = node.bridge();
            conf["cniVersion"] = version.into();
            conf["name"] = "net".into();
            fs_err::write(&file, conf.to_string()).unwrap();
            let network = Network::read(&file).unwrap();
            let container = node.container(&format!("c{}", version.replace('.', "-")));
            let outcome = node.engine.add(&network, &container).await.unwrap();
            let addresses: Vec<_> = outcome.result.addresses_of("eth0").collect();
            assert_eq!(addresses.len(), 2, "{version}: {outcome:?}");
            assert!(node.inside(&container).contains(&addresses[1].address.to_string()));
            let error = node.engine.check(&network, &container).await.unwrap_err();
            assert_eq!(error.code(), Code::Unimplemented, "{error}");
            node.engine.del(&network, &container).await.unwrap();
            node.engine.del(&network, &container).await.unwrap();
            assert_eq!(node.left(), [""; 0], "{version}");
        }
    });
}

#[test]
fn a_container_without_a_namespace_is_deleted() {
    on_a_node(async |node: Node| {
        // Without masquerading, for the same reason.
        let mut bridge = node.bridge();
        bridge["ipMasq"] = false.into();
        let plugins = json!([bridge, {"type": "firewall", "backend": "iptables"}]);
        let network = node.network("1.0.0", plugins);
        for leftover in [false, true] {
            let mut container = node.container(&format!("c{leftover}"));
            node.engine.add(&network, &container).await.unwrap();
            let path = container.netns.clone().unwrap();
            NetNs::at(&path).remove().unwrap();
            if leftover {
                // As after a removal that was cut off.
                fs_err::write(&path, "").unwrap();
            }
            node.engine.del(&network, &container).await.unwrap();
            container.netns = None;
            node.engine.del(&network, &container).await.unwrap();
            assert_eq!(node.left(), [""; 0]);
        }
        // Never added at all.
        node.engine.del(&network, &node.container("never")).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn addresses_run_out_with_an_error_of_the_plugin_and_nothing_is_left() {
    on_a_node(async |node: Node| {
        let mut bridge = node.bridge();
        bridge["ipam"] = node.ipam("10.88.0.0/30", "fd88::/64");
        let network = node.network("1.0.0", json!([bridge]));
        let (one, two) = (node.container("one"), node.container("two"));
        node.engine.add(&network, &one).await.unwrap();
        let before = node.left();
        let error = node.engine.add(&network, &two).await.unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("plugin \"bridge\" (ADD) failed: ")
                && said.contains("no IP addresses available"),
            "{said}"
        );
        assert_eq!(node.left(), before);
        node.engine.del(&network, &one).await.unwrap();
        node.engine.add(&network, &two).await.unwrap();
        node.engine.del(&network, &two).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn the_loopback_plugin_and_versions() {
    on_a_node(async |node: Node| {
        let network = node.named("lo", "1.0.0", json!([{"type": "loopback"}]));
        let mut container = node.container("c");
        container.ifname = "lo".into();
        node.engine.add(&network, &container).await.unwrap();
        node.engine.check(&network, &container).await.unwrap();
        node.engine.del(&network, &container).await.unwrap();
        let known = node.engine.version("bridge").await.unwrap();
        assert_eq!((known[0], *known.last().unwrap()), (Version::V0_1_0, Version::V1_0_0));
        let newer = node.named("lo", "1.1.0", json!([{"type": "loopback"}]));
        let error = node.engine.validate(&newer).await.unwrap_err();
        assert!(matches!(&error, Error::Versions { known, .. } if known.len() == 6), "{error}");
        let error = node.engine.add(&newer, &container).await.unwrap_err();
        assert!(
            matches!(&error, Error::NotUndone { cause, .. }
            if matches!(**cause, Error::Plugin { number: 1, .. })),
            "{error}"
        );
        assert_eq!(error.code(), Code::FailedPrecondition);
        node.engine.status(&network).await.unwrap();
        let missing = node.engine.version("no-such").await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound, "{missing}");
    });
}
