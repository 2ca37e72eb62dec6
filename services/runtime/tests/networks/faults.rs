//! Plugins that fail or hang, and callers that go away.

use berth_proto::containerd::services::containers::v1 as containers;
use serde_json::json;
use tonic::Code;

use crate::stage::{Stage, on, on_a_node};
use crate::support::{ns, until};

/// Refuses what `refuse` names.
const REFUSES: &str = "echo $CNI_COMMAND >> log\n\
    [ \"$(cat refuse)\" = $CNI_COMMAND ] && {\n\
    printf '{\"cniVersion\": \"1.0.0\", \"code\": 100, \"msg\": \"not today\"}'; exit 1; }\n\
    [ $CNI_COMMAND = ADD ] && echo \"$prev\"; exit 0";
/// Says that it has begun, and goes on when it may.
const HELD: &str = "[ $CNI_COMMAND = ADD ] && {\n\
    touch held; while ! [ -e go ]; do sleep 0.02; done; echo \"$prev\"; }\nexit 0";

#[test]
fn what_a_plugin_refuses_to_make_is_undone_and_told() {
    on_a_node(async |stage: Stage| {
        stage.create("web").await.unwrap();
        let refuses = stage.script("refuses", REFUSES);
        stage.configured("odd", &json!([refuses])).await;
        fs_err::write(stage.path("refuse"), "ADD").unwrap();
        let refused = stage.attach(on(&["web", "odd"], "a")).await.unwrap_err();
        let says = "attach a to network \"odd\": plugin \"refuses\" (ADD) failed: not today (code 100): unknown";
        assert_eq!((refused.code(), refused.message()), (Code::Unknown, says));
        stage.nothing_is_left().await;
        // Its plugins are missing.
        stage.configured("none", &json!([{"type": "no-such-plugin"}])).await;
        let missing = stage.attach(on(&["web", "none"], "a")).await.unwrap_err();
        assert!(missing.message().contains("find plugin \"no-such-plugin\""), "{missing}");
        stage.nothing_is_left().await;
        fs_err::write(stage.path("refuse"), "").unwrap();
        stage.attach(on(&["web", "odd"], "a")).await.unwrap();
        stage.detach("a").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn what_a_plugin_refuses_to_undo_is_tried_again_until_it_holds() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        let refuses = stage.script("refuses", REFUSES);
        stage.configured("odd", &json!([refuses])).await;
        fs_err::write(stage.path("refuse"), "DEL").unwrap();
        stage.node.container("r.v1", "a", "true").await;
        stage.attach(on(&["web", "odd"], "a")).await.unwrap();
        let refused = stage.detach("a").await.unwrap_err();
        let says = "detach a: from network \"odd\": plugin \"refuses\" (DEL) failed: not today (code 100): unknown";
        assert_eq!(refused.message(), says);
        let trouble = stage.attachment("a").await.unwrap().trouble;
        assert_eq!(trouble, says);
        // The other network's part holds, and the namespace waits.
        assert!(!stage.left().iter().any(|left| left.contains("veth")));
        let again = stage.attach(on(&["web", "odd"], "a")).await.unwrap_err();
        assert_eq!(again.message(), says);
        let asked = || stage.read("log").matches("DEL").count();
        let before = asked();
        until("it is tried again", || asked() > before).await;
        // Also by the next run.
        stage.node.kill_and_restart().await;
        let before = stage.read("log").matches("DEL").count();
        let log = stage.path("log");
        let now = || fs_err::read_to_string(&log).unwrap().matches("DEL").count();
        until("it is tried again after a restart", || now() > before).await;
        assert_eq!(stage.attachment("a").await.unwrap().trouble, says);
        // Nobody who deletes a container waits for it.
        let request = containers::DeleteContainerRequest { id: "a".into() };
        stage.node.containers().delete(ns(request)).await.unwrap();
        fs_err::write(stage.path("refuse"), "").unwrap();
        stage.nothing_is_left().await;
        stage.attach(on(&["web", "odd"], "a")).await.unwrap();
        stage.detach("a").await.unwrap();
        stage.node.finish().await;
    });
}

#[test]
fn an_attempt_that_cannot_be_undone_is_undone_later() {
    on_a_node(async |stage: Stage| {
        let body = "[ $CNI_COMMAND = ADD ] || [ -e stuck ] && {\n\
            printf '{\"cniVersion\": \"1.0.0\", \"code\": 100, \"msg\": \"no\"}'; exit 1; }\nexit 0";
        let never = stage.script("never", body);
        stage.configured("odd", &json!([never])).await;
        fs_err::write(stage.path("stuck"), "").unwrap();
        let refused = stage.attach(on(&["odd"], "a")).await.unwrap_err();
        assert!(refused.message().contains("\"never\" (ADD) failed: no"), "{refused}");
        assert!(refused.message().contains("\"never\" (DEL) failed: no"), "{refused}");
        let left = stage.attachment("a").await.unwrap();
        assert!(left.trouble.contains("\"never\" (DEL)"), "{left:?}");
        fs_err::remove_file(stage.path("stuck")).unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn a_plugin_that_hangs_costs_its_deadline_and_holds_up_nobody_else() {
    on_a_node(async |mut stage: Stage| {
        let config = stage.path("berth.toml");
        let text = fs_err::read_to_string(&config).unwrap();
        fs_err::write(&config, text.replace("\"30s\"", "\"2s\"")).unwrap();
        stage.node.kill_and_restart().await;
        stage.configured("fine", &json!([{"type": "loopback"}])).await;
        let hangs = "[ $CNI_COMMAND = ADD ] && { touch held; exec sleep 600; }; exit 0";
        let hangs = stage.script("hangs", hangs);
        stage.configured("odd", &json!([hangs])).await;
        let held = stage.path("held");
        let beside = async {
            until("the plugin hangs", || held.exists()).await;
            stage.attach(on(&["fine"], "b")).await.unwrap();
        };
        let (hung, ()) = tokio::join!(stage.attach(on(&["odd"], "a")), beside);
        let hung = hung.unwrap_err();
        assert_eq!(hung.code(), Code::DeadlineExceeded);
        assert!(hung.message().contains("plugin \"hangs\" (ADD) did not end within 2s"), "{hung}");
        stage.detach("b").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}

#[test]
fn a_caller_that_goes_away_leaves_it_to_its_end() {
    on_a_node(async |stage: Stage| {
        stage.create("web").await.unwrap();
        let held = stage.script("held", HELD);
        stage.configured("odd", &json!([held])).await;
        let path = stage.path("held");
        tokio::select! {
            attached = stage.attach(on(&["web", "odd"], "a")) => panic!("{attached:?}"),
            () = until("the plugin is held", || path.exists()) => {}
        }
        // Nobody waits now. Who asks for the same joins, and it is detached under way.
        let again = stage.attach(on(&["web", "odd"], "a"));
        let go = async {
            tokio::task::yield_now().await;
            fs_err::write(stage.path("go"), "").unwrap();
        };
        let (again, ()) = tokio::join!(again, go);
        assert_eq!(again.unwrap().interfaces.len(), 2);
        for file in ["held", "go"] {
            fs_err::remove_file(stage.path(file)).unwrap();
        }
        let b = stage.attach(on(&["web", "odd"], "b"));
        let detached = async {
            until("the plugin is held", || path.exists()).await;
            let detached = stage.detach("b");
            let go = async {
                // On record before anything is waited for.
                let left = stage.path("go");
                tokio::task::yield_now().await;
                fs_err::write(left, "").unwrap();
            };
            tokio::join!(detached, go).0
        };
        let (attached, detached) = tokio::join!(b, detached);
        detached.unwrap();
        // It was either done already when it was detached, or is told of it.
        if let Err(error) = attached {
            assert_eq!(
                (error.code(), error.message()),
                (Code::Aborted, "b was detached meanwhile: aborted")
            );
        }
        assert_eq!(stage.attachment("b").await, None);
        stage.detach("a").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}
