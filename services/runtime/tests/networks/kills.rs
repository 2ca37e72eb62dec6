//! The service ends at each point of each commit of attachments, and while a plugin works: what was acknowledged is
//! there afterwards, and nothing is left of what was not.

use std::collections::BTreeSet;

use serde_json::json;
use tonic::Status;

use crate::stage::{Stage, on, on_a_node};
use crate::support::until;

/// Does what is asked, unless `refuse` is there.
const SCRIPT: &str = "echo $CNI_COMMAND >> log\n\
    [ $CNI_COMMAND = DEL ] && [ -e refuse ] && {\n\
    printf '{\"cniVersion\": \"1.0.0\", \"code\": 100, \"msg\": \"not today\"}'; exit 1; }\n\
    [ $CNI_COMMAND = ADD ] && { touch held; while [ -e hold ]; do sleep 0.02; done; echo \"$prev\"; }\n\
    exit 0";

/// What is under way at each commit, and what a later run finds of it.
const COMMITS: [(&str, Doing, Found); 10] = [
    ("attachments.begin.before-commit", Doing::Attach, Found::Nothing),
    ("attachments.begin.after-commit", Doing::Attach, Found::Nothing),
    ("attachments.keep.before-commit", Doing::Attach, Found::Nothing),
    ("attachments.keep.after-commit", Doing::Attach, Found::Attached),
    ("attachments.leave.before-commit", Doing::Detach, Found::Attached),
    ("attachments.leave.after-commit", Doing::Detach, Found::Nothing),
    ("attachments.trouble.before-commit", Doing::DetachInVain, Found::Trouble),
    ("attachments.trouble.after-commit", Doing::DetachInVain, Found::Trouble),
    ("attachments.forget.before-commit", Doing::Detach, Found::Nothing),
    ("attachments.forget.after-commit", Doing::Detach, Found::Nothing),
];

#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Attach,
    Detach,
    DetachInVain,
}

#[derive(Clone, Copy, PartialEq)]
enum Found {
    Nothing,
    Attached,
    Trouble,
}

/// Ends the service at a point of what is done there.
async fn end_at(stage: &mut Stage, point: &str, doing: Doing) -> Result<(), Status> {
    let networks = ["web", "odd"];
    if doing != Doing::Attach {
        stage.attach(on(&networks, "a")).await.unwrap();
    }
    if doing == Doing::DetachInVain {
        fs_err::write(stage.path("refuse"), "").unwrap();
    }
    stage.node.kill().await;
    let trace = stage.path("trace").to_string_lossy().into_owned();
    stage.node.restart_with(&[
        ("BERTH_FAILPOINT", format!("{point}:abort")),
        ("BERTH_FAILPOINT_TRACE", trace),
    ]);
    stage.knows("odd").await;
    let done = match doing {
        Doing::Attach => stage.attach(on(&networks, "a")).await.map(drop),
        Doing::Detach | Doing::DetachInVain => stage.detach("a").await,
    };
    stage.node.died().await;
    stage.node.restart();
    done
}

#[test]
fn every_point_of_every_commit() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        let script = stage.script("script", SCRIPT);
        stage.configured("odd", &json!([script])).await;
        for (point, doing, found) in COMMITS {
            let refused = end_at(&mut stage, point, doing).await;
            assert!(refused.is_err(), "{point}: it was acknowledged");
            let attached = stage.attachment("a").await;
            match found {
                Found::Nothing => stage.nothing_is_left().await,
                Found::Attached => {
                    let there = attached.unwrap_or_else(|| panic!("{point}"));
                    assert_eq!(stage.attach(on(&["web", "odd"], "a")).await.unwrap(), there);
                    assert!(!there.down && there.interfaces.len() == 2, "{point}: {there:?}");
                }
                Found::Trouble => {
                    let end = tokio::time::Instant::now() + crate::support::SOON;
                    while !stage.attachment("a").await.unwrap().trouble.contains("not today") {
                        assert!(tokio::time::Instant::now() < end, "{point}: no trouble");
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                    fs_err::remove_file(stage.path("refuse")).unwrap();
                }
            }
            stage.detach("a").await.unwrap();
            stage.nothing_is_left().await;
            stage.attach(on(&["web", "odd"], "a")).await.unwrap();
            stage.detach("a").await.unwrap();
        }
        let passed = fs_err::read_to_string(stage.path("trace")).unwrap();
        let passed: BTreeSet<_> = passed.lines().collect();
        for (point, ..) in COMMITS {
            assert!(passed.contains(point), "{point} was not passed: {passed:?}");
        }
        stage.node.finish().await;
    });
}

#[test]
fn a_kill_while_a_plugin_works_leaves_nothing() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        let script = stage.script("script", SCRIPT);
        stage.configured("odd", &json!([script])).await;
        for networks in [["web", "odd"], ["odd", "web"]] {
            fs_err::write(stage.path("hold"), "").unwrap();
            let held = stage.path("held");
            tokio::select! {
                attached = stage.attach(on(&networks, "a")) => panic!("{attached:?}"),
                () = until("the plugin is held", || held.exists()) => {}
            }
            stage.node.kill().await;
            fs_err::remove_file(stage.path("hold")).unwrap();
            fs_err::remove_file(&held).unwrap();
            stage.node.restart();
            // Nobody asks again: it is undone all the same.
            stage.nothing_is_left().await;
            assert!(stage.read("log").ends_with("DEL\n"), "{}", stage.read("log"));
        }
        stage.node.finish().await;
    });
}

#[test]
fn who_asks_again_after_a_kill_gets_it_whole() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        let script = stage.script("script", SCRIPT);
        stage.configured("odd", &json!([script])).await;
        fs_err::write(stage.path("hold"), "").unwrap();
        let held = stage.path("held");
        tokio::select! {
            attached = stage.attach(on(&["web", "odd"], "a")) => panic!("{attached:?}"),
            () = until("the plugin is held", || held.exists()) => {}
        }
        stage.node.kill().await;
        fs_err::remove_file(stage.path("hold")).unwrap();
        stage.node.restart();
        stage.knows("odd").await;
        let a = stage.attach(on(&["web", "odd"], "a")).await.unwrap();
        assert!(!a.down && a.interfaces.len() == 2 && a.trouble.is_empty(), "{a:?}");
        stage.detach("a").await.unwrap();
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}
