//! What plugins are told: environment, input, and the operations of version 1.1.0.

use std::collections::BTreeMap;

use berth_cni::{AttachmentId, Capabilities, Network, Version};
use berth_errors::{Code, Coded};
use serde_json::{Value, json};

use crate::node::{DEBIAN, Node, on_a_node};

/// Notes its environment and input by command, and passes the result on.
const NOTES: &str = "env > env-$CNI_COMMAND\nprintf %s \"$conf\" > conf-$CNI_COMMAND\n\
    [ -e cache/results ] && cat cache/results/* > record-$CNI_COMMAND\n\
    [ $CNI_COMMAND = ADD ] && echo \"$prev\"\nexit 0";

fn environment(node: &Node, command: &str) -> BTreeMap<String, String> {
    let text = node.read(&format!("env-{command}"));
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let mut all: BTreeMap<_, _> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    // The shell's own.
    ["PWD", "OLDPWD", "SHLVL", "_"].iter().for_each(|name| drop(all.remove(*name)));
    all
}

fn conf(node: &Node, command: &str) -> Value {
    serde_json::from_str(&node.read(&format!("conf-{command}"))).unwrap()
}

#[test]
fn a_plugin_gets_the_variables_and_nothing_else() {
    on_a_node(async |node: Node| {
        let mut notes = node.script("notes", NOTES);
        notes["capabilities"] = json!({"mac": true});
        let network = node.network("1.0.0", json!([notes]));
        let mut container = node.container("c");
        container.netns_override = true;
        container.args = vec![("IgnoreUnknown".into(), "1".into()), ("K".into(), "v=w".into())];
        container.capabilities = Capabilities {
            mac: Some("02:00:00:00:00:01".into()),
            ips: vec!["10.0.0.9/8".into()],
            ..Capabilities::default()
        };
        node.engine.add(&network, &container).await.unwrap();
        let mut told = environment(&node, "ADD");
        assert_eq!(told.remove("PATH"), std::env::var("PATH").ok());
        let path = format!("{}:{DEBIAN}", node.path("bin").display());
        let netns = container.netns.clone().unwrap().display().to_string();
        let expected = [
            ("CNI_ARGS", "IgnoreUnknown=1;K=v=w"),
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", &netns),
            ("CNI_NETNS_OVERRIDE", "1"),
            ("CNI_PATH", &path),
        ];
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        assert_eq!(told, expected);
        let input = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "notes",
            "runtimeConfig": {"mac": "02:00:00:00:00:01"}
        });
        assert_eq!(conf(&node, "ADD"), input);
        // What is about to be done is on record before the plugin runs.
        let record: Value = serde_json::from_str(&node.read("record-ADD")).unwrap();
        assert_eq!((&record["pending"], &record["networkName"]), (&true.into(), &"net".into()));
        assert_eq!(record.get("result"), None);
        let record = fs_err::read(node.path("cache/results/net-c-eth0")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record["result"], json!({"cniVersion": "1.0.0"}));
        assert_eq!(record.get("pending"), None);
        // DEL is told what ADD was, whatever is said now; and a namespace only while it is there.
        container.args.clear();
        container.capabilities = Capabilities::default();
        container.netns_override = false;
        berth_netns::NetNs::at(&netns).remove().unwrap();
        node.engine.del(&network, &container).await.unwrap();
        let told = environment(&node, "DEL");
        assert_eq!(told["CNI_ARGS"], "IgnoreUnknown=1;K=v=w");
        assert_eq!(told["CNI_NETNS"], "");
        assert_eq!(told["CNI_NETNS_OVERRIDE"], "1");
        let input = conf(&node, "DEL");
        assert_eq!(input["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));
        assert_eq!(input["prevResult"], json!({"cniVersion": "1.0.0"}));
    });
}

#[test]
fn results_go_from_plugin_to_plugin_in_the_networks_version() {
    on_a_node(async |node: Node| {
        // Answers in a version of its own.
        let old = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.5/8","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0"}]}}"#;
        let first =
            node.script("first", &format!("[ $CNI_COMMAND = ADD ] && echo '{old}'\nexit 0"));
        for (version, ips) in [
            ("0.3.1", json!([{"version": "4", "address": "10.0.0.5/8", "gateway": "10.0.0.1"}])),
            ("1.1.0", json!([{"address": "10.0.0.5/8", "gateway": "10.0.0.1"}])),
        ] {
            let network = node.network(version, json!([first, node.script("notes", NOTES)]));
            let container = node.container(&format!("c{}", ips[0]["version"].is_null()));
            let outcome = node.engine.add(&network, &container).await.unwrap();
            let told = &conf(&node, "ADD")["prevResult"];
            let routes = json!([{"dst": "0.0.0.0/0"}]);
            assert_eq!(*told, json!({"cniVersion": version, "ips": ips, "routes": routes}));
            assert_eq!(outcome.result.to_value(outcome.version), *told);
            node.engine.del(&network, &container).await.unwrap();
            // DEL has results from 0.4.0.
            assert_eq!(conf(&node, "DEL").get("prevResult").is_some(), version == "1.1.0");
        }
    });
}

#[test]
fn a_collection_tells_what_is_valid_and_undoes_the_rest() {
    on_a_node(async |node: Node| {
        let notes = "echo $CNI_COMMAND $CNI_CONTAINERID >> log\n".to_owned() + NOTES;
        let plugins = json!([node.script("notes", &notes)]);
        let network = node.network("1.1.0", plugins.clone());
        let other = node.named("other", "1.1.0", plugins.clone());
        for name in ["stays", "goes"] {
            node.engine.add(&network, &node.container(name)).await.unwrap();
        }
        let elsewhere = berth_cni::Attachment { ifname: "eth1".into(), ..node.container("x") };
        node.engine.add(&other, &elsewhere).await.unwrap();
        let valid = [AttachmentId {
            network: "net".into(),
            container_id: "stays".into(),
            ifname: "eth0".into(),
        }];
        fs_err::remove_file(node.path("log")).unwrap();
        let mut shared = network.to_list();
        shared["disableGC"] = true.into();
        let shared = Network::parse(shared.to_string().as_bytes(), "x".as_ref()).unwrap();
        node.engine.gc(&shared, &valid).await.unwrap();
        assert_eq!(node.read("log"), "", "a shared network is not collected");
        node.engine.gc(&network, &valid).await.unwrap();
        assert_eq!(node.read("log"), "DEL goes\nGC\n");
        let told = json!([{"containerID": "stays", "ifname": "eth0"}]);
        assert_eq!(conf(&node, "GC")["cni.dev/valid-attachments"], told);
        assert_eq!(environment(&node, "GC").keys().filter(|k| k.starts_with("CNI_")).count(), 2);
        // Of a network that nobody configures any more.
        let left = node.engine.leftovers(&valid).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].id.network.as_str(), left[0].pending), ("other", false));
        node.engine.remove(&left[0].id).await.unwrap();
        node.engine.remove(&left[0].id).await.unwrap();
        assert_eq!(node.engine.leftovers(&valid).await.unwrap(), []);
        assert!(node.read("log").ends_with("DEL x\n"));
    });
}

#[test]
fn all_errors_of_a_collection_are_told_after_the_rest_was_done() {
    on_a_node(async |node: Node| {
        let body = "[ $CNI_COMMAND = ADD ] && { echo \"$prev\"; exit 0; }\n\
            echo \"{\\\"code\\\":5,\\\"msg\\\":\\\"$CNI_COMMAND $CNI_CONTAINERID\\\"}\"; exit 1";
        let plugins = json!([node.script("one", body), node.script("two", body)]);
        let network = node.network("1.1.0", plugins);
        for name in ["a", "b"] {
            node.engine.add(&network, &node.container(name)).await.unwrap();
        }
        let told = node.engine.gc(&network, &[]).await.unwrap_err().to_string();
        for part in ["\"two\" (DEL) failed: DEL a", "DEL b", "\"one\" (GC)", "\"two\" (GC)"] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(node.engine.leftovers(&[]).await.unwrap().len(), 2);
    });
}

#[test]
fn status_and_versions_are_asked() {
    on_a_node(async |node: Node| {
        let body = "[ $CNI_COMMAND = VERSION ] && { [ -e old ] && { echo '{\"code\":4,\"msg\":\"unknown CNI_COMMAND: VERSION\"}'; exit 1; }\n\
            echo '{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"1.1.0\",\"9.9.9\",\"0.4.0\"]}'; exit 0; }\n\
            [ -e down ] && { echo '{\"code\":50,\"msg\":\"no daemon\"}'; exit 1; }; exit 0";
        let network = node.network("1.1.0", json!([node.script("s", body)]));
        node.engine.validate(&network).await.unwrap();
        node.engine.status(&network).await.unwrap();
        fs_err::write(node.path("down"), "").unwrap();
        let error = node.engine.status(&network).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        let older = node.network("1.0.0", json!([{"type": "s"}]));
        node.engine.status(&older).await.unwrap();
        assert_eq!(node.engine.version("s").await.unwrap(), [Version::V0_4_0, Version::V1_1_0]);
        fs_err::write(node.path("old"), "").unwrap();
        assert_eq!(node.engine.version("s").await.unwrap(), [Version::V0_1_0]);
    });
}
