//! Machines as folders, and what becomes of pods on them.

use berth_cri_spec::{ContainerFacts, Handler, Node, PodFacts, PodFiles, Settings};
use berth_proto::runtime::v1 as wire;
use berth_runtime_spec::{ImageConfig, RootView};

use super::*;

const CONTEXTS: &str = "etc/selinux/targeted/contexts/lxc_contexts";

/// A machine with SELinux.
fn machine(levels: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let labels = format!(
        "process = \"system_u:system_r:container_t{levels}\"\n\
         file = \"system_u:object_r:container_file_t{levels}\"\n\
         ro_file = \"system_u:object_r:container_ro_file_t{levels}\"\n"
    );
    for (path, text) in [
        ("proc/self/mountinfo", "3 2 0:5 / /sys/fs/selinux rw - selinuxfs selinuxfs rw\n"),
        ("proc/self/attr/current", "system_u:system_r:container_runtime_t:s0\0"),
        ("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n"),
        (CONTEXTS, &labels),
    ] {
        let path = dir.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    dir
}

fn on(range: u32) -> Selinux {
    let cri = Cri { selinux_category_range: range, ..Cri::default() };
    Selinux::look(machine(":s0").path(), &cri)
}

fn option(kind: &str, level: &str) -> SeLinuxOption {
    SeLinuxOption { r#type: kind.into(), level: level.into(), ..SeLinuxOption::default() }
}

#[test]
fn no_two_pods_that_are_there_have_one_level() {
    let selinux = on(3);
    let mut labels: Vec<_> = ["a", "b", "c"].map(|id| selinux.begin(id, None).unwrap()).into();
    labels.sort();
    let expected =
        ["c0,c1", "c0,c2", "c1,c2"].map(|pair| format!("system_u:system_r:container_t:s0:{pair}"));
    assert_eq!(labels, expected);
    let full = selinux.begin("d", None).unwrap_err().to_string();
    let words =
        "choose a level of SELinux: all 3 pairs of categories are taken: resource exhausted";
    assert_eq!(full, words);
    // Two may be told to have one.
    let asked = option("", "s0:c0,c1");
    assert_eq!(selinux.begin("d", Some(&asked)).unwrap(), expected[0]);
    selinux.release("d");
    assert!(selinux.begin("d", None).is_err());
    selinux.release("b");
    assert!(labels.contains(&selinux.begin("d", None).unwrap()));
}

#[test]
fn a_restart_gives_nobody_a_level_that_is_on_record() {
    let selinux = on(3);
    selinux.keep("old", "system_u:system_r:container_t:s0:c0,c2");
    selinux.keep("asked", "u:r:t:s0:c1,c2");
    selinux.keep("without", "");
    assert_eq!(selinux.begin("new", None).unwrap(), "system_u:system_r:container_t:s0:c0,c1");
    assert!(selinux.begin("more", None).is_err());
}

#[test]
fn what_is_refused_takes_no_level() {
    let selinux = on(2);
    let refused = selinux.begin("a", Some(&option("a:b", ""))).unwrap_err().to_string();
    assert_eq!(refused, "the format of 'type' \"a:b\" is not correct");
    let refused = selinux.begin("a", Some(&option("", "c1"))).unwrap_err().to_string();
    assert_eq!(refused, "the format of 'level' \"c1\" is not correct");
    let made = selinux.begin("b", Some(&option("my_t", ""))).unwrap();
    assert_eq!(made, "system_u:system_r:my_t:s0:c0,c1");
}

#[test]
fn a_policy_without_levels_gets_none() {
    let selinux = Selinux::look(machine("").path(), &Cri::default());
    for id in ["a", "b"] {
        assert_eq!(selinux.begin(id, None).unwrap(), "system_u:system_r:container_t");
    }
    assert_eq!(selinux.shared(), ["context=\"system_u:object_r:container_ro_file_t\""]);
}

#[test]
fn where_it_is_off_who_asks_is_refused_and_nobody_else() {
    let dir = machine(":s0");
    let cri = Cri { enable_selinux: false, ..Cri::default() };
    let by_key = Selinux::look(dir.path(), &cri);
    fs_err::remove_file(dir.path().join(CONTEXTS)).unwrap();
    let by_policy = Selinux::look(dir.path(), &Cri::default());
    let by_kernel = Selinux::look(&dir.path().join("none"), &Cri::default());
    for (selinux, why) in [
        (by_key, "enable_selinux of [cri] is false"),
        (by_policy, "is container-selinux installed?"),
        (by_kernel, "the kernel has it off"),
    ] {
        assert_eq!(selinux.begin("p", None).unwrap(), "");
        assert_eq!(selinux.begin("p", Some(&SeLinuxOption::default())).unwrap(), "");
        let refused = selinux.begin("p", Some(&option("t", ""))).unwrap_err().to_string();
        assert!(refused.starts_with("selinux is not supported: "), "{refused}");
        assert!(refused.ends_with(why), "{refused}");
        // Also in a pod that was labelled before.
        let base = selinux.base("u:r:t:s0:c1,c2");
        assert!(matches!(base, spec::Selinux::Off(said) if said.ends_with(why)));
        assert!(selinux.shared().is_empty());
        selinux.share(Path::new("/none")).unwrap();
    }
}

#[test]
fn a_folder_for_all_gets_the_label_for_it() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("init"), "").unwrap();
    on(1024).share(folder.path()).unwrap();
    for path in [folder.path().to_owned(), folder.path().join("init")] {
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(path, berth_selinux::ATTRIBUTE, &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"system_u:object_r:container_ro_file_t:s0");
    }
}

/// What both specifications of a pod with a container are made of, beside SELinux.
#[derive(Default)]
struct Given {
    image: ImageConfig,
    handler: Handler,
    settings: Settings,
    node: Node,
    files: PodFiles,
}

impl Given {
    fn pod(&self, selinux: &Selinux, config: &wire::PodSandboxConfig) -> (String, Spec) {
        let security = config.linux.as_ref().unwrap().security_context.as_ref().unwrap();
        let label = selinux.begin("p", security.selinux_options.as_ref()).unwrap();
        let facts = PodFacts {
            id: "p",
            image: &self.image,
            image_name: "",
            root: "/root".into(),
            netns: None,
            userns: None,
            shm: "/shm".into(),
            resolv_conf: "/resolv.conf".into(),
            selinux: selinux.base(&label),
            handler: &self.handler,
            settings: &self.settings,
            node: &self.node,
        };
        let root = RootView::of_layers([]).unwrap();
        (label, spec::pod(config, &facts, &root).unwrap())
    }

    fn container(
        &self,
        selinux: &Selinux,
        (label, pod): (&str, &wire::PodSandboxConfig),
        config: &wire::ContainerConfig,
    ) -> Result<Spec, spec::Error> {
        let facts = ContainerFacts {
            id: "c",
            pod_id: "p",
            pod_pid: 1,
            target_pid: None,
            image: &self.image,
            image_name: "image",
            files: &self.files,
            volumes: &[],
            selinux: selinux.base(label),
            pod_label: label,
            handler: &self.handler,
            settings: &self.settings,
            node: &self.node,
        };
        spec::container(config, pod, &facts)
    }
}

fn pod(privileged: bool, asked: Option<SeLinuxOption>) -> wire::PodSandboxConfig {
    let security = wire::LinuxSandboxSecurityContext {
        privileged,
        selinux_options: asked,
        ..Default::default()
    };
    let linux =
        wire::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    wire::PodSandboxConfig {
        metadata: Some(wire::PodSandboxMetadata::default()),
        linux: Some(linux),
        ..Default::default()
    }
}

fn container(privileged: bool, asked: Option<SeLinuxOption>) -> wire::ContainerConfig {
    let security = wire::LinuxContainerSecurityContext {
        privileged,
        selinux_options: asked,
        ..Default::default()
    };
    let linux =
        wire::LinuxContainerConfig { security_context: Some(security), ..Default::default() };
    wire::ContainerConfig {
        metadata: Some(wire::ContainerMetadata::default()),
        command: vec!["sh".into()],
        linux: Some(linux),
        ..Default::default()
    }
}

/// The label of the process and that of the files.
fn labels(spec: &Spec) -> [Option<String>; 2] {
    let process = spec.process().as_ref().and_then(|process| process.selinux_label().clone());
    [process, spec.linux().as_ref().and_then(|linux| linux.mount_label().clone())]
}

fn expected(process: &str, files: &str) -> [Option<String>; 2] {
    [Some(process.to_owned()), Some(files.to_owned())]
}

#[test]
fn a_pod_and_its_containers_have_labels_of_one_level() {
    let image = ImageConfig { entrypoint: vec!["/init".into()], ..Default::default() };
    let given = Given { image, ..Given::default() };
    let selinux = on(2);
    let config = pod(false, None);
    let (label, made) = given.pod(&selinux, &config);
    let process = "system_u:system_r:container_t:s0:c0,c1";
    let files = "system_u:object_r:container_file_t:s0:c0,c1";
    assert_eq!((&*label, labels(&made)), (process, expected(process, files)));
    let made = |asked| {
        let config = container(false, asked);
        labels(&given.container(&selinux, (&label, &pod(false, None)), &config).unwrap())
    };
    assert_eq!(made(None), expected(process, files));
    let other = made(Some(option("my_t", "")));
    assert_eq!(other, expected("system_u:system_r:my_t:s0:c0,c1", files));
    let other = made(Some(option("", "s0:c7")));
    let at = |label: &str| label.replace("c0,c1", "c7");
    assert_eq!(other, expected(&at(process), &at(files)));
    // One of a pod without a label has none either.
    let config = pod(false, None);
    let without = given.container(&selinux, ("", &config), &container(false, None)).unwrap();
    assert_eq!(labels(&without), [None, None]);
    let asks = container(false, Some(option("my_t", "")));
    let refused = given.container(&selinux, ("", &config), &asks).unwrap_err().to_string();
    assert_eq!(refused, "selinux is not supported: the pod was made without a label");
}

#[test]
fn what_is_privileged_becomes_what_the_policy_says_and_keeps_its_level() {
    let image = ImageConfig { entrypoint: vec!["/init".into()], ..Default::default() };
    let given = Given { image, ..Given::default() };
    let selinux = on(2);
    let config = pod(true, Some(option("my_t", "s0:c5,c9")));
    let (label, made) = given.pod(&selinux, &config);
    let files = Some("system_u:object_r:container_file_t:s0:c5,c9".to_owned());
    assert_eq!(label, "system_u:system_r:my_t:s0:c5,c9");
    assert_eq!(labels(&made), [None, files.clone()]);
    let made = |privileged| {
        let config = container(privileged, None);
        labels(&given.container(&selinux, (&label, &pod(true, None)), &config).unwrap())
    };
    assert_eq!(made(true), [None, files.clone()]);
    assert_eq!(made(false), [Some(label.clone()), files]);
}

#[test]
fn a_root_file_system_is_mounted_with_its_label() {
    let mount = RootMount { options: vec!["ro".into()], ..RootMount::default() };
    let mut spec = Spec::default();
    assert_eq!(labelled(vec![mount.clone()], &spec), std::slice::from_ref(&mount));
    let linux = spec.linux_mut().get_or_insert_default();
    linux.set_mount_label(Some("u:r:t:s0:c1,c2".into()));
    let options = labelled(vec![mount], &spec).remove(0).options;
    assert_eq!(options, ["ro", "context=\"u:r:t:s0:c1,c2\""]);
}
