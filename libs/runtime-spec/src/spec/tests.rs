//! What becomes of image and options, one table per part of the spec.

use oci_spec::runtime::PosixRlimitType;
use rstest::rstest;

use super::*;
use crate::{DeviceRequest, TmpfsMount};

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn image() -> ImageConfig {
    ImageConfig { cmd: strings(&["sh"]), ..Default::default() }
}

fn options() -> Options {
    Options { namespace: "default".into(), id: "c1".into(), ..Default::default() }
}

fn spec(image: &ImageConfig, options: &Options) -> Result<Spec, Error> {
    build(image, options, &RootView::of_layers([]).unwrap())
}

fn linux(options: &Options) -> Linux {
    spec(&image(), options).unwrap().linux().clone().unwrap()
}

fn sorted(paths: &Option<Vec<String>>) -> Vec<String> {
    let mut paths = paths.clone().unwrap_or_default();
    paths.sort();
    paths
}

#[rstest]
#[case(&["e"], &["c"], None, &[], &["e", "c"])]
#[case(&["e"], &["c"], None, &["a"], &["e", "a"])]
#[case(&["e"], &["c"], Some(&["x"][..]), &[], &["x"])]
#[case(&["e"], &["c"], Some(&["x"][..]), &["a"], &["x", "a"])]
#[case(&["e"], &["c"], Some(&[][..]), &["a"], &["a"])]
#[case(&[], &["c"], None, &[], &["c"])]
fn a_command_is_put_together(
    #[case] entrypoint: &[&str],
    #[case] cmd: &[&str],
    #[case] own_entrypoint: Option<&[&str]>,
    #[case] own_args: &[&str],
    #[case] expected: &[&str],
) {
    let image =
        ImageConfig { entrypoint: strings(entrypoint), cmd: strings(cmd), ..Default::default() };
    let options =
        Options { entrypoint: own_entrypoint.map(strings), args: strings(own_args), ..options() };
    assert_eq!(args(&image, &options).unwrap(), strings(expected));
}

#[test]
fn a_container_without_a_command_is_refused() {
    let refused = spec(&ImageConfig::default(), &options());
    assert!(matches!(refused, Err(Error::NoCommand)));
}

#[rstest]
#[case(&[], &[], false, &[defaults::PATH_ENV])]
#[case(&["A=1"], &[], true, &[defaults::PATH_ENV, "TERM=xterm", "A=1"])]
#[case(&["PATH=/p", "A=1"], &["A=2", "B=a=b"], false, &["PATH=/p", "A=2", "B=a=b"])]
#[case(&["PATH=/p", "A=1"], &["A"], false, &["PATH=/p"])]
#[case(&["PATH=/p", "TERM=vt100"], &[], true, &["PATH=/p", "TERM=vt100"])]
fn an_environment_is_merged(
    #[case] base: &[&str],
    #[case] own: &[&str],
    #[case] terminal: bool,
    #[case] expected: &[&str],
) {
    let options = Options { env: strings(own), terminal, ..options() };
    assert_eq!(environment(&strings(base), &options), strings(expected));
}

#[test]
fn a_plain_container_has_containerds_defaults() {
    let spec = spec(&image(), &options()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.no_new_privileges(), Some(true));
    assert_eq!(process.cwd(), Path::new("/"));
    let capabilities = process.capabilities().as_ref().unwrap();
    assert_eq!(capabilities.bounding().as_ref().map(|set| set.len()), Some(14));
    assert!(capabilities.inheritable().is_none() && capabilities.ambient().is_none());
    let linux = spec.linux().as_ref().unwrap();
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/default/c1")));
    // What containerd 2.3's default spec hides and protects, by name.
    let masked = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ];
    assert_eq!(sorted(linux.masked_paths()), masked);
    let protected = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    assert_eq!(sorted(linux.readonly_paths()), protected);
    let limits: Vec<_> = process.rlimits().iter().flatten().collect();
    assert_eq!(limits.len(), 1);
    assert_eq!(limits[0].typ(), PosixRlimitType::RlimitNofile);
    assert_eq!((limits[0].soft(), limits[0].hard()), (1024, 1024));
    assert_eq!(linux.namespaces().as_ref().map(Vec::len), Some(5));
    assert!(linux.seccomp().is_some());
    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert!(!rules[0].allow() && rules.len() == 10);
}

#[test]
fn a_privileged_container_has_everything() {
    let options = Options { privileged: true, ..options() };
    let spec = spec(&image(), &options).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_none() && linux.masked_paths().is_none());
    assert!(linux.devices().as_ref().unwrap().iter().any(|d| d.path() == Path::new("/dev/null")));
    assert_eq!(spec.process().as_ref().unwrap().no_new_privileges(), Some(false));
    let read_only = |mount: &Mount| mount.options().iter().flatten().any(|option| option == "ro");
    assert!(!spec.mounts().iter().flatten().any(read_only));
}

#[test]
fn a_mount_replaces_the_default_for_its_place() {
    let bind = BindMount {
        source: "/srv".into(),
        target: "/run".into(),
        read_only: true,
        propagation: String::new(),
    };
    let tmpfs = TmpfsMount { target: "/tmp".into(), options: strings(&["size=1m"]) };
    let options = Options { binds: vec![bind], tmpfs: vec![tmpfs], ..options() };
    let mounts = mounts(&options).unwrap();
    let runs: Vec<_> = mounts.iter().filter(|m| m.destination() == Path::new("/run")).collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].options().as_ref().unwrap(), &strings(&["rbind", "rprivate", "ro"]));
    assert_eq!(mounts.len(), 9);
}

#[test]
fn limits_become_what_the_kernel_takes() {
    let limits = Limits {
        memory: Some(64 << 20),
        cpus: Some(1.5),
        pids: Some(10),
        cpuset: Some("0".into()),
        ..Default::default()
    };
    let linux = linux(&Options { limits, ..options() });
    let resources = linux.resources().as_ref().unwrap();
    assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64 << 20));
    let cpu = resources.cpu().as_ref().unwrap();
    assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
    assert_eq!(resources.pids().as_ref().unwrap().limit(), 10);
    for cpus in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let limits = Limits { cpus: Some(cpus), ..Default::default() };
        assert!(matches!(cpu_of(&limits), Err(Error::LimitOutOfRange { .. })));
    }
    let limits = Limits { memory: Some(u64::MAX), ..Default::default() };
    assert!(matches!(memory(&limits), Err(Error::LimitOutOfRange { .. })));
}

fn cpu_of(limits: &Limits) -> Result<Option<LinuxCpu>, Error> {
    cpu(limits)
}

#[test]
fn the_network_is_the_hosts_or_its_own() {
    let kinds = |network| {
        let linux = linux(&Options { network, ..options() });
        let of = linux.namespaces().clone().unwrap();
        of.into_iter().find(|n| n.typ() == LinuxNamespaceType::Network)
    };
    assert!(kinds(Network::Host).is_none());
    assert!(kinds(Network::Private).unwrap().path().is_none());
    let path = kinds(Network::Path("/run/netns/x".into())).unwrap();
    assert_eq!(path.path().as_deref(), Some(Path::new("/run/netns/x")));
}

#[test]
fn a_device_comes_with_its_rule() {
    let device =
        DeviceRequest { source: "/dev/zero".into(), target: "/dev/nil".into(), access: "r".into() };
    let linux = linux(&Options { devices: vec![device], ..options() });
    assert_eq!(linux.devices().as_ref().unwrap().len(), 1);
    let rules = linux.resources().as_ref().unwrap().devices().clone().unwrap();
    assert_eq!(rules.last().unwrap().access().as_deref(), Some("r"));
}

#[test]
fn an_exec_takes_after_its_container() {
    let container = spec(&image(), &Options { env: strings(&["A=1"]), ..options() }).unwrap();
    let own = container.process().as_ref().unwrap();
    let root = RootView::of_layers([]).unwrap();
    let exec = Options {
        args: strings(&["id"]),
        env: strings(&["B=2"]),
        user: Some("7:8".into()),
        cwd: Some("/tmp".into()),
        ..Default::default()
    };
    let process = exec_process(own, &exec, &root).unwrap();
    assert_eq!(process.args().as_ref().unwrap(), &strings(&["id"]));
    assert_eq!(process.env().as_ref().unwrap()[1..], strings(&["A=1", "B=2"]));
    assert_eq!((process.user().uid(), process.user().gid()), (7, 8));
    assert_eq!(process.capabilities(), own.capabilities());
    let relative = Options { cwd: Some("tmp".into()), ..exec };
    assert!(matches!(exec_process(own, &relative, &root), Err(Error::RelativePath { .. })));
}
