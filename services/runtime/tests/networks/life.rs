//! What becomes of attachments: asked for again, a container that is deleted, a machine that is started anew.

use berth_netns::NetNs;
use berth_proto::berth::node::v1 as wire;
use berth_proto::berth::node::v1::namespace_member_client::NamespaceMemberClient;
use berth_proto::berth::node::v1::runtime_check_client::RuntimeCheckClient;
use berth_proto::containerd::services::containers::v1 as containers;
use tonic::Code;

use crate::stage::{Stage, addresses, inside, on, on_a_node};
use crate::support::{ns, until};

#[test]
fn the_same_request_is_answered_with_what_there_is() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        let request = || {
            let mut request = on(&["web"], "a");
            request.args = [("IgnoreUnknown".to_owned(), "1".to_owned())].into();
            request
        };
        let (first, second) = tokio::join!(stage.attach(request()), stage.attach(request()));
        let first = first.unwrap();
        assert_eq!(first, second.unwrap());
        assert_eq!(stage.attachments().await, std::slice::from_ref(&first));
        assert_eq!(addresses(&first, 0).len(), 2);
        let mut other = request();
        other.hostname = "x".into();
        other.hosts = vec![wire::HostsEntry { address: "1.2.3.4".into(), names: vec!["y".into()] }];
        let refused = stage.attach(other).await.unwrap_err();
        let says = "a is attached already, with other hostname, hosts: already exists";
        assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, says));
        stage.node.kill_and_restart().await;
        // Files that somebody has removed come again.
        fs_err::remove_file(&first.hosts_file).unwrap();
        assert_eq!(stage.attach(request()).await.unwrap(), first);
        assert!(fs_err::read_to_string(&first.hosts_file).unwrap().contains("\ta\n"));
        // Other namespaces have names of their own.
        let elsewhere = "elsewhere".parse().unwrap();
        let theirs = berth_grpc::with_namespace(request(), &elsewhere);
        stage.client().attach(theirs).await.unwrap();
        assert_eq!(stage.attachments().await.len(), 2);
        let mut member = NamespaceMemberClient::new(stage.node.channel.clone());
        let usage = wire::NamespaceUsageRequest { namespace: "elsewhere".into() };
        let counts = member.usage(usage).await.unwrap().into_inner().counts;
        assert_eq!(counts, [("network attachments".to_owned(), 1)].into());
        let detach = wire::DetachRequest { id: "a".into() };
        stage.client().detach(berth_grpc::with_namespace(detach, &elsewhere)).await.unwrap();
        for _ in 0..2 {
            stage.detach("a").await.unwrap();
        }
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn what_may_not_be_asked_for_is_refused_before_anything_is_done() {
    on_a_node(async |stage: Stage| {
        stage.create("web").await.unwrap();
        stage.configured("plain", &serde_json::json!([{"type": "loopback"}])).await;
        let port = |host_port| wire::PublishedPort { host_port, port: 80, ..Default::default() };
        let mut address = on(&["plain"], "a");
        address.networks[0].addresses = vec!["10.0.0.1".into()];
        let with_ports = |name: &str, ports: Vec<wire::PublishedPort>| wire::AttachRequest {
            ports,
            ..on(&[name], "a")
        };
        let host = wire::HostsEntry { address: "x".into(), names: vec!["x".into()] };
        for (request, code, says) in [
            (on(&["web"], "a/b"), Code::InvalidArgument, "id: "),
            (on(&["web"; 17], "a"), Code::InvalidArgument, "17 networks"),
            (with_ports("web", vec![port(65536)]), Code::InvalidArgument, "port 65536"),
            (with_ports("web", (1..4098).map(port).collect()), Code::InvalidArgument, "4097 ports"),
            (with_ports("plain", vec![port(1)]), Code::FailedPrecondition, "no plugin for ports"),
            (address, Code::FailedPrecondition, "no plugin for addresses"),
            (
                wire::AttachRequest { hosts: vec![host], ..on(&["web"], "a") },
                Code::InvalidArgument,
                "address \"x\" is none",
            ),
            (
                wire::AttachRequest { capabilities: "[]".into(), ..on(&["web"], "a") },
                Code::InvalidArgument,
                "capabilities",
            ),
        ] {
            let refused = stage.attach(request).await.unwrap_err();
            assert_eq!(refused.code(), code, "{refused}");
            assert!(refused.message().contains(says), "{refused}");
        }
        let nameless = stage.client().attach(tonic::Request::new(on(&["web"], "a"))).await;
        assert_eq!(nameless.unwrap_err().code(), Code::FailedPrecondition);
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn a_container_that_is_deleted_is_detached() {
    on_a_node(async |stage: Stage| {
        stage.create("web").await.unwrap();
        for id in ["kept", "gone"] {
            stage.node.container("r.v1", id, "true").await;
            stage.attach(on(&["web"], id)).await.unwrap();
        }
        let request = containers::DeleteContainerRequest { id: "gone".into() };
        stage.node.containers().delete(ns(request)).await.unwrap();
        // The name can be had again at once, and what is attached anew stays.
        let again = stage.attach(on(&["web"], "gone")).await.unwrap();
        assert!(inside(&again).is_pinned().unwrap());
        let request = containers::DeleteContainerRequest { id: "gone".into() };
        // No record of a container: nothing happens to what is attached under its name.
        stage.node.containers().delete(ns(request)).await.unwrap_err();
        assert!(stage.attachment("gone").await.is_some_and(|gone| !gone.down));
        stage.detach("gone").await.unwrap();
        assert!(stage.attachment("kept").await.is_some_and(|kept| !kept.down));
        let request = containers::DeleteContainerRequest { id: "kept".into() };
        stage.node.containers().delete(ns(request)).await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn after_a_start_of_the_machine_it_is_made_anew() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        for id in ["a", "b", "gone"] {
            stage.attach(on(&["web"], id)).await.unwrap();
        }
        let shim = crate::support::shims().pop().unwrap();
        stage.node.container(&shim, "b", "true").await;
        let before = stage.attachment("a").await.unwrap();
        stage.node.kill().await;
        // The machine forgets all that is not on disk.
        for attachment in ["a", "b", "gone"] {
            let pin = stage.path("run/runtime/.netns").join(format!("test--{attachment}"));
            NetNs::at(pin).remove().unwrap();
        }
        for folder in [".netns", ".networks"] {
            fs_err::remove_dir_all(stage.path("run/runtime").join(folder)).unwrap();
        }
        for tables in ["iptables", "ip6tables"] {
            for (table, all) in [("nat", "-F"), ("nat", "-X"), ("filter", "-F"), ("filter", "-X")] {
                berth_testkit::run(&format!("{tables} -t {table} {all}")).unwrap();
            }
        }
        berth_testkit::run("ip link del br-web").unwrap();
        stage.node.restart();
        assert!(stage.attachments().await.iter().all(|attachment| attachment.down));
        let again = stage.attach(on(&["web"], "a")).await.unwrap();
        assert!(!again.down);
        assert_eq!((&again.netns, &again.hosts_file), (&before.netns, &before.hosts_file));
        assert!(!fs_err::read_to_string(&again.hosts_file).unwrap().is_empty());
        stage.detach("gone").await.unwrap();
        assert!(stage.attachment("b").await.unwrap().down);
        // So does whoever starts the container, without a word of networks.
        stage.node.create("b").await.unwrap();
        assert!(!stage.attachment("b").await.unwrap().down);
        let hosts = fs_err::read_to_string(&again.hosts_file).unwrap();
        assert!(hosts.contains("\tb\n"), "{hosts}");
        stage.node.start_task("b", "").await.unwrap();
        stage.node.wait("b", "").await.unwrap();
        stage.node.gone("b").await;
        // Its end leaves it attached.
        assert!(!stage.attachment("b").await.unwrap().down);
        for id in ["a", "b"] {
            stage.detach(id).await.unwrap();
        }
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn what_has_no_record_is_removed_at_a_start() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        let kept = stage.attach(on(&["web"], "kept")).await.unwrap();
        stage.node.kill().await;
        let pins = stage.path("run/runtime/.netns");
        NetNs::make(&pins, "test--nobody").unwrap();
        fs_err::write(pins.join("half"), "").unwrap();
        let files = stage.path("run/runtime/.networks/test/nobody");
        fs_err::create_dir_all(&files).unwrap();
        // As of an attachment that was cut off before its record was written, which cannot be, and of a store
        // that is older than what lies beside it, which can.
        let results = stage.path("lib/runtime/cni/results");
        let text = fs_err::read_to_string(results.join("web-test--kept-eth0")).unwrap();
        let text = text.replace("test--kept", "test--nobody");
        fs_err::write(results.join("web-test--nobody-eth0"), text).unwrap();
        stage.node.restart();
        let rest = || {
            let rest = [pins.join("test--nobody"), pins.join("half"), files.clone()];
            let record = results.join("web-test--nobody-eth0");
            rest.iter().chain([&record]).filter(|path| path.exists()).count()
        };
        until("nothing is left of what has no record", || rest() == 0).await;
        assert_eq!(stage.attach(on(&["web"], "kept")).await.unwrap(), kept);
        assert!(inside(&kept).is_pinned().unwrap());
        stage.detach("kept").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

/// The kinds of findings, sorted.
async fn checked(stage: &Stage, repair: bool) -> Vec<String> {
    let mut client = RuntimeCheckClient::new(stage.node.channel.clone());
    let request = wire::CheckRequest { repair, ..Default::default() };
    let answer = client.check(request).await.unwrap().into_inner();
    let mut kinds: Vec<_> = answer.findings.into_iter().map(|finding| finding.kind).collect();
    kinds.sort();
    kinds
}

#[test]
fn a_check_tells_what_is_on_one_side_only() {
    on_a_node(async |stage: Stage| {
        // Not one with a way out: of a namespace that is gone the bridge's plugin forgets a rule for that.
        let name = "web".to_owned();
        let web = wire::CreateNetworkRequest { name, internal: true, ..Default::default() };
        stage.create_with(web).await.unwrap();
        for id in ["a", "b", "c"] {
            stage.attach(on(&["web"], id)).await.unwrap();
        }
        assert_eq!(checked(&stage, false).await, [""; 0]);
        let pins = stage.path("run/runtime/.netns");
        NetNs::make(&pins, "test--nobody").unwrap();
        let results = stage.path("lib/runtime/cni/results");
        let text = fs_err::read_to_string(results.join("web-test--a-eth0")).unwrap();
        let text = text.replace("test--a", "test--nobody");
        fs_err::write(results.join("web-test--nobody-eth0"), text).unwrap();
        let found = ["interface without attachment", "network namespace without attachment"];
        assert_eq!(checked(&stage, false).await, found);
        assert_eq!(checked(&stage, true).await, found);
        assert_eq!(checked(&stage, false).await, [""; 0]);
        NetNs::at(pins.join("test--b")).remove().unwrap();
        let record = results.join("web-test--c-eth0");
        let kept = fs_err::read(&record).unwrap();
        fs_err::remove_file(&record).unwrap();
        let found = ["attachment without interface", "attachment without network namespace"];
        assert_eq!(checked(&stage, true).await, found);
        fs_err::write(&record, kept).unwrap();
        // Whoever asks for it again has it made anew.
        stage.attach(on(&["web"], "b")).await.unwrap();
        assert_eq!(checked(&stage, false).await, [""; 0]);
        for id in ["a", "b", "c"] {
            stage.detach(id).await.unwrap();
        }
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}
