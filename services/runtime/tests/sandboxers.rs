//! Sandbox controllers that are processes of others. The other process is a second runtime service,
//! whose own controller runs sandboxes by real shims.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Instant;

use berth_lifecycle::Tasks;
use berth_proto::containerd::services::introspection::v1 as introspection;
use introspection::introspection_client::IntrospectionClient;
use support::sandbox::{Pod, SHIM, ours_of, theirs_of, two};
use support::{Node, until};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_lives_there_and_its_containers_join_it() {
    let (mut ours, theirs) = two("20s").await;
    let (here, there) = (ours_of(&ours, "psb1"), theirs_of(&theirs, "psb1"));
    here.make().await;
    let again = here.create().await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists, "{again}");
    let started = here.start().await.unwrap();
    let known = there.status().await.unwrap();
    assert_eq!((known.state.as_str(), &known.address), ("SANDBOX_READY", &started.address));
    assert!(started.address.contains("unix://") && started.version == 3, "{started:?}");
    assert_eq!(here.status().await.unwrap().state, "SANDBOX_READY");
    assert_eq!(here.platform().await.unwrap().platform.unwrap().os, "linux");
    here.update_labels().await.unwrap();
    // What it has no container for it does not measure.
    for measured in [here.metrics().await.unwrap(), there.metrics().await.unwrap()] {
        let measured = measured.metrics.unwrap();
        assert!(measured.id == "psb1" && measured.data.is_none(), "{measured:?}");
    }

    here.member(&ours, "psb1c1").await;
    ours.create("psb1c1").await.unwrap();
    ours.start_task("psb1c1", "").await.unwrap();
    assert_eq!(ours.shims_of("psb1c1"), Vec::<i32>::new());
    let bootstrap = std::fs::read(ours.bundle("psb1c1").join("bootstrap.json")).unwrap();
    let bootstrap: serde_json::Value = serde_json::from_slice(&bootstrap).unwrap();
    assert!(started.address.ends_with(bootstrap["address"].as_str().unwrap()), "{bootstrap}");
    assert_eq!(here.stop().await.unwrap_err().code(), Code::FailedPrecondition);

    // It is there, and waited for, after a restart of each.
    ours.kill_and_restart().await;
    let here = ours_of(&ours, "psb1");
    ours.kill_task("psb1c1", "", 9).await.unwrap();
    assert_eq!(ours.wait("psb1c1", "").await.unwrap(), 137);
    ours.delete("psb1c1").await.unwrap();
    let (waited, stopped) = tokio::join!(here.wait(), here.stop());
    stopped.unwrap();
    assert_eq!(waited.unwrap().exit_status, 0);
    assert_eq!(here.wait().await.unwrap().exit_status, 0);
    here.shutdown().await.unwrap();
    assert_eq!(here.shutdown().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(here.wait().await.unwrap_err().code(), Code::NotFound);
    until("the shim is gone", || theirs.shims_of("psb1").is_empty()).await;
    assert_eq!(ours.events_until("psb1", "sandbox exit 0").await, ["sandbox exit 0"]);

    // Again, its whole life told by one run.
    here.create().await.unwrap();
    here.start().await.unwrap();
    here.shutdown().await.unwrap();
    let told = ours.events_until("psb1", "sandbox exit 0").await;
    let life = ["sandbox create", "sandbox start", "sandbox exit 0"];
    assert_eq!(told[1..], life, "{told:?}");
    ours.finish().await;
    theirs.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_is_told_so_and_stalls_nobody_else() {
    let (ours, theirs) = two("20s").await;
    let here = ours_of(&ours, "psb2");
    here.make().await;
    here.start().await.unwrap();
    theirs.stop().await;
    here.member(&ours, "psb2c1").await;
    // None of them changes anything once it goes on.
    let joining = ours.create("psb2c1");
    let hanging = async { tokio::join!(here.status(), here.start(), here.platform(), joining) };
    let mut hanging = Box::pin(hanging);
    let own = async {
        let own = Pod { sandboxer: SHIM.into(), ..ours_of(&ours, "psb3") };
        own.make().await;
        own.start().await.unwrap();
        own.shutdown().await.unwrap();
    };
    tokio::select! {
        biased;
        given_up = &mut hanging => panic!("ours waited for theirs: {given_up:?}"),
        () = own => {}
    }
    let (status, start, platform, joined) = hanging.await;
    let socket = theirs.folder.path().join("run/runtime.sock").display().to_string();
    let (status, start) = (status.unwrap_err(), start.unwrap_err());
    for refused in [status, start, platform.unwrap_err(), joined.unwrap_err()] {
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
        let said = refused.message();
        assert!(said.contains("sandbox controller theirs did not end"), "{said}");
        assert!(said.contains(&format!("on {socket}")), "{said}");
    }
    theirs.go_on();
    assert_eq!(here.status().await.unwrap().state, "SANDBOX_READY");
    here.shutdown().await.unwrap();
    ours.finish().await;
    theirs.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlives_the_death_of_the_controller() {
    let (ours, mut theirs) = two("20s").await;
    let here = ours_of(&ours, "psb4");
    here.make().await;
    here.start().await.unwrap();
    let waiting = ours_of(&ours, "psb4");
    let waiting = Tasks::new().spawn("wait", async move { waiting.wait().await });
    theirs.kill().await;
    let away = here.status().await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
    assert!(away.message().contains("sandbox controller theirs"), "{away}");
    theirs.restart();
    until_ready(&here).await;
    assert!(!waiting.is_finished());
    here.stop().await.unwrap();
    let waited = tokio::time::timeout(support::SOON, waiting).await;
    assert_eq!(waited.expect("nobody told the end").unwrap().unwrap().exit_status, 0);
    here.shutdown().await.unwrap();
    let told = ours.events_until("psb4", "sandbox exit 0").await;
    assert_eq!(told, ["sandbox create", "sandbox start", "sandbox exit 0"]);
    ours.finish().await;
    theirs.finish().await;
}

/// Until the controller knows the sandbox again.
async fn until_ready(pod: &Pod) {
    let end = Instant::now() + support::SOON;
    while !pod.status().await.is_ok_and(|status| status.state == "SANDBOX_READY") {
        assert!(Instant::now() < end, "it does not come back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_listed_as_it_is_configured_and_no_other_name_is_known() {
    let (ours, theirs) = two("20s").await;
    let mut client = IntrospectionClient::new(ours.channel.clone());
    let filters = vec!["type==io.containerd.sandbox.controller.v1".to_owned()];
    let listed = client.plugins(introspection::PluginsRequest { filters }).await.unwrap();
    let listed = listed.into_inner().plugins;
    let ids: Vec<_> = listed.iter().map(|plugin| plugin.id.as_str()).collect();
    assert_eq!(ids, ["shim", "theirs"]);
    let found = &listed[1];
    let address = theirs.folder.path().join("run/runtime.sock").display().to_string();
    assert_eq!((&found.exports["address"], found.exports["root"].as_str()), (&address, "/there"));
    assert_eq!((found.capabilities.len(), found.platforms[0].architecture.as_str()), (1, "amd64"));
    let other = Pod { sandboxer: "other".into(), ..ours_of(&ours, "psb5") };
    let refused = other.create().await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    let bad = ours_of(&ours, "../psb5").create().await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument, "{bad}");
    ours.finish().await;
    theirs.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_own_has_no_name_if_it_is_left_out() {
    let mut node = Node::start().await;
    let config = "disabled_plugins = [\"io.containerd.sandbox.controller.v1.shim\"]\n";
    let own = theirs_of(&node, "psb9");
    own.record().await;
    own.create().await.unwrap();
    std::fs::write(node.folder.path().join("berth.toml"), config).unwrap();
    node.kill_and_restart().await;
    let own = theirs_of(&node, "psb9");
    let refused = own.status().await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(refused.message(), "failed to get sandbox controller by shim: not found");
    assert_eq!(node.shims_of("psb9").len(), 1, "it runs on");
    std::fs::write(node.folder.path().join("berth.toml"), "").unwrap();
    node.kill_and_restart().await;
    theirs_of(&node, "psb9").shutdown().await.unwrap();
    node.finish().await;
}
