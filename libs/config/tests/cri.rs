//! `[cri]`: what turns it on, and what is refused of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use berth_config::{Args, Config, Error, Overrides, Service, containerd};

/// As programs read it: what follows from other keys is filled in.
fn parse(text: &str) -> Result<Config, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), Overrides::default())
}

fn services(config: &Config) -> Vec<&'static str> {
    config.services().map(Service::name).collect()
}

#[test]
fn it_is_turned_on_by_its_key_and_nothing_else() {
    let off = parse("[cri]\nsnapshotter = 'native'\n").unwrap();
    assert_eq!(services(&off), ["distribution", "bundle", "runtime", "gateway"]);
    let on = parse("[cri]\nenabled = true\n").unwrap();
    assert_eq!(services(&on), ["distribution", "bundle", "runtime", "cri", "gateway"]);
    assert!(Service::Cri.is_optional());
    assert_eq!(on.socket(Service::Cri), on.state.join("cri.sock"));
    let both = "[cluster.etcd]\nendpoints = ['http://127.0.0.1:1']\n[cri]\nenabled = true\n";
    assert_eq!(parse(both).unwrap().services().collect::<Vec<_>>(), Service::ALL);
}

/// As on machines whose containerd was installed with docker.
#[test]
fn one_that_is_left_out_is_off() {
    for (name, stays) in [("grpc.v1.cri", false), ("grpc.v1.tasks", true)] {
        let text = format!("disabled_plugins = ['io.containerd.{name}']\n[cri]\nenabled = true\n");
        let config = parse(&text).unwrap();
        assert_eq!(services(&config).contains(&"cri"), stays, "{name}");
    }
}

#[test]
fn the_usual_handler_is_one_that_there_is() {
    let handler = "[cri]\ndefault_runtime_name = 'kata'\n[cri.runtimes.kata]\nruntime_type = 'io.containerd.kata.v2'\n";
    let cri = parse(handler).unwrap().cri;
    assert_eq!(cri.runtimes["kata"].runtime_type, "io.containerd.kata.v2");
    let refused = parse("[cri]\ndefault_runtime_name = 'kata'\n").unwrap_err().to_string();
    let said = "cri.default_runtime_name is \"kata\": it must be the name of one of [cri.runtimes]";
    assert!(refused.contains(said), "{refused}");
    let unknown = parse("[cri]\nsandbox_picture = 'pause'\n").unwrap_err().to_string();
    assert!(unknown.contains("sandbox_picture"), "{unknown}");
}

const FIXTURES: [(&str, &str); 4] = [
    ("version1.toml", include_str!("fixtures/version1.toml")),
    ("version2.toml", include_str!("fixtures/version2.toml")),
    ("version3.toml", include_str!("fixtures/version3.toml")),
    ("version4.toml", include_str!("fixtures/version4.toml")),
];

/// A file of containerd's, as it is loaded under its own name; and the lines that are said of it, without the folder.
fn theirs(number: usize) -> (Config, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (name, text) = FIXTURES[number - 1];
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let args = Args { config: Some(file), as_containerd: true, ..Args::default() };
    let loaded = args.load_all().unwrap();
    let above = format!("{}/", folder.path().display());
    let remarks = loaded.remarks.iter().map(|line| line.replace(&above, ""));
    (loaded.config.clone(), remarks.filter(|line| !line.contains(": read as ")).collect())
}

#[test]
fn a_file_of_version_1_is_taken_over() {
    let (config, remarks) = theirs(1);
    let cri = &config.cri;
    assert!(cri.enabled && services(&config).contains(&"cri"));
    assert_eq!((&*cri.snapshotter, cri.max_container_log_line_size), ("native", 262_144));
    assert_eq!(cri.stream_address, "127.0.0.1:10010");
    assert_eq!(config.network.conf_dir, Path::new("/etc/kubernetes/cni/net.d"));
    // What containerd has anyway changes nothing: its folder is one of ours.
    assert_eq!(config.network.bin_dirs, Config::default().network.bin_dirs);
    assert_eq!(remarks, Vec::<String>::new());
}

#[test]
fn a_file_of_version_2_is_taken_over() {
    let (config, remarks) = theirs(2);
    let cri = &config.cri;
    assert_eq!(cri.default_runtime_name, "nvidia");
    let (runc, nvidia) = (&cri.runtimes["runc"], &cri.runtimes["nvidia"]);
    assert!(
        runc.systemd_cgroup && nvidia.systemd_cgroup && !nvidia.privileged_without_host_devices
    );
    assert_eq!(nvidia.binary, Path::new("/usr/bin/nvidia-container-runtime"));
    assert_eq!(runc.base_runtime_spec, Path::new("/etc/containerd/cri-base.json"));
    assert_eq!(config.distribution.registry.config_path, [Path::new("/etc/containerd/certs.d")]);
    let said = "version2.toml:11: plugins.\"io.containerd.grpc.v1.cri\".containerd.disable_snapshot_annotations has no \
                effect here: proxy_plugins say by their exports whether they are told of images";
    assert_eq!(remarks, [said]);
}

#[test]
fn a_file_of_version_3_is_taken_over() {
    let (config, remarks) = theirs(3);
    let cri = &config.cri;
    assert!(cri.device_ownership_from_security_context);
    assert_eq!(cri.pinned_images, ["rancher/agent:1"]);
    assert_eq!(cri.sandbox_image, "rancher/mirrored-pause:3.6");
    assert_eq!(cri.cdi_spec_dirs, [Path::new("/var/lib/rancher/k3s/cdi")]);
    assert!(cri.enable_cdi && cri.ignore_image_defined_volumes);
    let login = &cri.logins["registry.example:5000"];
    assert_eq!((&*login.username, login.password.reveal()), ("node", "not told"));
    assert!(!format!("{config:?}").contains("not told"));
    assert_eq!(config.network.bin_dirs, [Path::new("/var/lib/rancher/k3s/data/cni")]);
    assert_eq!(cri.stream_address, "127.0.0.1:10010");
    assert_eq!(remarks, Vec::<String>::new());
}

#[test]
fn a_file_of_version_4_is_taken_over() {
    let (config, remarks) = theirs(4);
    let cri = &config.cri;
    assert_eq!((&*cri.snapshotter, cri.snapshotter_of("gvisor")), ("native", "overlayfs"));
    assert_eq!((cri.snapshotter_of(""), cri.snapshotter_of("none")), ("native", "native"));
    assert!(cri.restrict_oom_score_adj && cri.enable_tls_streaming);
    assert_eq!(cri.drain_exec_sync_io_timeout.to_string(), "30s");
    assert_eq!(cri.unset_seccomp_profile, "runtime/default");
    assert_eq!(cri.stream_address, "10.0.0.7:10250");
    assert_eq!(cri.stream_tls_cert, Path::new("/etc/node.pem"));
    let gvisor = &cri.runtimes["gvisor"];
    assert_eq!(gvisor.options_type, "io.containerd.runsc.v1.options");
    assert_eq!(gvisor.options_path, Path::new("/run/containerd/runsc/config.toml"));
    let said = "version4.toml:6: plugins.\"io.containerd.cri.v1.images\".use_local_image_pull has no effect here: there is \
                one way to pull";
    assert_eq!(remarks, [said]);
}

/// The text that is printed for a file of ours is one, and means the same.
#[test]
fn what_is_carried_over_is_a_part_of_our_own_file() {
    for (number, (name, text)) in (1..).zip(FIXTURES) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let carried = containerd::carry(&file).unwrap();
        assert!(carried.starts_with("# From "), "{carried}");
        let (ours, theirs) = (parse(&carried).unwrap(), theirs(number).0);
        assert_eq!(ours.cri, theirs.cri, "{carried}");
        assert_eq!((ours.network, ours.distribution), (theirs.network, theirs.distribution));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let refused = "disabled_plugins = ['cri']\n[plugins.cri]\ndisable_cgroup = true\ncolour = 'red'\nenable_cdi = false\nstats_collect_period = '1s'\n";
    std::fs::write(&file, refused).unwrap();
    let carried =
        containerd::carry(&file).unwrap().replace(&format!("{}/", folder.path().display()), "");
    let expected = "# From config.toml, version 1. Values that are containerd's own are left out.\n\
        [cri]\nenable_cdi = false\nenabled = true\n\n# Not taken over:\n\
        # - config.toml:6: plugins.cri.stats_collect_period has no effect here: figures are read when they are asked for\n\
        # - config.toml:4: plugins.cri.colour is no key that is known: it is ignored\n\n\
        # Refused, and to be done by hand:\n\
        # - config.toml:3: plugins.cri.disable_cgroup: containers always have control groups: set it to false, or leave it out\n";
    assert_eq!(carried, expected);
    std::fs::write(&file, "version = 2\n").unwrap();
    let none = containerd::carry(&file).unwrap();
    assert!(none.ends_with("(version 2) has no table of the CRI.\n"), "{none}");
}

#[test]
fn tables_of_containerds_may_stand_in_our_file_and_our_own_keys_go_before_them() {
    let tables = "[plugins.'io.containerd.cri.v1.runtime']\ndevice_ownership_from_security_context = true\n\
        max_container_log_line_size = 100\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/theirs'\n\
        [plugins.'io.containerd.grpc.v1.cri']\nstream_server_port = '7'\n";
    let config = parse(&format!("{tables}[cri]\nmax_container_log_line_size = 200\n")).unwrap();
    let cri = &config.cri;
    // It is turned on by its own key alone.
    assert!(!cri.enabled && cri.device_ownership_from_security_context);
    assert_eq!((cri.max_container_log_line_size, &*cri.stream_address), (200, "127.0.0.1:7"));
    assert_eq!(config.network.conf_dir, Path::new("/theirs"));
    for (text, said) in [
        (
            "[plugins.x]\na = 1\n",
            ":2: plugins.x: is none of the tables that may stand here: io.containerd.grpc.v1.cri",
        ),
        (
            "[plugins.'io.containerd.cri.v1.runtime']\n\ndisable_cgroup = true\n",
            ":3: plugins.\"io.containerd.cri.v1.runtime\".disable_cgroup: containers always have",
        ),
        (
            "[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = -1\n",
            ":2: distribution.registry.max_concurrent_downloads: ",
        ),
    ] {
        let refused = parse(text).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn what_cannot_be_together_is_refused() {
    for (text, said) in [
        ("enable_tls_streaming = true\n", "cri.stream_tls_cert is \"\": it must be set where"),
        (
            "stream_tls_key = '/k'\n",
            "cri.stream_tls_key is \"/k\": it must be set with enable_tls_streaming = true alone",
        ),
        ("ip_pref = 'ipv5'\n", "cri.ip_pref is \"ipv5\": it must be \"ipv4\""),
        ("unset_seccomp_profile = 'localhost/x'\n", "cri.unset_seccomp_profile is \"localhost/x\""),
        ("snapshotter = ''\n", "cri.snapshotter is \"\""),
        (
            "[cri.runtimes.runc]\nbase_runtime_spec = 'x.json'\n",
            "cri.runtimes.runc.base_runtime_spec is \"x.json\"",
        ),
        (
            "[cri.runtimes.runc]\nprivileged_without_host_devices_all_devices_allowed = true\n",
            "it must be false unless privileged_without_host_devices is true",
        ),
        (
            "[cri.runtimes.runc]\noptions_path = '/x'\n",
            "cri.runtimes.runc.runtime_type is \"io.containerd.runc.v2\"",
        ),
    ] {
        let refused = parse(&format!("[cri]\n{text}")).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn a_file_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.toml");
    std::fs::write(&file, vec![b'\n'; (4 << 20) + 1]).unwrap();
    let refused = Config::load(Some(&file), Overrides::default()).unwrap_err().to_string();
    assert!(refused.ends_with("it has more than 4194304 bytes"), "{refused}");
}

#[test]
fn levels_of_selinux_are_of_as_many_categories_as_there_are() {
    let cri = parse("[cri]\n").unwrap().cri;
    assert!(cri.enable_selinux && cri.selinux_category_range == 1024);
    let cri = parse("[cri]\nenable_selinux = false\nselinux_category_range = 2\n").unwrap().cri;
    assert!(!cri.enable_selinux && cri.selinux_category_range == 2);
    // In a file of containerd's both of its values are meant.
    for said in [false, true] {
        let theirs = format!("[plugins.'io.containerd.cri.v1.runtime']\nenable_selinux = {said}\n");
        assert_eq!(parse(&theirs).unwrap().cri.enable_selinux, said);
    }
    for range in [0, 1, 1025] {
        let text = format!("[cri]\nselinux_category_range = {range}\n");
        let refused = parse(&text).unwrap_err().to_string();
        let said = format!("cri.selinux_category_range is \"{range}\": it must be 2 to 1024");
        assert!(refused.contains(&said), "{refused}");
    }
}
