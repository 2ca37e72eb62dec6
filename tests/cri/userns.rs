//! Pods with users of their own: who they are outside, and what they may.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::until;
use tonic::Code;

use crate::pause;
use crate::stage::{SOON, Stage, on_a_node, pod, refused, shell};
use crate::streams::Client;

const READY: i32 = cri::PodSandboxState::SandboxReady as i32;
const RUNNING: i32 = cri::ContainerState::ContainerRunning as i32;
/// How many ids a pod has.
const IDS: u32 = 65_536;

/// Users of the node from `first` on, groups from 1000 later on.
fn users(first: u32) -> cri::UserNamespace {
    let ids = |host_id| vec![cri::IdMapping { host_id, container_id: 0, length: IDS }];
    let mode = cri::NamespaceMode::Pod.into();
    cri::UserNamespace { mode, uids: ids(first), gids: ids(first + 1000) }
}

fn options(users: cri::UserNamespace) -> cri::NamespaceOption {
    cri::NamespaceOption { userns_options: Some(users), ..Default::default() }
}

fn with(mut config: cri::PodSandboxConfig, options: cri::NamespaceOption) -> cri::PodSandboxConfig {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options = Some(options);
    config
}

/// A shell that runs this among these users.
fn shell_of(
    name: &str,
    image: &str,
    script: &str,
    options: cri::NamespaceOption,
) -> cri::ContainerConfig {
    let mut config = shell(name, image, script);
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options = Some(options);
    config
}

/// The folders of a test are closed; those of a node are not.
fn open(stage: &Stage) -> Result<()> {
    let passable = std::fs::Permissions::from_mode(0o711);
    Ok(fs_err::set_permissions(stage.node.path(""), passable)?)
}

/// What a command in a container prints.
fn said(stage: &Stage, id: &str, script: &str) -> Result<String> {
    let answer = stage.exec(id, &["sh", "-c", script], 20)?;
    let (out, err) =
        (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
    ensure!(answer.exit_code == 0, "{script}: {} {out} {err}", answer.exit_code);
    Ok(out.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Users and groups of a task's process, real ones.
fn outside(stage: &Stage, id: &str) -> Result<[String; 2]> {
    let tasks = stage.node.ctr("-n k8s.io tasks ls").output()?.ok()?;
    let task = tasks.lines().find(|line| line.starts_with(id)).context("a task")?;
    let pid = task.split_whitespace().nth(1).context("a number")?;
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    Ok([of("Uid:"), of("Gid:")])
}

/// The file of this name that is in one snapshot.
fn written(stage: &Stage, name: &str) -> Result<PathBuf> {
    let snapshots = stage.node.path("root/bundle/overlayfs/snapshots");
    for entry in fs_err::read_dir(snapshots)? {
        let file = entry?.path().join("fs").join(name);
        if file.exists() {
            return Ok(file);
        }
    }
    anyhow::bail!("{name} is in no snapshot")
}

/// What is pinned for pods.
fn pinned(stage: &Stage) -> Result<usize> {
    let mut count = 0;
    for folder in [".netns", ".userns"] {
        let folder = stage.node.path("state/runtime").join(folder);
        count += if folder.exists() { fs_err::read_dir(folder)?.count() } else { 0 };
    }
    Ok(count)
}

fn nothing_is_left(stage: &Stage) -> Result<()> {
    let left = stage.node.mounts();
    ensure!(left.is_empty() && pinned(stage)? == 0, "{left:?}");
    assert_eq!(stage.addresses()?, [""; 0]);
    stage.node.shims_end()
}

#[test]
fn users_of_a_pod_are_others_of_the_node() -> Result<()> {
    on_a_node(|stage| {
        open(stage)?;
        stage.pull()?;
        let mut made = Vec::new();
        for (name, first) in [("one", 200_000), ("two", 300_000)] {
            let mut config = with(pod(name), options(users(first)));
            let logs = stage.node.path("logs").join(name);
            fs_err::create_dir_all(&logs)?;
            config.log_directory = logs.display().to_string();
            let pod = stage.run_pod(&config)?;
            assert_eq!(outside(stage, &pod)?, [first, first + 1000].map(|id| id.to_string()));
            // Its streams may be opened by their names.
            let script = "echo begun > /dev/stdout; sleep 1000";
            let container = shell_of("in", &stage.image, script, options(users(first)));
            let id = stage.create(&pod, &container, &config)?;
            stage.start(&id)?;
            assert_eq!(outside(stage, &id)?, [first, first + 1000].map(|id| id.to_string()));
            until("its output is in its log", SOON, || {
                fs_err::read_to_string(logs.join("in.log"))
                    .is_ok_and(|log| log.ends_with("begun\n"))
            })?;
            let map = format!("0 {first} {IDS} 0 {} {IDS}", first + 1000);
            assert_eq!(said(stage, &id, "cat /proc/self/uid_map /proc/self/gid_map")?, map);
            // What the image has, and what is shared in the pod, is root's.
            let owners = "stat -c %u:%g /bin/sh /dev/shm /etc/hosts /etc/hostname /etc/resolv.conf";
            assert_eq!(said(stage, &id, owners)?, ["0:0"; 5].join(" "));
            assert_eq!(
                said(stage, &id, "cat /etc/hostname; echo x > /dev/shm/x; cat /dev/shm/x")?,
                format!("{name} x")
            );
            said(
                stage,
                &id,
                &format!("touch /root-{name}; touch /user-{name}; chown 7:8 /user-{name}"),
            )?;
            for (file, uid, gid) in
                [("root", first, first + 1000), ("user", first + 7, first + 1008)]
            {
                let about = fs_err::metadata(written(stage, &format!("{file}-{name}"))?)?;
                assert_eq!((about.uid(), about.gid()), (uid, gid));
            }
            made.push((pod, id, config));
        }
        // Their networks are theirs, and work.
        let ip = stage.pod(&made[1].0)?.network.unwrap_or_default().ip;
        said(stage, &made[0].1, &format!("ping -c 1 -W 5 {ip}"))?;
        let setting = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
        assert_eq!(said(stage, &made[0].1, setting)?, "0");
        assert_eq!(pinned(stage)?, 4);
        for (pod, _, _) in &made {
            stage.remove_pod(pod)?;
        }
        nothing_is_left(stage)
    })
}

#[test]
fn such_a_pod_outlives_the_services_and_serves_its_ports() -> Result<()> {
    on_a_node(|stage| {
        open(stage)?;
        stage.pull()?;
        let config = with(pod("kept"), options(users(400_000)));
        let pod = stage.run_pod(&config)?;
        for service in ["berth-cri", "berth-runtime"] {
            stage.node.kill_service(service)?;
        }
        until("the pod is known again", SOON, || {
            stage.pod(&pod).is_ok_and(|pod| pod.state == READY)
        })?;
        let serve =
            "mkdir /w; echo it works > /w/index.html; exec httpd -f -p 127.0.0.1:8000 -h /w";
        let mut container = shell_of("late", &stage.image, serve, options(users(400_000)));
        // Root of another group.
        let security =
            container.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.run_as_user = Some(cri::Int64Value { value: 0 });
        security.run_as_group = Some(cri::Int64Value { value: 5 });
        let id = stage.create(&pod, &container, &config)?;
        stage.start(&id)?;
        assert_eq!(outside(stage, &id)?, ["400000", "401005"]);
        let request = || cri::PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![8000] };
        until("the pod's port is reached", SOON, || {
            let url = stage.runtime(|mut c| async move { c.port_forward(request()).await });
            let Ok(url) = url else { return false };
            let got = stage.within(async {
                let mut client = Client::connect(&url.url, "v4.channel.k8s.io").await?;
                client.say(0, b"GET / HTTP/1.0\r\n\r\n").await?;
                client.hear(0, "it works").await
            });
            got.is_ok()
        })?;
        stage.stop_pod(&pod)?;
        assert_eq!(pinned(stage)?, 0);
        stage.remove_pod(&pod)?;
        nothing_is_left(stage)
    })
}

#[test]
fn users_of_their_own_may_be_in_the_nodes_network() -> Result<()> {
    on_a_node(|stage| {
        open(stage)?;
        stage.pull()?;
        let network = cri::NamespaceMode::Node.into();
        let options = cri::NamespaceOption { network, ..options(users(500_000)) };
        let config = with(pod("host"), options.clone());
        let pod = stage.run_pod(&config)?;
        let id =
            stage.create(&pod, &shell_of("in", &stage.image, "sleep 1000", options), &config)?;
        stage.start(&id)?;
        assert_eq!(stage.container(&id)?.state, RUNNING);
        assert_eq!(outside(stage, &id)?[0], "500000");
        let network = fs_err::read_link("/proc/thread-self/ns/net")?.display().to_string();
        assert_eq!((said(stage, &id, "readlink /proc/self/ns/net")?, pinned(stage)?), (network, 0));
        said(stage, &id, "test -d /sys/class/net")?;
        // The node's network is not theirs.
        let refused = stage.exec(&id, &["ip", "link", "set", "lo", "down"], 20)?;
        ensure!(refused.exit_code != 0, "{refused:?}");
        stage.remove_pod(&pod)?;
        nothing_is_left(stage)
    })
}

#[test]
fn their_pods_own_process_may_be_an_images() -> Result<()> {
    on_a_node(|stage| {
        open(stage)?;
        let image = pause::push(stage)?;
        pause::configure(stage, &image)?;
        stage.pull()?;
        let config = with(pod("web"), options(users(200_000)));
        let pod = stage.run_pod(&config)?;
        assert_eq!(outside(stage, &pod)?, ["200000", "201000"]);
        let container = shell_of("in", &stage.image, "sleep 1000", options(users(200_000)));
        let id = stage.create(&pod, &container, &config)?;
        stage.start(&id)?;
        assert_eq!(said(stage, &id, "stat -c %u:%g /bin/sh")?, "0:0");
        stage.remove_pod(&pod)?;
        nothing_is_left(stage)
    })
}

#[test]
fn what_cannot_be_is_refused() -> Result<()> {
    on_a_node(|stage| {
        open(stage)?;
        stage.pull()?;
        let mut two = users(200_000);
        two.uids.push(cri::IdMapping { host_id: 1, container_id: 70_000, length: 1 });
        let words = "required only one uid mapping, but got 2 uid mapping(s)";
        refused(stage.run_pod(&with(pod("two"), options(two))), Code::Unknown, words)?;
        let node = cri::UserNamespace { mode: cri::NamespaceMode::Node.into(), ..users(200_000) };
        let words = "can't use user namespace mode \"NODE\" with mappings. Got 1 UID mappings and 1 GID mappings";
        refused(stage.run_pod(&with(pod("node"), options(node))), Code::Unknown, words)?;
        assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
        nothing_is_left(stage)?;

        let config = with(pod("right"), options(users(200_000)));
        let pod = stage.run_pod(&config)?;
        let other = shell_of("other", &stage.image, "true", options(users(300_000)));
        let words = "user namespace config for sandbox is different from container";
        refused(stage.create(&pod, &other, &config), Code::Unknown, words)?;
        // Debian's runc would show the volume's files to the wrong users, and say nothing.
        let mut mapped = shell_of("mapped", &stage.image, "true", options(users(200_000)));
        let cri::UserNamespace { uids, gids, .. } = users(200_000);
        mapped.mounts.push(cri::Mount {
            host_path: stage.conf_dir().display().to_string(),
            container_path: "/volume".into(),
            uid_mappings: uids,
            gid_mappings: gids,
            ..Default::default()
        });
        let id = stage.create(&pod, &mapped, &config)?;
        let features = berth_testkit::run("runc features")?;
        let has: serde_json::Value = serde_json::from_str(&features)?;
        if has["linux"]["mountExtensions"]["idmap"]["enabled"] != true {
            refused(stage.start(&id), Code::Unknown, "idmap mounts not supported")?;
            assert_eq!(stage.container(&id)?.reason, "StartError");
        }
        stage.remove_pod(&pod)?;
        nothing_is_left(stage)
    })
}
