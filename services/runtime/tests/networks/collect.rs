//! What is left of attachments that nobody knows any more, by records of plugins and by their collection (GC).

use serde_json::{Value, json};

use crate::stage::{Stage, on, on_a_node};
use crate::support::until;

/// Notes what it is called with; collects unless it is refused.
const NOTES: &str = "echo $CNI_COMMAND $CNI_CONTAINERID >> log-$name\n\
    [ $CNI_COMMAND = ADD ] && echo \"$prev\"\n\
    [ $CNI_COMMAND = GC ] && {\n\
    printf %s \"$conf\" | jq -c '.[\"cni.dev/valid-attachments\"]' > valid-$name\n\
    [ -e refuse ] && { echo '{\"cniVersion\": \"1.1.0\", \"code\": 100, \"msg\": \"not today\"}'; exit 1; }\n\
    touch collected-$name; }\nexit 0";

fn notes(stage: &Stage) -> Value {
    stage.script("notes", &format!("name=$(printf %s \"$conf\" | jq -r .name)\n{NOTES}"))
}

/// A network of those made here whose plugins speak 1.1, as somebody may have them.
fn own(stage: &Stage, name: &str, plugins: &Value) {
    let list = json!({"cniVersion": "1.1.0", "name": name, "plugins": plugins});
    let folder = stage.path("lib/runtime/networks");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join(format!("{name}.conflist")), list.to_string()).unwrap();
}

fn valid(stage: &Stage, network: &str) -> Value {
    serde_json::from_str(&stage.read(&format!("valid-{network}"))).unwrap()
}

/// Makes what plugins note anew.
fn forget(stage: &Stage, network: &str) {
    for note in ["log", "valid", "collected"] {
        let _ = fs_err::remove_file(stage.path(&format!("{note}-{network}")));
    }
}

#[test]
fn nothing_is_left_of_an_attachment_whose_record_is_lost() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        stage.attach(on(&["web"], "a")).await.unwrap();
        let left = stage.left();
        for part in ["/.ipam/web/", "veth"] {
            assert!(left.iter().any(|left| left.contains(part)), "no {part}: {left:?}");
        }
        stage.node.kill().await;
        fs_err::remove_file(stage.path("lib/runtime/runtime.redb")).unwrap();
        stage.node.restart();
        stage.nothing_is_left().await;
        // Its network is there, and its addresses are free.
        stage.attach(on(&["web"], "b")).await.unwrap();
        stage.detach("b").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn plugins_of_own_networks_collect_and_others_are_not_asked() {
    on_a_node(async |mut stage: Stage| {
        let plugins = json!([notes(&stage)]);
        own(&stage, "own", &plugins);
        // By name it comes before.
        stage.configure_as("a.conflist", "another", "1.1.0", &plugins);
        stage.knows("another").await;
        stage.attach(on(&["own", "another"], "stays")).await.unwrap();
        stage.node.kill().await;
        forget(&stage, "own");
        stage.node.restart();
        let collected = stage.path("collected-own");
        until("it is collected", || collected.exists()).await;
        let of_own = json!([{"containerID": "test--stays", "ifname": "eth0"}]);
        assert_eq!(valid(&stage, "own"), of_own);
        assert_eq!(stage.read("log-own"), "GC\n");
        assert!(!stage.read("log-another").contains("GC"), "{}", stage.read("log-another"));

        // Those of the folder are this node's, too, if it is told so.
        stage.node.kill().await;
        let config = stage.read("berth.toml").replace("[network]", "[network]\ngc_conf_dir = true");
        fs_err::write(stage.path("berth.toml"), config).unwrap();
        forget(&stage, "own");
        forget(&stage, "another");
        stage.node.restart();
        for network in ["own", "another"] {
            let collected = stage.path(&format!("collected-{network}"));
            until("it is collected", || collected.exists()).await;
            assert_eq!(stage.read(&format!("log-{network}")), "GC\n");
        }
        let of_another = json!([{"containerID": "test--stays", "ifname": "eth1"}]);
        assert_eq!((valid(&stage, "own"), valid(&stage, "another")), (of_own, of_another));
        stage.detach("stays").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn a_collection_that_fails_harms_nobody() {
    on_a_node(async |mut stage: Stage| {
        // Debian's know the verb no more than the version.
        let plugins = json!([notes(&stage), {"type": "tuning"}]);
        own(&stage, "own", &plugins);
        let alone = json!([notes(&stage)]);
        own(&stage, "second", &alone);
        fs_err::write(stage.path("refuse"), "").unwrap();
        stage.attach(on(&["second"], "stays")).await.unwrap();
        stage.node.kill().await;
        forget(&stage, "second");
        stage.node.restart();
        let valid = stage.path("valid-second");
        until("it is asked", || valid.exists()).await;
        let stays = stage.attachment("stays").await.unwrap();
        assert!(!stays.down && stays.trouble.is_empty(), "{stays:?}");
        assert!(stage.read("log-own").ends_with("GC\n"), "{}", stage.read("log-own"));
        stage.attach(on(&["second"], "more")).await.unwrap();
        for id in ["more", "stays"] {
            stage.detach(id).await.unwrap();
        }
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}
