//! `kill -9` in the midst of an ADD: the next run undoes all of it.

use std::path::PathBuf;
use std::time::Duration;

use berth_cni::{Capabilities, Network, PortMapping};
use berth_lifecycle::child;
use serde_json::{Value, json};

use crate::node::{self, LONG, Node, lives, on_a_node, soon};

/// What the process that is to be killed is told: a folder with `network` and `container`.
const CHILD: &str = "BERTH_CNI_CHILD";

/// Says that it has begun, and goes on when it may; also when the test is over.
const HELD: &str = "echo begin $CNI_COMMAND >> log\n\
    [ $CNI_COMMAND = ADD ] && { echo $$ > held; while [ -d bin ] && ! [ -e go ]; do sleep 0.02; done; }\n\
    echo end $CNI_COMMAND >> log; [ $CNI_COMMAND = ADD ] && echo \"$prev\"; exit 0";

fn ports() -> Capabilities {
    let protocol = "tcp".to_owned();
    let port = PortMapping { host_port: 8080, container_port: 80, protocol, host_ip: None };
    Capabilities { port_mappings: vec![port], ..Capabilities::default() }
}

/// Not a test by itself: the process that is killed.
#[test]
fn the_one_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let network = Network::read(&dir.join("network.conflist")).unwrap();
    let container = berth_cni::Attachment {
        container_id: "c".into(),
        netns: Some(dir.join("netns/c")),
        ifname: "eth0".into(),
        capabilities: ports(),
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = node::engine(&dir, LONG);
    runtime.block_on(async {
        loop {
            fs_err::write(dir.join("begun"), "").unwrap();
            engine.add(&network, &container).await.unwrap();
            engine.del(&network, &container).await.unwrap();
        }
    });
}

/// A process that adds a container and deletes it, for ever.
fn busy(node: &Node, plugins: Value) -> tokio::process::Child {
    let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins}).to_string();
    fs_err::write(node.path("network.conflist"), list).unwrap();
    let mut command = child::command(std::env::current_exe().unwrap());
    command.args(["--exact", "kills::the_one_that_is_killed", "--nocapture"]);
    command.env(CHILD, node.dir.path()).spawn().unwrap()
}

/// Has a process add a container, and kills it when the plugin that is held has begun.
async fn killed(node: &Node, plugins: Value) -> Network {
    let mut running = busy(node, plugins);
    let begun = soon("the plugin is held", || !node.read("held").is_empty());
    tokio::select! {
        ended = running.wait() => panic!("{ended:?}"),
        () = begun => {}
    }
    running.kill().await.unwrap();
    Network::read(&node.path("network.conflist")).unwrap()
}

#[test]
fn whatever_plugin_it_was_at_the_next_run_undoes_it() {
    on_a_node(async |node: Node| {
        let held = node.script("held", HELD);
        for at in 0..4 {
            let container = node.container("c");
            let mut plugins = vec![
                node.bridge(),
                json!({"type": "firewall", "backend": "iptables"}),
                json!({"type": "portmap", "capabilities": {"portMappings": true}}),
            ];
            // A bridge does not take what another has said before it.
            plugins.insert(at, held.clone());
            let network = killed(&node, plugins.into()).await;
            let before = node.left();
            assert_eq!(before.iter().any(|l| l.starts_with("link veth")), at > 0, "{before:?}");
            assert_eq!(before.iter().any(|l| l.contains("DNAT")), at > 2, "{before:?}");
            let engine = node.engine(LONG);
            let left = engine.leftovers(&[]).await.unwrap();
            assert!(left.len() == 1 && left[0].pending, "{left:?}");
            assert_eq!(left[0].netns, container.netns);
            // The plugin still works. It is waited for.
            let mut collected = Box::pin(engine.gc(&network, &[]));
            let early = tokio::time::timeout(Duration::from_millis(300), &mut collected).await;
            assert!(early.is_err(), "{early:?}");
            assert!(lives(&node.read("held")));
            assert_eq!(node.read("log"), "begin ADD\n");
            fs_err::write(node.path("go"), "").unwrap();
            collected.await.unwrap();
            assert_eq!(node.left(), [""; 0], "at {at}");
            assert!(!node.inside(&container).contains("eth0"));
            assert_eq!(node.read("log"), "begin ADD\nend ADD\nbegin DEL\nend DEL\n");
            for name in ["held", "log", "go"] {
                fs_err::remove_file(node.path(name)).unwrap();
            }
            berth_netns::NetNs::at(container.netns.unwrap()).remove().unwrap();
        }
    });
}

#[test]
fn whatever_moment_it_was_the_next_run_undoes_it() {
    on_a_node(async |node: Node| {
        let plugins = json!([
            node.bridge(),
            {"type": "firewall", "backend": "iptables"},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]);
        let container = node.container("c");
        let mut pending = 0;
        for moment in [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] {
            let mut running = busy(&node, plugins.clone());
            soon("it has begun", || node.path("begun").exists()).await;
            // Somewhere in what follows.
            tokio::time::sleep(Duration::from_millis(moment * 53)).await;
            assert_eq!(running.try_wait().unwrap(), None, "it has ended by itself");
            running.kill().await.unwrap();
            fs_err::remove_file(node.path("begun")).unwrap();
            let network = Network::read(&node.path("network.conflist")).unwrap();
            let engine = node.engine(LONG);
            pending += engine.leftovers(&[]).await.unwrap().iter().filter(|l| l.pending).count();
            engine.gc(&network, &[]).await.unwrap();
            assert_eq!(node.left(), [""; 0], "at {moment}");
            assert!(!node.inside(&container).contains("eth0"), "at {moment}");
        }
        assert!(pending > 0, "none was in the midst");
    });
}

#[test]
fn a_plugin_that_never_ends_is_not_waited_for_for_ever() {
    on_a_node(async |node: Node| {
        let container = node.container("c");
        let network = killed(&node, json!([node.bridge(), node.script("held", HELD)])).await;
        let pid = node.read("held");
        let busy = node.engine(Duration::from_millis(200)).add(&network, &container).await;
        let busy = busy.unwrap_err().to_string();
        assert!(busy.contains("a plugin that outlived its runtime"), "{busy}");
        assert!(lives(&pid));
        // DEL has waited long enough then. Each plugin has as long.
        node.engine(Duration::from_secs(10)).gc(&network, &[]).await.unwrap();
        assert!(lives(&pid));
        berth_testkit::signal(pid.trim().parse().unwrap(), berth_testkit::Signal::KILL).unwrap();
        soon("the plugin is gone", || !lives(&pid)).await;
        // Its lock file is the next one's.
        node.engine.del(&network, &container).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}
