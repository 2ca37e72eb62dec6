//! Networks themselves: made, listed, removed; names and subnets that are taken.

use berth_proto::berth::node::v1 as wire;
use berth_testkit::run;
use serde_json::json;
use tonic::Code;

use crate::stage::{Stage, on, on_a_node};

fn loopback() -> serde_json::Value {
    json!([{"type": "loopback"}])
}

#[test]
fn networks_are_made_listed_and_removed_and_survive_kills() {
    on_a_node(async |mut stage: Stage| {
        let labels = [("a.b/c".to_owned(), "d".to_owned())].into();
        let asked = wire::CreateNetworkRequest {
            name: "web".into(),
            mtu: 1400,
            labels,
            ..Default::default()
        };
        let web = stage.create_with(asked.clone()).await.unwrap();
        assert!(web.own && !web.pods);
        assert_eq!(web.subnets, ["10.89.0.0/24", "fd62:6572:7468::/64"]);
        assert_eq!(web.labels["a.b/c"], "d");
        assert_eq!(web.plugins, ["bridge", "firewall", "portmap"]);
        let again = stage.create_with(asked).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again}");
        stage.node.kill_and_restart().await;
        assert_eq!(stage.list().await.networks, [web]);
        let a = stage.attach(on(&["web"], "a")).await.unwrap();
        let mtu = crate::stage::inside(&a).enter(|| run("ip -o link show eth0").unwrap());
        assert!(mtu.unwrap().contains("mtu 1400"));
        let used = stage.remove("web").await.unwrap_err();
        assert_eq!(used.code(), Code::FailedPrecondition);
        assert_eq!(used.message(), "network \"web\" is used by test/a: failed precondition");
        stage.detach("a").await.unwrap();
        assert!(run("ip -o link").unwrap().contains("br-web"));
        stage.remove("web").await.unwrap();
        assert!(!run("ip -o link").unwrap().contains("br-web"));
        assert_eq!(stage.remove("web").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(stage.names().await, [""; 0]);
        assert!(!stage.path("lib/runtime/networks/web.conflist").exists());
        assert!(!stage.path("run/runtime/.networks/.ipam/web").exists());
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn subnets_are_free_or_refused() {
    on_a_node(async |stage: Stage| {
        // Addresses of the machine, and a network of others.
        run("ip addr add 10.89.1.7/32 dev lo").unwrap();
        run("ip addr add fd62:6572:7468:1::7/128 dev lo").unwrap();
        let ipam = json!({"type": "host-local", "subnet": "10.89.2.0/24"});
        stage.configured("theirs", &json!([{"type": "bridge", "ipam": ipam}])).await;
        let subnets = |network: wire::Network| network.subnets;
        let one = subnets(stage.create("one").await.unwrap());
        assert_eq!(one, ["10.89.0.0/24", "fd62:6572:7468::/64"]);
        let two = subnets(stage.create("two").await.unwrap());
        assert_eq!(two, ["10.89.3.0/24", "fd62:6572:7468:2::/64"]);
        let asked = |name: &str, subnets: &[&str]| wire::CreateNetworkRequest {
            name: name.into(),
            subnets: subnets.iter().map(|subnet| (*subnet).to_owned()).collect(),
            ..Default::default()
        };
        let own = asked("own", &["fd00:1::/64", "172.30.0.0/16"]);
        assert_eq!(stage.create_with(own).await.unwrap().subnets, ["fd00:1::/64", "172.30.0.0/16"]);
        for (subnet, by) in [
            ("172.30.4.0/24", "network \"own\""),
            ("10.89.2.128/25", "network \"theirs\""),
            ("10.89.1.0/24", "the machine's route or address 10.89.1.7/32"),
        ] {
            let refused = stage.create_with(asked("x", &[subnet])).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            let says = format!("subnet {subnet} overlaps {by}: failed precondition");
            assert_eq!(refused.message(), says);
        }
        for bad in ["10.0.0.1/8", "10.0.0.0", "10.0.0.0/31", "224.0.0.0/24", "::/64", "x"] {
            let refused = stage.create_with(asked("x", &[bad])).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{bad}: {refused}");
        }
        let both = stage.create_with(asked("x", &["10.1.0.0/16", "10.2.0.0/16"])).await;
        assert_eq!(both.unwrap_err().code(), Code::InvalidArgument);
        let four = wire::CreateNetworkRequest { ipv4_only: true, ..asked("four", &[]) };
        assert_eq!(stage.create_with(four).await.unwrap().subnets, ["10.89.4.0/24"]);
        for bad in ["", "-a", "a/b", "a b", "../x", &"x".repeat(65)] {
            let refused = stage.create(bad).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{bad}: {refused}");
        }
        assert_eq!(stage.names().await, ["four", "one", "own", "theirs", "two"]);
        stage.node.finish().await;
    });
}

#[test]
fn names_that_clash_and_files_that_are_none_are_told() {
    on_a_node(async |stage: Stage| {
        stage.create("mine").await.unwrap();
        stage.configured("theirs", &loopback()).await;
        let taken = stage.create("theirs").await.unwrap_err();
        assert_eq!(taken.code(), Code::AlreadyExists);
        assert!(taken.message().contains("net.d/theirs.conflist"), "{taken}");
        let others = stage.remove("theirs").await.unwrap_err();
        assert_eq!(others.code(), Code::FailedPrecondition);
        assert!(others.message().contains("was not made here"), "{others}");
        fs_err::write(stage.path("net.d/00-bad.conflist"), "{").unwrap();
        // The machine's is the one of that name then.
        stage.configure("mine", &loopback());
        let mine = stage.path("net.d/mine.conflist").display().to_string();
        let end = tokio::time::Instant::now() + crate::support::SOON;
        let listed = loop {
            let listed = stage.list().await;
            if listed.networks[0].file == mine && listed.bad.len() == 2 {
                break listed;
            }
            assert!(tokio::time::Instant::now() < end, "{listed:?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        let bad: Vec<_> = listed.bad.iter().map(|bad| (&*bad.file, &*bad.reason)).collect();
        assert!(bad.iter().any(|(file, _)| file.ends_with("00-bad.conflist")), "{bad:?}");
        let clash = bad.iter().find(|(file, _)| file.ends_with("networks/mine.conflist"));
        assert!(clash.unwrap().1.ends_with("has a network \"mine\" already"), "{bad:?}");
        // The first of the folder is the pods'.
        let pods: Vec<_> = listed.networks.iter().map(|network| network.pods).collect();
        assert_eq!(pods, [true, false]);
        stage.node.finish().await;
    });
}

#[test]
fn the_default_network_is_made_when_it_is_attached_to() {
    on_a_node(async |stage: Stage| {
        let none = stage.attach(on(&["nowhere"], "a")).await.unwrap_err();
        assert_eq!(
            (none.code(), none.message()),
            (Code::NotFound, "network \"nowhere\": not found")
        );
        let pods = stage.attach(on(&[], "a")).await.unwrap_err();
        assert_eq!(pods.code(), Code::FailedPrecondition);
        assert!(pods.message().starts_with("no network for pods: none is configured in"), "{pods}");
        assert_eq!(stage.attachments().await, []);
        let (a, b) =
            tokio::join!(stage.attach(on(&["bridge"], "a")), stage.attach(on(&["bridge"], "b")));
        assert_eq!(a.unwrap().interfaces.len() + b.unwrap().interfaces.len(), 2);
        assert_eq!(stage.names().await, ["bridge"]);
        for id in ["a", "b"] {
            stage.detach(id).await.unwrap();
        }
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn readiness_follows_the_folder_and_what_plugins_say() {
    on_a_node(async |stage: Stage| {
        let ready = stage.ready().await;
        assert!(!ready.ready && ready.reason.contains("none is configured in"), "{ready:?}");
        let body = "[ $CNI_COMMAND = STATUS ] && ! [ -e fine ] && {\n\
            printf '{\"cniVersion\": \"1.1.0\", \"code\": 50, \"msg\": \"no daemon\"}'; exit 1; }\n\
            echo \"$prev\"; exit 0";
        let plugins = json!([stage.script("asked", body)]);
        stage.configure_as("10-pods.conflist", "pods", "1.1.0", &plugins);
        stage.knows("pods").await;
        let ready = stage.ready().await;
        assert!(!ready.ready && ready.reason.contains("no daemon"), "{ready:?}");
        fs_err::write(stage.path("fine"), "").unwrap();
        let ready = stage.ready().await;
        assert_eq!((ready.ready, &*ready.network, &*ready.reason), (true, "pods", ""));
        let pod = stage.attach(on(&[], "pod")).await.unwrap();
        assert_eq!(pod.interfaces[0].network, "pods");
        stage.detach("pod").await.unwrap();
        stage.node.finish().await;
    });
}
