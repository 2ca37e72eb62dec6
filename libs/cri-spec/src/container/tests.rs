//! What a container is like, one rule after the other. Mounts, resources, users and profiles have
//! tests of their own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use berth_runtime_spec::{ImageConfig, base};
use oci_spec::runtime::{Linux, LinuxNamespaceType as Type};
use rstest::rstest;

mod handed_on;

use super::*;
use crate::{Handler, Node, PodFiles, Selinux, SelinuxLabels, Settings};

/// What a container is made of here.
struct Given {
    image: ImageConfig,
    handler: Handler,
    settings: Settings,
    node: Node,
    files: PodFiles,
    target_pid: Option<u32>,
}

impl Given {
    fn new() -> Self {
        let image = ImageConfig { cmd: vec!["sh".into()], ..Default::default() };
        let node = Node { hostname: "node".into(), seccomp: true, ..Default::default() };
        let (handler, settings, files, target_pid) = Default::default();
        Self { image, handler, settings, node, files, target_pid }
    }

    fn facts(&self) -> ContainerFacts<'_> {
        ContainerFacts {
            id: "c1",
            pod_id: "pod1",
            pod_pid: 41,
            target_pid: self.target_pid,
            image: &self.image,
            image_name: "docker.io/library/busybox:latest",
            files: &self.files,
            volumes: &[],
            selinux: Selinux::default(),
            pod_label: "",
            handler: &self.handler,
            settings: &self.settings,
            node: &self.node,
        }
    }

    fn made(&self, config: &cri::ContainerConfig) -> Result<Spec, Error> {
        container(config, &pod(true), &self.facts())
    }
}

fn pod(privileged: bool) -> cri::PodSandboxConfig {
    let metadata = cri::PodSandboxMetadata { name: "n".into(), ..Default::default() };
    let security = cri::LinuxSandboxSecurityContext { privileged, ..Default::default() };
    let linux = cri::LinuxPodSandboxConfig {
        cgroup_parent: "/kubepods/pod1".into(),
        security_context: Some(security),
        ..Default::default()
    };
    cri::PodSandboxConfig { metadata: Some(metadata), linux: Some(linux), ..Default::default() }
}

fn config() -> cri::ContainerConfig {
    let metadata = cri::ContainerMetadata { name: "c".into(), attempt: 0 };
    cri::ContainerConfig { metadata: Some(metadata), ..Default::default() }
}

fn secured(change: impl FnOnce(&mut cri::LinuxContainerSecurityContext)) -> cri::ContainerConfig {
    let mut security = cri::LinuxContainerSecurityContext::default();
    change(&mut security);
    let linux = cri::LinuxContainerConfig { security_context: Some(security), resources: None };
    cri::ContainerConfig { linux: Some(linux), ..config() }
}

fn spaces(options: cri::NamespaceOption) -> cri::ContainerConfig {
    secured(|security| security.namespace_options = Some(options))
}

fn users() -> cri::UserNamespace {
    let ids = vec![cri::IdMapping { host_id: 100_000, container_id: 0, length: 65_536 }];
    cri::UserNamespace { mode: 0, uids: ids.clone(), gids: ids }
}

fn linux(spec: &Spec) -> &Linux {
    spec.linux().as_ref().unwrap()
}

fn namespaces_of(spec: &Spec) -> HashMap<Type, Option<PathBuf>> {
    let namespaces = linux(spec).namespaces().iter().flatten();
    namespaces.map(|one| (one.typ(), one.path().clone())).collect()
}

fn options_at<'a>(spec: &'a Spec, place: &str) -> &'a [String] {
    let mount = spec.mounts().iter().flatten().find(|m| m.destination() == Path::new(place));
    mount.unwrap().options().as_ref().unwrap()
}

#[test]
fn a_plain_container() {
    let spec = Given::new().made(&config()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.args().as_ref().unwrap(), &["sh"]);
    assert!(process.env().as_ref().unwrap().contains(&"HOSTNAME=node".to_owned()));
    assert_eq!(process.no_new_privileges(), Some(false));
    assert!(process.rlimits().is_none() && process.oom_score_adj().is_none());
    let root = spec.root().as_ref().unwrap();
    assert_eq!((root.path().as_path(), root.readonly()), (Path::new("rootfs"), Some(false)));
    let linux = linux(&spec);
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/kubepods/pod1/c1")));
    assert_eq!(linux.masked_paths().as_deref(), Some(&[][..]));
    assert_eq!(linux.readonly_paths().as_deref(), Some(&[][..]));
    assert!(linux.seccomp().is_none() && linux.devices().is_none());
    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert!(rules.len() == 1 && !rules[0].allow());
    let of_pod = |name: &str| Some(PathBuf::from(format!("/proc/41/ns/{name}")));
    let expected = HashMap::from([
        (Type::Pid, of_pod("pid")),
        (Type::Ipc, of_pod("ipc")),
        (Type::Uts, of_pod("uts")),
        (Type::Network, of_pod("net")),
        (Type::Mount, None),
    ]);
    assert_eq!(namespaces_of(&spec), expected);
}

#[rstest]
#[case(0, None, Ok(Some("/proc/41/ns/pid")))]
#[case(1, None, Ok(None))]
#[case(2, None, Ok(Some("/proc/41/ns/pid")))]
#[case(3, Some(77), Ok(Some("/proc/77/ns/pid")))]
#[case(3, None, Err("invalid target container: container \"other\" is not running"))]
fn processes_are_the_pods_its_own_or_anothers(
    #[case] pid: i32,
    #[case] target_pid: Option<u32>,
    #[case] expected: Result<Option<&str>, &str>,
) {
    let given = Given { target_pid, ..Given::new() };
    let options = cri::NamespaceOption { pid, target_id: "other".into(), ..Default::default() };
    let made = given.made(&spaces(options)).map_err(|error| error.to_string());
    let made = made.map(|spec| namespaces_of(&spec)[&Type::Pid].clone());
    assert_eq!(made, expected.map(|path| path.map(PathBuf::from)).map_err(str::to_owned));
}

#[test]
fn users_are_the_pods() {
    let given = Given::new();
    let own = |users| cri::NamespaceOption { userns_options: users, ..Default::default() };
    let pod_with = |users, network| {
        let mut pod = pod(false);
        let security = pod.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        let options = cri::NamespaceOption { network, ..own(users) };
        security.namespace_options = Some(options);
        pod
    };
    let made = |users, pod| container(&spaces(own(users)), &pod, &given.facts());
    let spec = made(Some(users()), pod_with(Some(users()), 0)).unwrap();
    assert_eq!(namespaces_of(&spec)[&Type::User], Some("/proc/41/ns/user".into()));
    assert_eq!(linux(&spec).uid_mappings().as_ref().unwrap()[0].size(), 65_536);
    let spec = made(Some(users()), pod_with(Some(users()), 2)).unwrap();
    assert_eq!(options_at(&spec, "/sys"), ["rbind", "rro", "nosuid", "nodev", "noexec"]);
    // Nobody joins the node's who is among other users already.
    let joined = namespaces_of(&spec);
    assert!(!joined.contains_key(&Type::Network) && !joined.contains_key(&Type::Uts));
    assert!(joined[&Type::Ipc].is_some() && joined[&Type::Pid].is_some());
    let node = cri::UserNamespace { mode: 2, ..Default::default() };
    let mut others = users();
    others.gids[0].host_id = 7;
    for (one, other) in [
        (None, Some(users())),
        (Some(users()), None),
        (Some(users()), Some(others)),
        (None, Some(node.clone())),
    ] {
        let refused = made(one, pod_with(other, 0)).unwrap_err().to_string();
        let words = "user namespace config for sandbox is different from container. Sandbox userns config: ";
        assert!(refused.starts_with(words), "{refused}");
    }
    let spec = made(Some(node.clone()), pod_with(Some(node), 0)).unwrap();
    assert!(!namespaces_of(&spec).contains_key(&Type::User));
}

#[test]
fn control_groups_are_its_own_where_there_is_one_hierarchy() {
    let mut given = Given::new();
    given.node.unified = true;
    given.handler.cgroup_writable = true;
    let spec = given.made(&config()).unwrap();
    assert_eq!(namespaces_of(&spec).get(&Type::Cgroup), Some(&None));
    assert!(options_at(&spec, "/sys/fs/cgroup").contains(&"rw".to_owned()));
    let spec = given.made(&secured(|security| security.privileged = true)).unwrap();
    assert!(!namespaces_of(&spec).contains_key(&Type::Cgroup));
}

#[test]
fn what_is_asked_for_is_masked_and_protected() {
    let config = secured(|security| {
        security.masked_paths = vec!["/proc/kcore".into()];
        security.readonly_paths = vec!["/proc/sys".into()];
        security.no_new_privs = true;
        security.readonly_rootfs = true;
        security.seccomp = Some(cri::SecurityProfile::default());
    });
    let spec = Given::new().made(&config).unwrap();
    assert_eq!(linux(&spec).masked_paths().as_ref().unwrap(), &["/proc/kcore"]);
    assert_eq!(linux(&spec).readonly_paths().as_ref().unwrap(), &["/proc/sys"]);
    assert_eq!(spec.process().as_ref().unwrap().no_new_privileges(), Some(true));
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    assert!(linux(&spec).seccomp().is_some());
    let mut given = Given::new();
    given.settings.disable_proc_mount = true;
    let spec = given.made(&config).unwrap();
    assert_eq!(linux(&spec).masked_paths().as_ref().unwrap().len(), 11);
}

#[test]
fn a_privileged_container_needs_a_privileged_pod_and_has_the_node() {
    let asked = secured(|security| {
        security.privileged = true;
        security.masked_paths = vec!["/proc/kcore".into()];
        security.seccomp = Some(cri::SecurityProfile::default());
    });
    let given = Given::new();
    let refused = container(&asked, &pod(false), &given.facts()).unwrap_err();
    assert_eq!(refused.to_string(), "no privileged container allowed in sandbox");
    let spec = given.made(&asked).unwrap();
    assert!(linux(&spec).masked_paths().is_none() && linux(&spec).seccomp().is_none());
    for place in ["/sys", "/sys/fs/cgroup"] {
        assert!(options_at(&spec, place).contains(&"rw".to_owned()), "{place}");
    }
    let devices = linux(&spec).devices().as_ref().unwrap();
    assert!(devices.iter().any(|device| device.path() == Path::new("/dev/null")));
    let rules = linux(&spec).resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert!(rules.len() == 1 && rules[0].allow());
}

#[rstest]
#[case(true, false, false)]
#[case(true, true, true)]
fn a_privileged_container_without_the_nodes_devices(
    #[case] without: bool,
    #[case] all_allowed: bool,
    #[case] expected: bool,
) {
    let mut given = Given::new();
    given.handler.privileged_without_host_devices = without;
    given.handler.privileged_without_host_devices_all_devices_allowed = all_allowed;
    let spec = given.made(&secured(|security| security.privileged = true)).unwrap();
    assert!(linux(&spec).devices().iter().flatten().next().is_none());
    let rules = linux(&spec).resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert_eq!(rules.iter().any(|rule| rule.allow()), expected);
}

#[test]
fn devices_come_with_their_rules_through_links_and_with_an_owner() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::os::unix::fs::symlink("/dev/null", dir.path().join("link")).unwrap();
    let device = |host: PathBuf, container: &str| cri::Device {
        host_path: host.to_str().unwrap().into(),
        container_path: container.into(),
        permissions: "rw".into(),
    };
    let mut asked = secured(|security| {
        security.run_as_user = Some(cri::Int64Value { value: 1000 });
        security.run_as_group = Some(cri::Int64Value { value: 0 });
    });
    asked.devices =
        vec![device(dir.path().join("link"), "/dev/mine"), device("/dev/zero".into(), "")];
    let mut given = Given::new();
    given.settings.device_ownership_from_security_context = true;
    let spec = given.made(&asked).unwrap();
    let devices = linux(&spec).devices().as_ref().unwrap();
    let shown: Vec<_> =
        devices.iter().map(|d| (d.path().as_path(), d.minor(), d.uid(), d.gid())).collect();
    let expected = [
        (Path::new("/dev/mine"), 3, Some(1000), Some(0)),
        (Path::new("/dev/zero"), 5, Some(1000), Some(0)),
    ];
    assert_eq!(shown, expected);
    let rules = linux(&spec).resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert_eq!((rules.len(), rules[1].access().as_deref()), (3, Some("rw")));

    fs_err::write(dir.path().join("file"), "").unwrap();
    let file = dir.path().join("file");
    asked.devices = vec![device(file.clone(), "/dev/x")];
    let refused = given.made(&asked).unwrap_err().to_string();
    let words =
        format!("get device path: {file:?} containerPath: \"/dev/x\" error: not a device node");
    assert_eq!(refused, words);
    asked.devices = vec![device(dir.path().join("none"), "/dev/x")];
    assert!(matches!(given.made(&asked), Err(Error::ResolveDevice(..))));
    asked.devices = vec![device("/dev/null".into(), "/dev/x"); 4097];
    assert!(matches!(given.made(&asked), Err(Error::TooMany { what: "devices", .. })));
}

#[test]
fn limits_and_the_score_come_together() {
    let limits = cri::LinuxContainerResources { cpu_shares: 9, ..Default::default() };
    let linux_config =
        cri::LinuxContainerConfig { resources: Some(limits), security_context: None };
    let asked = cri::ContainerConfig { linux: Some(linux_config), ..config() };
    let spec = Given::new().made(&asked).unwrap();
    assert_eq!(spec.process().as_ref().unwrap().oom_score_adj(), Some(0));
    assert_eq!(crate::resources_of(&spec).linux.unwrap().cpu_shares, 9);
}

#[test]
fn a_base_is_what_options_go_over() {
    let mut of_file = base(Path::new("/elsewhere"));
    of_file.process_mut().as_mut().unwrap().set_env(Some(vec!["FROM=base".into()]));
    of_file.set_annotations(Some([("base".to_owned(), "1".to_owned())].into()));
    let mut given = Given::new();
    given.handler.base = Some(of_file);
    let spec = given.made(&config()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.rlimits().as_ref().unwrap().len(), 1, "the file's limits stay");
    assert_eq!(process.env().as_ref().unwrap()[0], "FROM=base");
    assert_eq!(spec.annotations().as_ref().unwrap()["base"], "1");
    assert_eq!(linux(&spec).cgroups_path().as_deref(), Some(Path::new("/kubepods/pod1/c1")));
    let empty: Spec = serde_json::from_str("{\"ociVersion\":\"1.0.2\"}").unwrap();
    given.handler.base = Some(empty);
    assert!(given.made(&config()).is_ok());
}

#[test]
fn profiles_of_apparmor_and_labels_of_selinux() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("profiles"), "").unwrap();
    let mut given = Given::new();
    given.node.apparmor = Some(dir.path().join("profiles"));
    let profile = |given: &Given, config: &cri::ContainerConfig| {
        let spec = given.made(config).unwrap();
        spec.process().as_ref().unwrap().apparmor_profile().clone()
    };
    assert_eq!(profile(&given, &config()).as_deref(), Some(crate::DEFAULT_APPARMOR_PROFILE));
    let privileged = secured(|security| security.privileged = true);
    assert_eq!(profile(&given, &privileged), None);
    given.settings.disable_apparmor = true;
    assert_eq!(profile(&given, &config()), None);
    let asked = secured(|security| security.apparmor_profile = "localhost/x".into());
    let refused = given.made(&asked).unwrap_err().to_string();
    assert_eq!(refused, "apparmor is not supported");

    let labels = SelinuxLabels { process: "u:r:p_t:s0".into(), mount: "u:r:f_t:s0".into() };
    let selinux = Selinux::On(labels);
    let facts = ContainerFacts { selinux, pod_label: "a:b:c:s1", ..given.facts() };
    let spec = container(&config(), &pod(true), &facts).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.selinux_label().as_deref(), Some("a:b:c:s1"));
    assert_eq!(linux(&spec).mount_label().as_deref(), Some("a:r:f_t:s1"));
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |config: &cri::ContainerConfig| Given::new().made(config).unwrap_err();
    let nameless = refused(&cri::ContainerConfig::default());
    assert_eq!(nameless.to_string(), "container config must include metadata");
    let of_nobody = container(&config(), &Default::default(), &Given::new().facts());
    let words = "pod sandbox config must include metadata";
    assert_eq!(of_nobody.unwrap_err().to_string(), words);
    let signal = cri::ContainerConfig { stop_signal: 99, ..config() };
    assert_eq!(refused(&signal).to_string(), "unknown CRI stop signal 99: invalid argument");
    let masks = secured(|security| security.masked_paths = vec!["/x".into(); 5000]);
    assert!(matches!(refused(&masks), Error::TooMany { what: "masked paths", .. }));
    let device = cri::CdiDevice { name: "v.com/c=d".into() };
    let cdi = cri::ContainerConfig { cdi_devices: vec![device], ..config() };
    let mut given = Given::new();
    given.settings.cdi_spec_dirs = Vec::new();
    let mut spec = given.made(&cdi).unwrap();
    let root = RootView::of_layers([]).unwrap();
    let refused = finish(&mut spec, &cdi, &given.facts(), &root).unwrap_err();
    assert!(matches!(refused, Error::Cdi(_)));
}

#[test]
fn the_user_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("etc")).unwrap();
    fs_err::write(dir.path().join("etc/passwd"), "app:x:7:8::/:\n").unwrap();
    let root = RootView::of_layers([dir.path().to_owned()]).unwrap();
    let given = Given::new();
    let asked = secured(|security| {
        security.run_as_username = "app".into();
        security.supplemental_groups = vec![3];
    });
    let mut spec = given.made(&asked).unwrap();
    finish(&mut spec, &asked, &given.facts(), &root).unwrap();
    let user = spec.process().as_ref().unwrap().user();
    assert_eq!((user.uid(), user.gid()), (7, 8));
    assert_eq!(user.additional_gids().as_deref(), Some(&[3, 8][..]));
}
