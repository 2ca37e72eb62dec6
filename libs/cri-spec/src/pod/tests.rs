//! What a pod's own process is like, one rule after the other.

use std::collections::HashMap;
use std::path::PathBuf;

use berth_runtime_spec::ImageConfig;
use oci_spec::runtime::{Linux, LinuxNamespaceType as Type};
use rstest::rstest;

use super::*;
use crate::{Handler, Node, Selinux, SelinuxLabels, Settings};

/// What a pod is made of here.
struct Given {
    image: ImageConfig,
    handler: Handler,
    settings: Settings,
    node: Node,
    selinux: Selinux,
}

impl Given {
    fn new() -> Self {
        let image = ImageConfig { entrypoint: vec!["/init".into()], ..Default::default() };
        let node = Node { seccomp: true, ..Default::default() };
        let (handler, settings, selinux) = Default::default();
        Self { image, handler, settings, node, selinux }
    }

    fn facts(&self) -> PodFacts<'_> {
        PodFacts {
            id: "pod1",
            image: &self.image,
            image_name: "",
            root: "/lib/pause".into(),
            netns: Some("/run/netns/n".into()),
            userns: Some("/run/userns/u".into()),
            shm: "/run/pod1/shm".into(),
            resolv_conf: "/run/pod1/resolv.conf".into(),
            selinux: self.selinux.clone(),
            handler: &self.handler,
            settings: &self.settings,
            node: &self.node,
        }
    }

    fn made(&self, config: &cri::PodSandboxConfig) -> Result<Spec, Error> {
        pod(config, &self.facts(), &RootView::of_layers([]).unwrap())
    }
}

fn config() -> cri::PodSandboxConfig {
    let metadata = cri::PodSandboxMetadata {
        name: "n".into(),
        uid: "u".into(),
        namespace: "ns".into(),
        attempt: 0,
    };
    cri::PodSandboxConfig {
        metadata: Some(metadata),
        hostname: "anchor".into(),
        log_directory: "/var/log/pods/x".into(),
        ..Default::default()
    }
}

fn with(change: impl FnOnce(&mut cri::LinuxPodSandboxConfig)) -> cri::PodSandboxConfig {
    let mut linux = cri::LinuxPodSandboxConfig {
        security_context: Some(cri::LinuxSandboxSecurityContext::default()),
        ..Default::default()
    };
    change(&mut linux);
    cri::PodSandboxConfig { linux: Some(linux), ..config() }
}

fn secured(change: impl FnOnce(&mut cri::LinuxSandboxSecurityContext)) -> cri::PodSandboxConfig {
    with(|linux| change(linux.security_context.as_mut().unwrap()))
}

fn spaces(network: i32, pid: i32, ipc: i32, users: bool) -> cri::PodSandboxConfig {
    let ids = vec![cri::IdMapping { host_id: 100_000, container_id: 0, length: 65_536 }];
    let users = users.then(|| cri::UserNamespace { mode: 0, uids: ids.clone(), gids: ids });
    let options =
        cri::NamespaceOption { network, pid, ipc, userns_options: users, ..Default::default() };
    secured(|security| security.namespace_options = Some(options))
}

fn linux(spec: &Spec) -> &Linux {
    spec.linux().as_ref().unwrap()
}

/// The namespaces of a spec with their paths.
fn namespaces_of(spec: &Spec) -> HashMap<Type, Option<PathBuf>> {
    let namespaces = linux(spec).namespaces().iter().flatten();
    namespaces.map(|one| (one.typ(), one.path().clone())).collect()
}

fn sources(spec: &Spec) -> HashMap<String, String> {
    let text = |path: &Path| path.display().to_string();
    let mounts = spec.mounts().iter().flatten();
    mounts.map(|m| (text(m.destination()), text(m.source().as_ref().unwrap()))).collect()
}

#[test]
fn a_plain_pod() {
    let spec = Given::new().made(&config()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.args().as_ref().unwrap(), &["/init"]);
    assert_eq!(process.no_new_privileges(), Some(true));
    assert_eq!(process.oom_score_adj(), Some(-998));
    assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 14);
    assert!(process.rlimits().is_none() && process.apparmor_profile().is_none());
    assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
    let root = spec.root().as_ref().unwrap();
    assert_eq!((root.path().as_path(), root.readonly()), (Path::new("/lib/pause"), Some(true)));
    assert_eq!(spec.hostname().as_deref(), Some("anchor"));
    let linux = linux(&spec);
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/k8s.io/pod1")));
    assert_eq!(linux.resources().as_ref().unwrap().cpu().as_ref().unwrap().shares(), Some(2));
    assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
    assert!(linux.readonly_paths().as_ref().unwrap().contains(&"/proc/sys".to_owned()));
    assert!(linux.seccomp().is_none());
    let expected = HashMap::from([
        (Type::Pid, None),
        (Type::Ipc, None),
        (Type::Uts, None),
        (Type::Mount, None),
        (Type::Network, Some("/run/netns/n".into())),
    ]);
    assert_eq!(namespaces_of(&spec), expected);
}

#[test]
fn its_files_are_bound_read_only() {
    let spec = Given::new().made(&config()).unwrap();
    let sources = sources(&spec);
    assert_eq!(sources["/dev/shm"], "/run/pod1/shm");
    assert_eq!(sources["/etc/resolv.conf"], "/run/pod1/resolv.conf");
    assert!(!sources.contains_key("/run") && !sources.contains_key("/sys/fs/cgroup"));
    let shm = spec.mounts().iter().flatten().find(|m| m.destination() == Path::new("/dev/shm"));
    assert_eq!(shm.unwrap().options().as_ref().unwrap(), &BOUND);
}

#[test]
fn a_pod_may_share_each_of_the_nodes_namespaces() {
    let given = Given::new();
    let host_network = given.made(&spaces(2, 0, 0, false)).unwrap();
    let have = namespaces_of(&host_network);
    assert!(!have.contains_key(&Type::Network) && !have.contains_key(&Type::Uts));
    assert!(host_network.hostname().is_none(), "the node keeps its name");
    let shared = given.made(&spaces(0, 2, 2, false)).unwrap();
    let have = namespaces_of(&shared);
    assert!(!have.contains_key(&Type::Pid) && !have.contains_key(&Type::Ipc));
    assert_eq!(sources(&shared)["/dev/shm"], "/dev/shm");
    let own = given.made(&spaces(0, 1, 0, false)).unwrap();
    assert!(namespaces_of(&own)[&Type::Pid].is_none());
}

#[test]
fn users_of_its_own_are_those_that_own_its_network() {
    let given = Given::new();
    let spec = given.made(&spaces(0, 0, 0, true)).unwrap();
    assert_eq!(namespaces_of(&spec)[&Type::User], Some("/run/userns/u".into()));
    assert_eq!(linux(&spec).uid_mappings().as_ref().unwrap()[0].host_id(), 100_000);
    assert_eq!(linux(&spec).gid_mappings().as_ref().unwrap().len(), 1);
    assert_eq!(sources(&spec)["/sys"], "sysfs");
    let spec = given.made(&spaces(2, 0, 0, true)).unwrap();
    assert_eq!(namespaces_of(&spec)[&Type::User], None);
    let sys = spec.mounts().iter().flatten().find(|m| m.destination() == Path::new("/sys"));
    assert_eq!(sys.unwrap().options().as_ref().unwrap(), &SYS_BOUND);
}

#[rstest]
#[case(0, false, &[], Some("0"), Some("0 2147483647"))]
#[case(2, false, &[], None, None)]
#[case(0, true, &[], Some("0"), None)]
#[case(0, false, &[(UNPRIVILEGED_PORTS, "99"), (PING_GROUPS, "1 0")], Some("99"), Some("1 0"))]
#[case(2, false, &[("kernel.x", "1"), (PING_GROUPS, "1 0")], None, Some("1 0"))]
fn programs_need_no_capabilities_for_ports_and_pings(
    #[case] network: i32,
    #[case] users: bool,
    #[case] asked: &[(&str, &str)],
    #[case] ports: Option<&str>,
    #[case] pings: Option<&str>,
) {
    let mut config = spaces(network, 0, 0, users);
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    config.linux.as_mut().unwrap().sysctls = asked.iter().map(own).collect();
    let spec = Given::new().made(&config).unwrap();
    let sysctls = linux(&spec).sysctl().clone().unwrap();
    assert_eq!(sysctls.get(UNPRIVILEGED_PORTS).map(String::as_str), ports);
    assert_eq!(sysctls.get(PING_GROUPS).map(String::as_str), pings);
    let mut given = Given::new();
    given.settings.enable_unprivileged_icmp = false;
    given.settings.enable_unprivileged_ports = false;
    let spec = given.made(&config).unwrap();
    assert_eq!(linux(&spec).sysctl().as_ref().unwrap().len(), asked.len());
}

#[test]
fn annotations_say_whose_it_is_whatever_is_handed_on() {
    let mut given = Given::new();
    given.handler.pod_annotations = vec!["io.kata.*".into(), "io.kubernetes.cri.*".into()];
    let limits = cri::LinuxContainerResources {
        cpu_period: 1,
        cpu_quota: -1,
        cpu_shares: 3,
        memory_limit_in_bytes: 4,
        ..Default::default()
    };
    let mut config = with(|linux| linux.resources = Some(limits));
    for key in ["io.kata.x", "io.kubernetes.cri.sandbox-id", "other"] {
        config.annotations.insert(key.into(), "mine".into());
    }
    let spec = given.made(&config).unwrap();
    let mut made: Vec<_> = spec.annotations().clone().unwrap().into_iter().collect();
    made.sort();
    let expected = [
        ("io.kata.x", "mine"),
        ("io.kubernetes.cri.container-type", "sandbox"),
        ("io.kubernetes.cri.sandbox-cpu-period", "1"),
        ("io.kubernetes.cri.sandbox-cpu-quota", "-1"),
        ("io.kubernetes.cri.sandbox-cpu-shares", "3"),
        ("io.kubernetes.cri.sandbox-id", "pod1"),
        ("io.kubernetes.cri.sandbox-log-directory", "/var/log/pods/x"),
        ("io.kubernetes.cri.sandbox-memory", "4"),
        ("io.kubernetes.cri.sandbox-name", "n"),
        ("io.kubernetes.cri.sandbox-namespace", "ns"),
        ("io.kubernetes.cri.sandbox-uid", "u"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(made, expected);
}

#[test]
fn a_user_a_profile_and_a_parent_are_taken() {
    let mut config = secured(|security| {
        security.run_as_user = Some(cri::Int64Value { value: 7 });
        security.run_as_group = Some(cri::Int64Value { value: 8 });
        security.supplemental_groups = vec![5, 9, 5];
        security.seccomp = Some(cri::SecurityProfile::default());
    });
    config.linux.as_mut().unwrap().cgroup_parent = "/kubepods.slice/kubepods-x.slice".into();
    let spec = Given::new().made(&config).unwrap();
    let user = spec.process().as_ref().unwrap().user().clone();
    assert_eq!((user.uid(), user.gid()), (7, 8));
    assert_eq!(user.additional_gids().as_deref(), Some(&[5, 8, 9][..]));
    assert!(linux(&spec).seccomp().is_some());
    let path = linux(&spec).cgroups_path().clone().unwrap();
    assert_eq!(path, Path::new("kubepods-x.slice:cri-containerd:pod1"));
}

#[test]
fn a_privileged_pod_may_write_to_sys_and_is_not_filtered() {
    let mut given = Given::new();
    let label = "u:r:t:s0".to_owned();
    given.selinux = Selinux::On(SelinuxLabels { process: label.clone(), mount: label.clone() });
    let config = |privileged| {
        secured(|security| {
            security.privileged = privileged;
            security.seccomp = Some(cri::SecurityProfile::default());
        })
    };
    let sys = |spec: &Spec| {
        let sys = spec.mounts().iter().flatten().find(|m| m.destination() == Path::new("/sys"));
        sys.unwrap().options().clone().unwrap().contains(&"rw".to_owned())
    };
    let spec = given.made(&config(true)).unwrap();
    assert!(sys(&spec) && linux(&spec).seccomp().is_none());
    assert!(spec.process().as_ref().unwrap().selinux_label().is_none());
    let spec = given.made(&config(false)).unwrap();
    assert!(!sys(&spec) && linux(&spec).seccomp().is_some());
    assert_eq!(spec.process().as_ref().unwrap().selinux_label().as_ref(), Some(&label));
    assert_eq!(linux(&spec).mount_label().as_ref(), Some(&label));
}

#[test]
fn a_pause_image_runs_as_its_image_says() {
    let mut given = Given::new();
    given.image = ImageConfig {
        env: vec!["A=1".into()],
        cmd: vec!["/pause".into()],
        working_dir: "/w".into(),
        user: "65535:65535".into(),
        ..Default::default()
    };
    given.node.oom_score_adj = -100;
    given.settings.restrict_oom_score_adj = true;
    let facts = PodFacts { root: "rootfs".into(), image_name: "pause:1", ..given.facts() };
    let spec = pod(&config(), &facts, &RootView::of_layers([]).unwrap()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.env().as_ref().unwrap(), &["A=1"]);
    assert_eq!((process.cwd().as_path(), process.user().uid()), (Path::new("/w"), 65_535));
    assert_eq!(process.oom_score_adj(), Some(-100));
    let annotations = spec.annotations().as_ref().unwrap();
    assert_eq!(annotations["io.kubernetes.cri.podsandbox.image-name"], "pause:1");
    given.image = ImageConfig::default();
    let refused = given.made(&config()).unwrap_err().to_string();
    assert!(refused.starts_with("invalid empty entrypoint and cmd in image config"), "{refused}");
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |config: &cri::PodSandboxConfig| Given::new().made(config).unwrap_err();
    let nameless = refused(&cri::PodSandboxConfig::default());
    assert_eq!(nameless.to_string(), "sandbox config must include metadata");
    let group = secured(|security| security.run_as_group = Some(cri::Int64Value { value: 8 }));
    assert_eq!(refused(&group).to_string(), "user group \"8\" is specified without user");
    let label = cri::SeLinuxOption { r#type: "x_t".into(), ..Default::default() };
    let labelled = secured(|security| security.selinux_options = Some(label));
    assert_eq!(refused(&labelled).to_string(), "selinux is not supported: the kernel has it off");
    let many = (0..20_000).map(|n| (n.to_string(), String::new())).collect();
    let many = cri::PodSandboxConfig { annotations: many, ..config() };
    assert!(matches!(refused(&many), Error::TooMany { what: "annotations", .. }));
}
