//! What a pod's network plugins are told: names, ports, resolver, bandwidth, control group, annotations.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::write_program;
use serde_json::{Value, json};

use crate::stage::{Stage, on_a_node_of, pod};

/// A plugin that keeps what it is given, each command by itself.
const KEEPS: &str = "#!/bin/sh\ncd \"$(dirname \"$0\")/..\" || exit 9\n\
    cat > input-$CNI_COMMAND\nenv > env-$CNI_COMMAND\n\
    if [ $CNI_COMMAND = ADD ]; then echo '{\"cniVersion\": \"1.0.0\", \"interfaces\": [{\"name\": \"eth0\", \"sandbox\": \"'$CNI_NETNS'\"}],\n\
    \"ips\": [{\"address\": \"10.79.0.2/24\", \"interface\": 0}]}'; fi\n";
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

fn keeping(folder: &Path) -> Result<String> {
    let programs = folder.join("bin");
    fs_err::create_dir(&programs)?;
    write_program(&programs.join("keeps"), KEEPS)?;
    let capabilities = json!({"portMappings": true, "dns": true, "bandwidth": true, "cgroupPath": true,
        ANNOTATIONS: true});
    let list = json!({"cniVersion": "1.0.0", "name": "keeps",
        "plugins": [{"type": "keeps", "capabilities": capabilities}]});
    fs_err::write(folder.join("net.d/10-pods.conflist"), list.to_string())?;
    Ok(format!(
        "[cri]\nenabled = true\nrestrict_oom_score_adj = true\n[network]\nconf_dir = {:?}\nbin_dirs = [{programs:?}]\n",
        folder.join("net.d")
    ))
}

/// What the plugin was given with a command: its words, and those of its arguments.
fn given(stage: &Stage, command: &str) -> Result<(Value, BTreeMap<String, String>)> {
    let folder = stage.conf_dir().parent().context("a folder")?.to_owned();
    let input = fs_err::read(folder.join(format!("input-{command}")))?;
    let env = fs_err::read_to_string(folder.join(format!("env-{command}")))?;
    let args = env.lines().find_map(|line| line.strip_prefix("CNI_ARGS=")).context("CNI_ARGS")?;
    let args = args.split(';').filter_map(|arg| arg.split_once('='));
    let args = args.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok((serde_json::from_slice(&input)?, args))
}

#[test]
fn plugins_are_told_all_that_a_pod_says_of_its_network() -> Result<()> {
    on_a_node_of(keeping, |stage| {
        let mut config = pod("told-plugins");
        config.dns_config = Some(cri::DnsConfig {
            servers: vec!["10.0.0.10".into()],
            searches: vec!["svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        });
        config.port_mappings = vec![cri::PortMapping {
            protocol: cri::Protocol::Udp.into(),
            container_port: 53,
            host_port: 20_053,
            host_ip: "127.0.0.1".into(),
        }];
        config.linux.get_or_insert_default().cgroup_parent = "/berth-test-told".into();
        // As much as Kubernetes takes.
        let large = "\"".repeat(250 << 10);
        config.annotations = [
            ("kubernetes.io/ingress-bandwidth", "1M"),
            ("kubernetes.io/egress-bandwidth", "2e6"),
            ("large", &*large),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let id = stage.run_pod(&config)?;
        let (input, args) = given(stage, "ADD")?;
        let metadata = config.metadata.clone().context("metadata")?;
        let names = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", &metadata.namespace),
            ("K8S_POD_NAME", &metadata.name),
            ("K8S_POD_INFRA_CONTAINER_ID", &id),
            ("K8S_POD_UID", &metadata.uid),
        ];
        assert_eq!(args, names.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let told = &input["runtimeConfig"];
        let port = json!([{"hostPort": 20_053, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}]);
        assert_eq!(told["portMappings"], port);
        let dns = json!({"servers": ["10.0.0.10"], "searches": ["svc.cluster.local"], "options": ["ndots:5"]});
        assert_eq!(told["dns"], dns);
        let burst = u32::MAX;
        let bandwidth = json!({"ingressRate": 1_000_000, "ingressBurst": burst,
            "egressRate": 2_000_000, "egressBurst": burst});
        assert_eq!(told["bandwidth"], bandwidth);
        assert_eq!(told["cgroupPath"], "/berth-test-told");
        ensure!(told[ANNOTATIONS] == json!(config.annotations), "annotations differ");

        // It is undone with the same words, and with what it said.
        stage.remove_pod(&id)?;
        let (input, undone) = given(stage, "DEL")?;
        ensure!(input["runtimeConfig"] == *told, "DEL is told something else");
        assert_eq!(undone, args);
        assert_eq!(input["prevResult"]["ips"][0]["address"], "10.79.0.2/24");
        Ok(())
    })
}
