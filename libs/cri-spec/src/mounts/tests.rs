//! What ends up where in a container, and which mounts are refused.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use berth_runtime_spec::ImageConfig;
use rstest::rstest;

use super::*;
use crate::{Handler, Node, PodFiles, Selinux, Settings};

/// A pod's files, and folders to bind.
struct Host {
    dir: tempfile::TempDir,
    files: PodFiles,
    handler: Handler,
    settings: Settings,
    node: Node,
    image: ImageConfig,
    label: Option<String>,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for file in ["hostname", "hosts", "resolv.conf"] {
            fs_err::write(root.join(file), file).unwrap();
        }
        fs_err::create_dir(root.join("shm")).unwrap();
        let files = PodFiles {
            hostname: root.join("hostname"),
            hosts: root.join("hosts"),
            resolv_conf: root.join("resolv.conf"),
            shm: root.join("shm"),
        };
        let handler =
            Handler { recursive_read_only: true, mount_options: true, ..Default::default() };
        let (settings, node, image, label) = Default::default();
        Self { dir, files, handler, settings, node, image, label }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn facts<'a>(&'a self, volumes: &'a [cri::Mount]) -> ContainerFacts<'a> {
        ContainerFacts {
            id: "c",
            pod_id: "p",
            pod_pid: 1,
            target_pid: None,
            image: &self.image,
            image_name: "image",
            files: &self.files,
            volumes,
            selinux: Selinux::default(),
            pod_label: "",
            handler: &self.handler,
            settings: &self.settings,
            node: &self.node,
        }
    }

    fn made(&self, config: &cri::ContainerConfig, volumes: &[cri::Mount]) -> Result<Draft, Error> {
        let mut draft = Draft::begin(None, Path::new("/x"));
        apply(&mut draft, config, &self.facts(volumes), self.label.as_deref())?;
        Ok(draft)
    }

    /// Of one mount of this host's folder.
    fn one(&self, change: impl FnOnce(&mut cri::Mount)) -> Result<Mount, Error> {
        let mut mount = bind(&self.text("data"), "/data");
        change(&mut mount);
        let draft = self.made(&config(vec![mount]), &[])?;
        let at = |mount: &&Mount| mount.destination() == Path::new("/data");
        Ok(draft.mounts.iter().find(at).unwrap().clone())
    }
}

fn bind(host: &str, container: &str) -> cri::Mount {
    cri::Mount { host_path: host.into(), container_path: container.into(), ..Default::default() }
}

fn config(mounts: Vec<cri::Mount>) -> cri::ContainerConfig {
    cri::ContainerConfig { mounts, ..Default::default() }
}

fn places(draft: &Draft) -> Vec<String> {
    draft.mounts.iter().map(|mount| mount.destination().display().to_string()).collect()
}

fn source_at(draft: &Draft, place: &str) -> PathBuf {
    let at: Vec<_> =
        draft.mounts.iter().filter(|mount| mount.destination() == Path::new(place)).collect();
    assert_eq!(at.len(), 1, "{place}");
    at[0].source().clone().unwrap()
}

fn options(mount: &Mount) -> Vec<&str> {
    mount.options().iter().flatten().map(String::as_str).collect()
}

#[test]
fn a_plain_container_has_the_defaults_and_the_pods_files() {
    let host = Host::new();
    let draft = host.made(&config(Vec::new()), &[]).unwrap();
    let expected = [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/dev/shm",
    ];
    assert_eq!(places(&draft), expected);
    assert_eq!(source_at(&draft, "/dev/shm"), host.path("shm"));
    let groups = draft.mounts.iter().find(|m| m.destination() == Path::new(CGROUP)).unwrap();
    assert_eq!(options(groups), ["nosuid", "noexec", "nodev", "relatime", "ro"]);
    assert!(draft.linux.rootfs_propagation().is_none());
}

#[test]
fn the_pods_files_follow_the_root_and_the_users_and_may_be_missing() {
    let host = Host::new();
    fs_err::remove_file(host.path("hosts")).unwrap();
    let ids = vec![cri::IdMapping { host_id: 1000, container_id: 0, length: 10 }];
    let users = cri::UserNamespace { mode: 0, uids: ids.clone(), gids: ids };
    let namespaces =
        cri::NamespaceOption { ipc: 2, userns_options: Some(users), ..Default::default() };
    let security = cri::LinuxContainerSecurityContext {
        readonly_rootfs: true,
        namespace_options: Some(namespaces),
        ..Default::default()
    };
    let linux = cri::LinuxContainerConfig { security_context: Some(security), resources: None };
    let config = cri::ContainerConfig { linux: Some(linux), ..Default::default() };
    let draft = host.made(&config, &[]).unwrap();
    assert!(!places(&draft).contains(&"/etc/hosts".to_owned()));
    let at =
        |place: &str| draft.mounts.iter().find(|m| m.destination() == Path::new(place)).unwrap();
    let hostname = at("/etc/hostname");
    assert_eq!(options(hostname), ["rbind", "rprivate", "ro"]);
    // It is the pod's root's already.
    assert!(hostname.uid_mappings().is_none() && hostname.gid_mappings().is_none());
    let shm = at("/dev/shm");
    assert_eq!((options(shm)[2], shm.uid_mappings().is_none()), ("rw", true));
    assert_eq!(source_at(&draft, "/dev/shm"), Path::new("/dev/shm"));
}

#[test]
fn the_request_wins_over_the_pods_files_and_these_over_the_defaults() {
    let host = Host::new();
    let own = vec![
        bind(&host.text("deep"), "/a/b/c"),
        bind(&host.text("own"), "/etc//../etc/hosts/"),
        bind(&host.text("top"), "/a"),
        bind(&host.text("up"), "/../../b"),
    ];
    let draft = host.made(&config(own), &[]).unwrap();
    assert_eq!(source_at(&draft, "/etc/hosts"), host.path("own"));
    let places = places(&draft);
    let at = |place: &str| places.iter().position(|one| one == place).unwrap();
    assert!(at("/a") < at("/a/b/c") && at("/b") < at("/etc/hosts"));
}

#[test]
fn a_dev_of_the_request_hides_the_defaults_below_it() {
    let host = Host::new();
    let draft = host.made(&config(vec![bind(&host.text("dev"), "/dev")]), &[]).unwrap();
    let below: Vec<_> =
        places(&draft).into_iter().filter(|place| place.starts_with("/dev")).collect();
    assert_eq!(below, ["/dev", "/dev/shm"], "the pod's own stays");
}

#[test]
fn an_images_volume_takes_the_place_of_nothing() {
    let host = Host::new();
    let evil = host.text("volume");
    let places_of_others =
        ["/etc/hosts", "/proc", "/dev/shm", "/sys/fs/cgroup", "/", "/../proc", "/data", "proc/"];
    let mut volumes: Vec<_> = places_of_others.iter().map(|place| bind(&evil, place)).collect();
    volumes.push(bind(&evil, "srv"));
    let own = config(vec![bind(&host.text("own"), "/data")]);
    let draft = host.made(&own, &volumes).unwrap();
    let of_image: Vec<_> = draft
        .mounts
        .iter()
        .filter(|mount| mount.source().as_deref() == Some(Path::new(&evil)))
        .map(|mount| mount.destination().clone())
        .collect();
    assert_eq!(of_image, [Path::new("/srv")]);
}

#[test]
fn a_missing_host_path_is_made_and_a_link_followed_on_the_host() {
    let host = Host::new();
    fs_err::create_dir(host.path("real")).unwrap();
    fs_err::os::unix::fs::symlink("real", host.path("link")).unwrap();
    fs_err::os::unix::fs::symlink("gone", host.path("dangling")).unwrap();
    let mounts = vec![bind(&host.text("new/folder"), "/n"), bind(&host.text("link"), "/l")];
    let draft = host.made(&config(mounts), &[]).unwrap();
    assert_eq!(source_at(&draft, "/l"), host.path("real"));
    let made = fs_err::metadata(host.path("new/folder")).unwrap();
    assert!(made.is_dir());
    assert_eq!(made.permissions().mode() & 0o700, 0o700);
    let refused = host.made(&config(vec![bind(&host.text("dangling"), "/d")]), &[]);
    assert!(matches!(refused, Err(Error::Mount(MountFault::Make(..)))));
}

#[rstest]
#[case("", "/x")]
#[case("relative", "/x")]
#[case("/tmp", "")]
fn a_mount_has_two_ends(#[case] from: &str, #[case] to: &str) {
    let refused = Host::new().made(&config(vec![bind(from, to)]), &[]);
    assert!(matches!(refused, Err(Error::Mount(MountFault::Path { .. }))));
}

#[rstest]
#[case(false, false, Ok("rw"))]
#[case(true, false, Ok("ro"))]
#[case(true, true, Ok("rro"))]
#[case(false, true, Err("recursive read-only mount conflicts with RW mount (hostPath=PATH)"))]
fn read_only_may_be_all_that_is_below(
    #[case] readonly: bool,
    #[case] recursive_read_only: bool,
    #[case] expected: Result<&str, &str>,
) {
    let host = Host::new();
    let made = host.one(|mount| {
        (mount.readonly, mount.recursive_read_only) = (readonly, recursive_read_only);
    });
    let path = format!("{:?}", host.text("data"));
    match (made, expected) {
        (Ok(mount), Ok(option)) => assert_eq!(options(&mount), ["rbind", "rprivate", option]),
        (Err(error), Err(words)) => assert_eq!(error.to_string(), words.replace("PATH", &path)),
        (made, _) => panic!("{made:?}"),
    }
}

#[test]
fn a_runtime_that_cannot_is_not_asked() {
    let mut host = Host::new();
    host.handler = Handler::default();
    let data = host.text("data");
    let refused = host.one(|mount| (mount.readonly, mount.recursive_read_only) = (true, true));
    let words = format!(
        "RROUnsupported: runtime handler does not support recursive read-only mounts (hostPath={data:?})"
    );
    assert_eq!(refused.unwrap_err().to_string(), words);
    let refused = host.one(|mount| mount.mount_options = vec!["noexec".into()]);
    assert!(matches!(refused, Err(Error::Mount(MountFault::Option { .. }))));
}

#[test]
fn more_options_are_those_that_make_no_other_mount_of_it() {
    let host = Host::new();
    let made = host.one(|mount| mount.mount_options = vec!["noexec".into(), "nosuid".into()]);
    assert_eq!(options(&made.unwrap()), ["rbind", "rprivate", "rw", "noexec", "nosuid"]);
    for option in ["rshared", "bind", "size=1", "", "ro,exec"] {
        let refused = host.one(|mount| mount.mount_options = vec![option.into()]);
        assert!(matches!(refused, Err(Error::Mount(MountFault::Option { .. }))), "{option}");
    }
}

#[test]
fn ids_of_a_mount_are_handed_on() {
    let host = Host::new();
    let ids = |host_id| vec![cri::IdMapping { host_id, container_id: 5, length: 9 }];
    let made = host.one(|mount| {
        mount.uid_mappings = ids(100);
        mount.gid_mappings = ids(200);
    });
    let made = made.unwrap();
    let one = |ids: &Option<Vec<oci_spec::runtime::LinuxIdMapping>>| {
        let one = ids.as_ref().unwrap()[0];
        (one.host_id(), one.container_id(), one.size())
    };
    assert_eq!((one(made.uid_mappings()), one(made.gid_mappings())), ((100, 5, 9), (200, 5, 9)));
}

/// A table with one private mount at /, one shared, one slave.
fn table() -> Table {
    let text = b"1 0 0:1 / / rw - tmpfs t rw\n\
        2 1 0:2 / /s rw shared:7 - tmpfs t rw\n\
        3 1 0:3 / /m rw master:7 - tmpfs t rw\n\
        4 2 0:4 / /s/p rw - tmpfs t rw\n\
        5 2 0:5 / /s/p rw shared:8 - tmpfs t rw\n";
    Table(Some(mountinfo::parse(text).unwrap()))
}

#[test]
fn a_path_is_in_the_last_mount_above_it() {
    let mut table = table();
    for (path, id) in [("/x", 1), ("/s", 2), ("/s/y/z", 2), ("/sx", 1), ("/s/p/q", 5)] {
        assert_eq!(table.of(Path::new(path)).unwrap().unwrap().id, id, "{path}");
    }
}

/// By a table of mounts of this test's own folder.
#[rstest]
#[case(2, "shared:1", Ok("rshared"))]
#[case(2, "master:1", Err("but it is not a shared mount"))]
#[case(2, "", Err("but it is not a shared mount"))]
#[case(1, "shared:1", Ok("rslave"))]
#[case(1, "master:1", Ok("rslave"))]
#[case(1, "", Err("but it is not a shared or slave mount"))]
#[case(0, "", Ok("rprivate"))]
#[case(9, "", Ok("rprivate"))]
fn propagation_has_to_fit_the_mount_on_the_host(
    #[case] propagation: i32,
    #[case] tags: &str,
    #[case] expected: Result<&str, &str>,
) {
    let host = Host::new();
    let data = host.text("data");
    let line = format!("1 0 0:1 / {} rw {tags} - tmpfs t rw\n", host.path("").display());
    let line = line.replace("  ", " ").replace("/ rw", " rw");
    let mut table = Table(Some(mountinfo::parse(line.as_bytes()).unwrap()));
    let of = cri::Mount { propagation, ..bind(&data, "/data") };
    match (bind::make(&of, "/data", &host.handler, &mut table), expected) {
        (Ok(mount), Ok(option)) => assert_eq!(options(&mount), ["rbind", option, "rw"]),
        (Err(error), Err(words)) => {
            let error = error.to_string();
            assert!(error.starts_with(&format!("path {data:?} is mounted on ")), "{error}");
            assert!(error.ends_with(words), "{error}");
        }
        (made, _) => panic!("{made:?}"),
    }
}

#[test]
fn what_comes_later_is_not_read_only() {
    let host = Host::new();
    let line = format!("1 0 0:1 / {} rw shared:1 - tmpfs t rw\n", host.dir.path().display());
    let mut table = Table(Some(mountinfo::parse(line.as_bytes()).unwrap()));
    let of = cri::Mount {
        readonly: true,
        recursive_read_only: true,
        propagation: 2,
        ..bind(&host.text("data"), "/data")
    };
    let refused = bind::make(&of, "/data", &host.handler, &mut table).unwrap_err().to_string();
    let words = "recursive read-only mount needs private propagation, got \"PROPAGATION_BIDIRECTIONAL\" (hostPath=";
    assert!(refused.starts_with(words), "{refused}");
}

#[test]
fn mounts_have_an_end() {
    let many = vec![bind("/tmp", "/x"); MAX_MOUNTS + 1];
    let refused = Host::new().made(&config(many), &[]);
    assert!(matches!(refused, Err(Error::TooMany { what: "mounts", .. })));
}

#[test]
fn what_asks_for_it_gets_the_label_of_the_containers_files() {
    let label = "u:object_r:f_t:s0:c1,c2";
    let label_of = |path: &Path| {
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(path, berth_selinux::ATTRIBUTE, &mut value[..]).ok()?;
        Some(String::from_utf8(value[..length].to_vec()).unwrap())
    };
    let mut host = Host::new();
    for folder in ["asks", "asks/below", "volume", "other"] {
        fs_err::create_dir(host.path(folder)).unwrap();
    }
    let asks = |name: &str| {
        let mount = bind(&host.text(name), &format!("/{name}"));
        cri::Mount { selinux_relabel: true, ..mount }
    };
    let config = config(vec![asks("asks"), asks("made"), bind(&host.text("other"), "/other")]);
    let volumes = [asks("volume")];
    // Without a label nothing is said of it: kubelets always ask.
    host.made(&config, &volumes).unwrap();
    assert_eq!(label_of(&host.path("asks")), None);
    host.label = Some(label.to_owned());
    host.made(&config, &volumes).unwrap();
    for path in ["asks", "asks/below", "made", "volume", "shm", "hosts", "hostname", "resolv.conf"]
    {
        assert_eq!(label_of(&host.path(path)).as_deref(), Some(label), "{path}");
    }
    assert_eq!((label_of(&host.path("other")), label_of(&host.path(""))), (None, None));
    let mut mount = bind("/etc", "/x");
    mount.selinux_relabel = true;
    let refused = host.made(&self::config(vec![mount]), &[]).err().unwrap();
    let words = format!("relabel \"/etc\" with {label:?} failed");
    assert_eq!(refused.to_string(), words);
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(cause, "SELinux relabeling of \"/etc\" is not allowed");
    // A container that has a folder makes a link in it, which another is to have.
    std::os::unix::fs::symlink(host.path("other"), host.path("asks/link")).unwrap();
    let mut mount = bind(&host.text("asks/link"), "/link");
    mount.selinux_relabel = true;
    let link = host.made(&self::config(vec![mount]), &[]).err().unwrap();
    let cause = std::error::Error::source(&link).unwrap().to_string();
    assert!(
        cause.starts_with(&format!("a link in {:?} leads to it", host.path("asks"))),
        "{cause}"
    );
    assert_eq!(label_of(&host.path("other")), None);
}
