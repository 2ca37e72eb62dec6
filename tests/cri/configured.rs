//! What a configuration makes of pods and containers: a file of containerd's, and certificates for streams.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Authority, Output, program};

use crate::stage::{Stage, on_a_node_of, pod, shell};

/// As a node of kubeadm's has it, in containerd's version 2.
const THEIRS: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.8"
restrict_oom_score_adj = true
max_container_log_line_size = 8
drain_exec_sync_io_timeout = "2m0s"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "FOLDER/net.d"
ip_pref = "ipv6"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "FOLDER/base.json"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.copies]
runtime_type = "io.containerd.runc.v2"
snapshotter = "native"
cni_conf_dir = "FOLDER/other.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.copies.options]
Root = "FOLDER/runc"
"#;

/// The network of another handler.
const OTHER: &str = r#"{"cniVersion": "1.0.0", "name": "others", "plugins": [
    {"type": "bridge", "bridge": "cri1", "isGateway": true,
     "ipam": {"type": "host-local", "dataDir": "DATA", "ranges": [[{"subnet": "10.78.0.0/24"}]]}}]}"#;

/// What `ctr` has for a specification, with a limit of its own.
fn base() -> Result<String> {
    let printed = program("ctr").args(["oci", "spec"]).output()?.ok()?;
    let mut spec: serde_json::Value = serde_json::from_str(&printed)?;
    spec["process"]["rlimits"] =
        serde_json::json!([{"type": "RLIMIT_NOFILE", "hard": 4321, "soft": 4321}]);
    Ok(spec.to_string())
}

fn theirs(folder: &Path) -> Result<String> {
    fs_err::write(folder.join("base.json"), base()?)?;
    fs_err::create_dir(folder.join("other.d"))?;
    let other = OTHER.replace("DATA", &folder.join("addresses").display().to_string());
    fs_err::write(folder.join("other.d/1.conflist"), other)?;
    Ok(THEIRS.replace("FOLDER", &folder.display().to_string()))
}

#[test]
fn a_file_of_containerds_makes_of_pods_what_it_says() -> Result<()> {
    on_a_node_of(theirs, |stage| {
        stage.pull()?;
        let (logs, pod_config, id) = stage.pod_with_logs("usual")?;
        let network = stage.pod(&id)?.network.context("a network")?;
        ensure!(network.ip.starts_with("fd77::"), "{network:?}");

        // What a container's specification begins with, and how its log is written.
        let script = "ulimit -n; echo 12345678901; exec sleep 1000";
        let one = stage.create(&id, &shell("one", &stage.image, script), &pod_config)?;
        stage.start(&one)?;
        let log = logs.join("one.log");
        berth_testkit::until("it has said all", crate::stage::SOON, || {
            fs_err::read_to_string(&log).is_ok_and(|text| text.lines().count() == 3)
        })?;
        let text = fs_err::read_to_string(&log)?;
        let lines: Vec<_> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let lines: Vec<_> = lines.into_iter().map(|(_, rest)| rest).collect();
        assert_eq!(lines, ["stdout F 4321", "stdout P 12345678", "stdout F 901"]);

        // For longer than berth waits without a word about it.
        let late = ["sh", "-c", "(sleep 11; echo late) & echo soon"];
        let said = stage.exec(&one, &late, 0)?;
        assert_eq!((&*said.stdout, said.exit_code), (&b"soon\nlate\n"[..], 0));

        by_another_handler(stage)?;
        Ok(stage.remove_pod(&id)?)
    })
}

fn by_another_handler(stage: &Stage) -> Result<()> {
    // An image is unpacked for the handler that it is pulled for, as requests say it and as kubelets said it before.
    let native = || stage.node.ctr("-n k8s.io snapshots --snapshotter native ls").output()?.ok();
    let of = |annotation: &str| cri::PodSandboxConfig {
        annotations: [("io.containerd.cri.runtime-handler".into(), annotation.into())].into(),
        ..Default::default()
    };
    for (handler, annotation, is_unpacked) in
        [("", "", false), ("runc", "copies", false), ("", "copies", true), ("copies", "", true)]
    {
        let image = stage.image.clone();
        let image = cri::ImageSpec { image, runtime_handler: handler.into(), ..Default::default() };
        let (image, sandbox_config) = (Some(image), Some(of(annotation)));
        let request = cri::PullImageRequest { image, sandbox_config, ..Default::default() };
        stage.images(|mut c| async move { c.pull_image(request).await })?;
        let there = native()?;
        assert_eq!(there.contains("Committed"), is_unpacked, "{handler:?} {annotation:?}: {there}");
    }
    let config = pod("copied");
    let id = stage.run_pod_by("copies", &config)?;
    let network = stage.pod(&id)?.network.context("a network")?;
    ensure!(network.ip.starts_with("10.78.0."), "{network:?}");
    let mut asked = shell("copied", &stage.image, "sleep 1000");
    asked.mounts.push(cri::Mount {
        container_path: "/image".into(),
        readonly: true,
        image: Some(cri::ImageSpec { image: stage.image.clone(), ..Default::default() }),
        ..Default::default()
    });
    let one = stage.create(&id, &asked, &config)?;
    stage.start(&one)?;
    let on_record = stage.node.ctr("-n k8s.io containers info").args([&one]).output()?.ok()?;
    let on_record: serde_json::Value = serde_json::from_str(&on_record)?;
    assert_eq!(on_record["Snapshotter"], "native");
    let rest = on_record["Spec"]["process"]["rlimits"].as_array().map_or(0, Vec::len);
    assert_eq!(rest, 0, "it begins as without a base: {on_record}");
    let seen = stage.exec(&one, &["sh", "-c", "grep ' / ' /proc/mounts"], 0)?;
    ensure!(!String::from_utf8_lossy(&seen.stdout).contains("overlay"), "{seen:?}");
    let runc = stage.conf_dir().with_file_name("runc");
    ensure!(fs_err::read_dir(&runc)?.next().is_some(), "nothing in {}", runc.display());

    // An image that is mounted, and what the container has written, are that snapshotter's, too.
    let there = native()?;
    ensure!(there.contains("image-volumes/") && there.contains(&one), "{there}");
    let found = stage.exec(&one, &["test", "-e", "/image/bin/sh"], 0)?;
    assert_eq!(found.exit_code, 0, "{found:?}");
    berth_testkit::until("what it has written is measured", crate::stage::SOON, || {
        let request = cri::ContainerStatsRequest { container_id: one.clone() };
        let answer = stage.runtime(|mut c| async move { c.container_stats(request).await });
        let stats = answer.ok().and_then(|answer| answer.stats);
        let layer = stats.and_then(|stats| stats.writable_layer).and_then(|layer| layer.fs_id);
        layer.is_some_and(|folder| folder.mountpoint.ends_with("native"))
    })?;

    // Both are measured, the usual one first.
    let request = cri::ImageFsInfoRequest {};
    let info = stage.images(|mut c| async move { c.image_fs_info(request).await })?;
    let folders: Vec<_> = info.image_filesystems.iter().filter_map(|of| of.fs_id.clone()).collect();
    let ends = |number: usize, name: &str| {
        folders.get(number).is_some_and(|folder| folder.mountpoint.ends_with(name))
    };
    ensure!(folders.len() == 2 && ends(0, "overlayfs") && ends(1, "native"), "{folders:?}");
    stage.remove_pod(&id)?;
    let given = fs_err::read_dir(stage.conf_dir().with_file_name("addresses/others"))?;
    let given: Vec<_> = given.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    let is_address = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("10.");
    assert_eq!(given.iter().filter(is_address).count(), 0, "{given:?}");
    let left = native()?;
    ensure!(!left.contains(&one) && !left.contains("image-volumes/"), "{left}");
    Ok(())
}

/// Runs a command with its streams by curl, which trusts these.
fn by_curl(url: &str, trusts: &Authority) -> Result<Output> {
    let headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io",
    ];
    let mut curl = program("curl")
        .args(["-sS", "-i", "-N", "--http1.1", "--noproxy", "*", "--max-time", "60"])
        .args(["--cacert".into(), trusts.path("ca.pem")]);
    for header in headers {
        curl = curl.args(["-H", header]);
    }
    curl.args([url]).output()
}

#[test]
fn streams_come_by_tls_with_the_certificate_of_now() -> Result<()> {
    let (first, second) = (Authority::new()?, Authority::new()?);
    first.issue("node")?;
    second.issue("node")?;
    let keys = |folder: &Path| {
        for name in ["node.pem", "node.key"] {
            fs_err::copy(first.path(name), folder.join(name))?;
        }
        let own = format!(
            "[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n\
             [plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/usr/lib/cni']\n\
             [cri]\nenabled = true\nenable_tls_streaming = true\n\
             stream_tls_cert = {:?}\nstream_tls_key = {:?}\n[network]\nconf_dir = {:?}\n",
            folder.join("node.pem"),
            folder.join("node.key"),
            folder.join("net.d")
        );
        Ok(own)
    };
    on_a_node_of(keys, |stage| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("tls")?;
        let id = stage.create(&pod, &shell("on", &stage.image, "sleep 1000"), &pod_config)?;
        stage.start(&id)?;
        let url = || -> Result<String> {
            let request = cri::ExecRequest {
                container_id: id.clone(),
                cmd: ["echo", "it", "works"].map(String::from).into(),
                stdout: true,
                ..Default::default()
            };
            Ok(stage.runtime(|mut c| async move { c.exec(request).await })?.url)
        };
        let works = |trusts: &Authority| -> Result<()> {
            let url = url()?;
            ensure!(url.starts_with("https://127.0.0.1:"), "{url}");
            let answer = by_curl(&url, trusts)?;
            ensure!(
                answer.stdout.contains("it works") && answer.stdout.contains("Success"),
                "{answer}"
            );
            Ok(())
        };
        works(&first)?;
        let stranger = by_curl(&url()?, &second)?;
        ensure!(stranger.code != 0 && !stranger.stdout.contains("it works"), "{stranger}");
        // Renewed, as programs do that renew: by renaming. Between the two files the earlier ones stay in force.
        let folder = stage.conf_dir();
        for name in ["node.pem", "node.key"] {
            let beside = folder.with_file_name("beside");
            fs_err::copy(second.path(name), &beside)?;
            fs_err::rename(&beside, folder.with_file_name(name))?;
        }
        works(&second)?;
        Ok(stage.remove_pod(&pod)?)
    })
}
