//! What a task's runtime and its options ask for. Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::path::Path;

use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::services::containers::v1 as containers;
use berth_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use berth_proto::pack;
use berth_testkit::write_program;
use serde_json::{Value, json};
use support::{GRPC_SHIM, Node, container, ns, shims};
use tonic::Code;

/// Records a container after `change` has had its way with its specification.
async fn record(node: &Node, shim: &str, id: &str, change: impl FnOnce(&mut Value)) {
    let mut container = container(shim, id, "exit 3");
    let spec = container.spec.as_mut().unwrap();
    let mut value: Value = serde_json::from_slice(&spec.value).unwrap();
    change(&mut value);
    spec.value = value.to_string().into_bytes();
    let request = containers::CreateContainerRequest { container: Some(container) };
    node.containers().create(ns(request)).await.unwrap();
}

async fn to_its_end(node: &Node, id: &str) {
    node.start_task(id, "").await.unwrap();
    assert_eq!(node.wait(id, "").await.unwrap(), 3);
    assert_eq!(node.delete(id).await.unwrap(), 3);
}

/// A runc that says that it maps mounts.
fn maps_mounts(node: &Node) -> Options {
    let program = node.folder.path().join("maps");
    let features = r#"{"linux":{"mountExtensions":{"idmap":{"enabled":true}}}}"#;
    let text =
        format!("#!/bin/sh\ncase $1 in features) echo '{features}';; *) exec runc \"$@\";; esac\n");
    write_program(&program, text).unwrap();
    Options { binary_name: program.to_string_lossy().into_owned(), ..Options::default() }
}

/// Debian's runc does not know them, and would mount them as they are.
#[tokio::test(flavor = "multi_thread")]
async fn mapped_mounts_are_refused_unless_the_runtime_says_that_it_has_them() {
    const STEP: &str = "failed to validate OCI runtime features: ";
    for shim in shims() {
        let node = Node::start().await;
        let source = node.folder.path().join("run");
        let mapping = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
        record(&node, &shim, "mapped", |spec| {
            spec["mounts"].as_array_mut().unwrap().push(json!({
                "destination": "/tmp", "type": "bind", "source": source, "options": ["rbind"],
                "uidMappings": mapping, "gidMappings": mapping,
            }));
        })
        .await;
        let refused = node.create("mapped").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unknown, "{shim}: {refused}");
        let ours = !shim.starts_with("/usr/bin") && !shim.ends_with(GRPC_SHIM);
        // Shims of containerd 1.6 do not describe themselves.
        let why = match ours {
            true => {
                "idmap mounts not supported: missing `mountExtensions.idmap` entry in `features` command"
            }
            false => "",
        };
        assert!(refused.message().starts_with(&format!("{STEP}{why}")), "{shim}: {refused}");
        assert!(!node.bundle("mapped").exists());
        support::until("its shim is gone", || node.shims_of("mapped").is_empty()).await;
        if ours {
            let options = Some(pack(&maps_mounts(&node)));
            node.create_with("mapped", |request| request.options = options).await.unwrap();
            to_its_end(&node, "mapped").await;
        }
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_have_another_shim_than_its_container() {
    let node = Node::start().await;
    record(&node, "io.containerd.none.v1", "other", |_| ()).await;
    let none = node.create("other").await.unwrap_err();
    assert!(none.message().contains("containerd-shim-none-v1"), "{none}");
    for shim in shims() {
        node.create_with("other", |request| request.runtime_path.clone_from(&shim)).await.unwrap();
        to_its_end(&node, "other").await;
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_one_group_share_a_shim() {
    // The one over gRPC is ours with a face of its own for each container.
    for shim in shims().into_iter().filter(|shim| !shim.ends_with(GRPC_SHIM)) {
        let node = Node::start().await;
        for id in ["g1", "g2"] {
            record(&node, &shim, id, |spec| {
                spec["annotations"] = json!({ "io.containerd.runc.v2.group": "grouped" });
            })
            .await;
            node.create(id).await.unwrap();
        }
        let address = |id| std::fs::read_to_string(node.bundle(id).join("bootstrap.json")).unwrap();
        assert_eq!(address("g1"), address("g2"), "{shim}");
        assert!(node.shims_of("g2").is_empty(), "{shim}");
        to_its_end(&node, "g1").await;
        to_its_end(&node, "g2").await;
        node.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_lives_in_the_control_group_that_is_asked_for() {
    for shim in shims() {
        let node = Node::start().await;
        let name = format!("berth-test-shims-{}", std::process::id());
        // One of the first hierarchies, where there are several.
        let cpu = Path::new("/sys/fs/cgroup/cpu");
        let root = if cpu.exists() { cpu } else { Path::new("/sys/fs/cgroup") };
        let folder = root.join(&name);
        std::fs::create_dir(&folder).unwrap();
        let options = Options { shim_cgroup: format!("/{name}"), ..Options::default() };
        record(&node, &shim, "moved", |_| ()).await;
        let options = Some(pack(&options));
        node.create_with("moved", |request| request.options = options).await.unwrap();
        let members = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap();
        let pid = node.shim_pid("moved").to_string();
        assert!(members.lines().any(|member| member == pid), "{shim}: no {pid} in {members}");
        to_its_end(&node, "moved").await;
        support::until("the group is empty", || std::fs::remove_dir(&folder).is_ok()).await;
        node.finish().await;
    }
}

/// Parameters of sandboxes do not belong into runc's options any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_go_is_noticed() {
    let node = Node::start().await;
    let told = async || {
        let mut client = IntrospectionClient::new(node.channel.clone());
        let server = client.server(()).await.unwrap().into_inner();
        assert!(server.deprecations.iter().all(|told| told.last_occurrence.is_some()));
        let ids = server.deprecations.into_iter().map(|told| told.id);
        ids.map(|id| id.replace("io.containerd.deprecation/", "")).collect::<Vec<_>>()
    };
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let machine = if unified { Vec::new() } else { vec!["cgroup-v1".to_owned()] };
    assert_eq!(told().await, machine);
    record(&node, &shims()[0], "old", |_| ()).await;
    let options = Options { task_api_version: 3, ..Options::default() };
    let options = Some(pack(&options));
    let asked = node.create_with("old", |request| {
        (request.options, request.task_api_version) = (options.clone(), 3);
    });
    asked.await.unwrap();
    assert_eq!(told().await, machine, "the request says it as well");
    node.delete("old").await.unwrap();
    node.create_with("old", |request| request.options = options.clone()).await.unwrap();
    assert_eq!(told().await, [machine, vec!["runc-options-task-api-version".into()]].concat());
    node.delete("old").await.unwrap();
    node.finish().await;
}
