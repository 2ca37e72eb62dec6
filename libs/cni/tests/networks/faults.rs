//! Plugins that hang, flood, talk nonsense or fail, behind a real one whose work is to be undone.

use std::time::{Duration, Instant};

use berth_cni::{Error, MAX_OUTPUT};
use berth_errors::{Code, Coded};
use serde_json::json;

use crate::node::{LONG, Node, lives, on_a_node, soon};

/// Fails an ADD with this as the second plugin; what it does otherwise is fine.
async fn fails(node: &Node, name: &str, body: &str, deadline: Duration) -> Error {
    let body = format!("[ $CNI_COMMAND = ADD ] || exit 0\n{body}");
    let network = node.network("1.0.0", json!([node.bridge(), node.script(name, &body)]));
    let container = node.container(name);
    let error = node.engine(deadline).add(&network, &container).await.unwrap_err();
    assert_eq!(node.left(), [""; 0], "{name}: {error}");
    assert!(!node.inside(&container).contains("eth0"), "{name}");
    error
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_started() {
    on_a_node(async |node: Node| {
        let body = "sleep 1000 & echo $! > helper; echo $$ > main; wait";
        // Long enough for a bridge on a slow machine.
        let error = fails(&node, "hang", body, Duration::from_secs(10)).await;
        assert_eq!(error.code(), Code::DeadlineExceeded);
        let told = "plugin \"hang\" (ADD) did not end within 10s and was killed";
        assert!(error.to_string().starts_with(told), "{error}");
        for name in ["main", "helper"] {
            let pid = node.read(name);
            assert!(!pid.is_empty());
            soon(&format!("{name} {pid} is gone"), || !lives(&pid)).await;
        }
    });
}

#[test]
fn one_whose_caller_gives_up_is_killed() {
    on_a_node(async |node: Node| {
        let body = "[ $CNI_COMMAND = ADD ] || exit 0\nsleep 1000 & echo $! > helper; wait";
        let network = node.network("1.0.0", json!([node.bridge(), node.script("slow", body)]));
        let container = node.container("c");
        let begun = soon("the plugin has begun", || !node.read("helper").is_empty());
        tokio::select! {
            added = node.engine.add(&network, &container) => panic!("{added:?}"),
            () = begun => {}
        }
        let pid = node.read("helper");
        soon("the helper is gone", || !lives(&pid)).await;
        let left = node.engine.leftovers(&[]).await.unwrap();
        assert!(left.len() == 1 && left[0].pending, "{left:?}");
        node.engine.del(&network, &container).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn what_is_no_answer_is_told_and_undone() {
    on_a_node(async |node: Node| {
        for (name, body, expected) in [
            ("words", "echo hello", "its result cannot be read: expected value"),
            ("nothing", "exit 0", "its result cannot be read: EOF"),
            ("half", "printf '{\"cniVersion\":'", "its result cannot be read: EOF"),
            ("version", "echo '{\"cniVersion\":\"7.0.0\"}'", "\"7.0.0\" is not known"),
            ("address", "echo '{\"ips\":[{\"address\":\"x\"}]}'", "is not ADDRESS/LENGTH"),
            ("silent", "exit 3", "it ended with exit status: 3 and said no error: \"\""),
            ("stderr", "echo oops >&2; exit 1", "said no error: \"oops\""),
            ("stdout", "echo no json; exit 1", "said no error: \"no json\""),
            ("killed", "kill -9 $$", "it ended with signal: 9"),
        ] {
            let error = fails(&node, name, body, LONG).await;
            let told = error.to_string();
            assert!(matches!(error, Error::Garbage { .. }), "{name}: {told}");
            assert!(told.starts_with(&format!("plugin \"{name}\" (ADD): ")), "{told}");
            assert!(told.contains(expected), "{name}: {told}");
        }
    });
}

#[test]
fn a_flood_is_bounded() {
    on_a_node(async |node: Node| {
        let ten = "dd if=/dev/zero bs=1M count=10 2>/dev/null";
        for (name, body) in
            [("flood", ten.to_owned()), ("endless", "exec cat /dev/zero".to_owned())]
        {
            let error = fails(&node, name, &body, LONG).await;
            assert!(matches!(error, Error::TooMuch { limit: MAX_OUTPUT, .. }), "{error}");
        }
        // On standard error it is dropped, and the answer counts.
        let body = format!("{ten} >&2; echo \"$prev\"");
        let network = node.network("1.0.0", json!([node.bridge(), node.script("loud", &body)]));
        let container = node.container("c");
        node.engine.add(&network, &container).await.unwrap();
        node.engine.del(&network, &container).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn what_a_plugin_says_of_its_failure_is_passed_on() {
    on_a_node(async |node: Node| {
        let error =
            r#"{"cniVersion":"1.0.0","code":11,"msg":"not now","details":"the pool is locked"}"#;
        let told = fails(&node, "later", &format!("echo '{error}'; exit 1"), LONG).await;
        let Error::Plugin { plugin, number, msg, details, .. } = &told else { panic!("{told}") };
        assert_eq!((plugin.as_str(), *number), ("later", 11));
        assert_eq!((msg.as_str(), details.as_str()), ("not now", "the pool is locked"));
        assert_eq!(told.code(), Code::Unavailable);
    });
}

#[test]
fn one_that_cannot_be_undone_either_stays_on_record_until_it_can() {
    on_a_node(async |node: Node| {
        let body = "[ -e good ] && { echo \"$prev\"; exit 0; }\n\
            echo \"{\\\"code\\\":100,\\\"msg\\\":\\\"$CNI_COMMAND fails\\\"}\"; exit 1";
        let network = node.network("1.0.0", json!([node.bridge(), node.script("broken", body)]));
        let container = node.container("c");
        let error = node.engine.add(&network, &container).await.unwrap_err();
        let Error::NotUndone { cause, undo } = &error else { panic!("{error}") };
        assert!(cause.to_string().contains("ADD fails"), "{cause}");
        assert!(undo.to_string().contains("DEL fails"), "{undo}");
        assert!(!node.left().is_empty());
        node.engine.del(&network, &container).await.unwrap_err();
        assert_eq!(node.engine.leftovers(&[]).await.unwrap().len(), 1);
        fs_err::write(node.path("good"), "").unwrap();
        // An ADD undoes what is left of the one before.
        node.engine.add(&network, &container).await.unwrap();
        node.engine.del(&network, &container).await.unwrap();
        assert_eq!(node.left(), [""; 0]);
    });
}

#[test]
fn a_child_that_holds_the_outputs_holds_up_nobody() {
    on_a_node(async |node: Node| {
        let body =
            "[ $CNI_COMMAND = ADD ] || exit 0\nsleep 1000 & echo $! > helper\necho \"$prev\"";
        let network = node.network("1.0.0", json!([node.bridge(), node.script("daemon", body)]));
        let container = node.container("c");
        let start = Instant::now();
        node.engine.add(&network, &container).await.unwrap();
        let pid = node.read("helper");
        assert!(lives(&pid), "what a plugin leaves behind is its own matter");
        // It has the lock's descriptor as well.
        node.engine.check(&network, &container).await.unwrap();
        node.engine.del(&network, &container).await.unwrap();
        assert!(start.elapsed() < LONG, "somebody was waited for");
        assert_eq!(node.left(), [""; 0]);
        let pid = pid.trim().parse().unwrap();
        berth_testkit::signal(pid, berth_testkit::Signal::KILL).unwrap();
    });
}

#[test]
fn what_is_not_there_fails_before_anything_is_done() {
    on_a_node(async |node: Node| {
        fs_err::create_dir(node.path("bin/folder")).unwrap();
        for kind in ["no-such", "folder"] {
            let network = node.network("1.0.0", json!([node.bridge(), {"type": kind}]));
            let error = node.engine.add(&network, &node.container(kind)).await.unwrap_err();
            assert!(matches!(&error, Error::NoPlugin { plugin, .. } if plugin == kind), "{error}");
            assert_eq!(node.engine.status(&network).await.unwrap_err().code(), Code::NotFound);
            assert_eq!(node.left(), [""; 0]);
        }
        // There, but no program: what was before it is undone as well as may be.
        fs_err::write(node.path("bin/text"), "no program").unwrap();
        let network = node.network("1.0.0", json!([{"type": "text"}]));
        let error = node.engine.add(&network, &node.container("text")).await.unwrap_err();
        assert!(error.to_string().starts_with("start plugin \"text\" (ADD): "), "{error}");
    });
}

#[test]
fn what_cannot_be_right_is_refused() {
    on_a_node(async |node: Node| {
        let network = node.network("1.0.0", json!([node.bridge()]));
        let good = node.container("good");
        let with = |change: &dyn Fn(&mut berth_cni::Attachment)| {
            let mut container = good.clone();
            change(&mut container);
            container
        };
        for bad in [
            with(&|c| c.container_id = "../x".into()),
            with(&|c| c.container_id.clear()),
            with(&|c| c.ifname = "a/b".into()),
            with(&|c| c.ifname = "sixteen-bytes-xx".into()),
            with(&|c| c.args = vec![("A".into(), "1;IP=2".into())]),
            with(&|c| c.netns = Some("relative".into())),
            with(&|c| c.netns = None),
        ] {
            let error = node.engine.add(&network, &bad).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        }
        assert_eq!(node.left(), [""; 0]);
    });
}
