//! containerd's files as ours: what its keys set, what is said of the others, and where each value
//! that is in force comes from.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::{
    Args, Config, Error, Explained, Loaded, Overrides, ShimTimeouts, Source, containerd,
};
use berth_testkit::program;

/// A folder of files, of which the first is the one to load.
struct Files {
    folder: tempfile::TempDir,
    first: PathBuf,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let first = folder.path().join(files[0].0);
        Self { folder, first }
    }

    fn load(&self) -> Result<Loaded, Error> {
        Args { config: Some(self.first.clone()), ..Args::default() }.load_all()
    }

    fn load_as_containerd(&self) -> Result<Loaded, Error> {
        let args =
            Args { config: Some(self.first.clone()), as_containerd: true, ..Args::default() };
        args.load_all()
    }

    /// What is said, without the folder's path.
    fn remarks(&self, loaded: &Loaded) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        loaded.remarks.iter().map(|line| line.replace(&folder, "")).collect()
    }
}

fn one(text: &str) -> Files {
    Files::new(&[("config.toml", text)])
}

#[test]
fn a_file_of_version_2_as_distributions_ship_it() {
    let files = one(r#"version = 2
oom_score = 0
[grpc]
address = "/run/x.sock"
uid = 7
[debug]
level = "warning"
[plugins."io.containerd.gc.v1.scheduler"]
pause_threshold = 0.1
schedule_delay = "1.5s"
[plugins."io.containerd.internal.v1.restart"]
interval = "1m0s"
[plugins."io.containerd.snapshotter.v1.devmapper"]
pool_name = "p"
[plugins."io.containerd.grpc.v1.cri"]
netns_mounts_under_state_dir = true
[stream_processors."a.b"]
accepts = ["a/b"]
returns = "c/d"
path = "cat"
[proxy_plugins.stargz]
type = "snapshot"
address = "/s.sock"
colour = "red"
[timeouts]
"io.containerd.timeout.bolt.open" = "0s"
[cgroup]
path = "/system.slice/x"
[plugins."io.containerd.internal.v1.opt"]
path = "/opt/x"
[plugins."io.containerd.shim.v1.manager"]
env = ["A=b"]
"#);
    let loaded = files.load().unwrap();
    let config = &loaded.config;
    assert_eq!(config.address, Path::new("/run/x.sock"));
    assert_eq!((config.gateway.uid, config.log.level.as_str()), (7, "warn"));
    assert!((config.distribution.gc.pause_threshold - 0.1).abs() < f64::EPSILON);
    assert_eq!(*config.distribution.gc.schedule_delay, Duration::from_millis(1500));
    assert_eq!(*config.runtime.restart_interval, Duration::from_secs(60));
    assert_eq!(config.stream_processors["a.b"].returns, "c/d");
    assert_eq!(
        (config.cgroup.as_str(), config.opt.as_path()),
        ("/system.slice/x", Path::new("/opt/x"))
    );
    assert_eq!(config.runtime.shim_env, ["A=b"]);
    assert_eq!(config.proxy_plugins["stargz"].socket(), Path::new("/s.sock"));
    // Not by this name: what is not written is berth's.
    assert_eq!(config.root, Path::new("/var/lib/berth"));
    let remarks = files.remarks(&loaded);
    let expected = [
        "config.toml: read as containerd's version 2; `berthd config migrate` prints it in version 4",
        "config.toml:16: plugins.\"io.containerd.grpc.v1.cri\".netns_mounts_under_state_dir has no effect here: network namespaces are always in the state folder",
        "config.toml:14: plugins.\"io.containerd.snapshotter.v1.devmapper\" has no effect here: there is no such snapshotter",
        "config.toml:24: unknown key proxy_plugins.stargz.colour is ignored",
    ];
    assert_eq!(remarks, expected);
}

#[test]
fn messages_are_bounded_as_containerd_bounds_them() {
    const KEYS: &str = "max_recv_message_size = 33554432\nmax_send_message_size = 4294967295\n";
    const TCP: &str = "address = '[::1]:1'\ntls_ca = '/ca'\ntls_cert = '/cert'\ntls_key = '/key'\n";
    let sizes = |config: &Config| {
        let gateway = &config.gateway;
        let of = |taken: berth_config::ByteSize, sent: berth_config::ByteSize| {
            (taken.bytes(), sent.bytes())
        };
        let tcp = gateway.tcp.as_ref();
        let tcp = tcp.map(|tcp| of(tcp.max_recv_message_size, tcp.max_send_message_size));
        (of(gateway.max_recv_message_size, gateway.max_send_message_size), tcp)
    };
    let (default, given) = ((16 << 20, 16 << 20), (32 << 20, 1 << 30));
    let grpc = "[plugins.'io.containerd.server.v1.grpc']\n";
    let tcp = "[plugins.'io.containerd.server.v1.grpc-tcp']\n";
    for (text, expected) in [
        (format!("version = 2\n[grpc]\n{KEYS}"), (given, None)),
        // One pair of keys was for both servers.
        (
            format!(
                "version = 2\n[grpc]\n{KEYS}{}",
                TCP.replace("address", "tcp_address").replace("tls", "tcp_tls")
            ),
            (given, Some(given)),
        ),
        (format!("version = 4\n{grpc}{KEYS}{tcp}{TCP}"), (given, Some(default))),
        (format!("version = 4\n{tcp}{TCP}{KEYS}"), (default, Some(given))),
        // Nobody listens there.
        (format!("version = 4\n{tcp}{KEYS}"), (default, None)),
        (
            format!("version = 4\n{grpc}max_recv_message_size = 0\nmax_send_message_size = -1\n"),
            (default, None),
        ),
    ] {
        let loaded = one(&text).load().unwrap();
        assert_eq!(sizes(&loaded.config), expected, "{text}");
        let above = loaded
            .remarks
            .iter()
            .filter(|line| line.ends_with("is taken as 1GiB, which is the most here"));
        assert_eq!(
            above.count(),
            text.matches("4294967295").count() + usize::from(expected == (given, Some(given))),
            "{text}"
        );
    }
}

#[test]
fn a_collector_is_named_as_containerd_names_it() {
    let said = "config.toml:3: plugins.\"io.containerd.tracing.processor.v1.otlp\".protocol has no effect here: spans go by gRPC";
    for (keys, endpoint, remarks) in [
        ("protocol = 'grpc'\nendpoint = 'c:4317'\ninsecure = true", "http://c:4317", vec![]),
        ("protocol = 'grpc'\nendpoint = 'c:4317'\ninsecure = false", "https://c:4317", vec![]),
        ("endpoint = 'c:4317'", "https://c:4317", vec![]),
        ("endpoint = 'https://c:4317'\ninsecure = true", "https://c:4317", vec![]),
        ("protocol = 'http/protobuf'\nendpoint = 'http://c:4318'", "http://c:4318", vec![said]),
    ] {
        let table = "[plugins.'io.containerd.tracing.processor.v1.otlp']";
        let files = one(&format!("version = 4\n{table}\n{keys}\n"));
        let loaded = files.load().unwrap();
        let found = loaded.config.telemetry.otlp_endpoint.as_deref();
        assert_eq!(found, Some(endpoint), "{keys}");
        assert_eq!(files.remarks(&loaded), remarks, "{keys}");
    }
}

#[test]
fn keys_of_parts_that_are_here_have_their_effect() {
    let of = |text: &str| {
        let loaded = one(&format!("version = 2\n[plugins.'io.containerd.{text}\n")).load().unwrap();
        assert_eq!(loaded.remarks.len(), 1, "{:?}", loaded.remarks);
        loaded.config
    };
    let native = of("snapshotter.v1.native']\nroot_path = '/n'").bundle.native;
    assert_eq!(native.root_path.as_deref(), Some(Path::new("/n")));
    for (value, told) in [("true", false), ("false", true)] {
        let config = of(&format!("monitor.v1.cgroups']\nno_prometheus = {value}"));
        assert_eq!(config.metrics.containers, told);
    }
    for (value, ratio) in [("0.25", Some(0.25)), ("1.0", Some(1.0)), ("0.0", None)] {
        let keys = format!("sampling_ratio = {value}\nservice_name = 'containerd'");
        let config = of(&format!("internal.v1.tracing']\n{keys}"));
        assert_eq!(config.telemetry.sampling_ratio, ratio);
    }
}

#[test]
fn timeouts_are_those_of_shims() {
    let files = one(r#"version = 2
[timeouts]
"io.containerd.timeout.shim.load" = "6s"
"io.containerd.timeout.shim.cleanup" = "1m0s"
"io.containerd.timeout.shim.shutdown" = "1.5s"
"io.containerd.timeout.task.state" = "250ms"
"io.containerd.timeout.metrics.shimstats" = "4s"
"io.containerd.timeout.bolt.open" = "10s"
"io.containerd.timeout.cri.defercleanup" = "2m"
"my.own" = "1s"
"#);
    let loaded = files.load().unwrap();
    let ShimTimeouts { shim_load, shim_cleanup, shim_shutdown, task_state, shim_stats } =
        loaded.config.runtime.timeouts;
    let found = [shim_load, shim_cleanup, shim_shutdown, task_state, shim_stats];
    assert_eq!(found.map(|length| length.as_millis()), [6000, 60_000, 1500, 250, 4000]);
    let said = [
        "config.toml:8: timeouts.\"io.containerd.timeout.bolt.open\" has no effect here: a store is opened by the service that locks it",
        "config.toml:9: timeouts.\"io.containerd.timeout.cri.defercleanup\" has no effect here: each step of undoing a pod has a time of its own",
        "config.toml:10: unknown key timeouts.\"my.own\" is ignored",
    ];
    assert_eq!(files.remarks(&loaded)[1..], said);
    for (value, said) in [
        ("'0s'", "runtime.timeouts.task_state is 0s: it must be above 0s"),
        (
            "'soon'",
            ":3: timeouts.\"io.containerd.timeout.task.state\": \"soon\" is no length of time",
        ),
    ] {
        let text =
            format!("version = 2\n[timeouts]\n\"io.containerd.timeout.task.state\" = {value}\n");
        let error = one(&text).load().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn plugins_are_left_out_by_containerds_names() {
    let load = |text: &str| {
        let files = one(text);
        let loaded = files.load_as_containerd()?;
        Ok::<_, Error>((loaded.config.clone(), files.remarks(&loaded)))
    };
    // As docker's package ships it.
    let (config, remarks) = load("disabled_plugins = [\"cri\"]\n").unwrap();
    assert_eq!(config.disabled_plugins, ["io.containerd.grpc.v1.cri"]);
    assert_eq!(remarks.len(), 1, "only its version is told: {remarks:?}");
    let error = load("version = 2\ndisabled_plugins = [\"cri\"]\n").unwrap_err().to_string();
    assert!(error.starts_with("disabled_plugins is \"cri\": it must be the whole name"), "{error}");
    let (config, _) = load("disabled_plugins = [\"restart\", \"native\"]\n").unwrap();
    assert!(!config.plugins().has("io.containerd.monitor.container.v1", "restart"));
    assert_eq!(config.plugins().disabled("io.containerd.snapshotter.v1"), ["native"]);
    // Proxies go by the same names, and the content store that is left is the one.
    let proxies = "[proxy_plugins.bytes]\ntype = 'content'\naddress = '/c.sock'\n\
                   [proxy_plugins.stargz]\ntype = 'snapshot'\naddress = '/s.sock'\n";
    for (disabled, store, names) in [
        ("'io.containerd.content.v1.content'", Some("bytes"), vec!["bytes", "stargz"]),
        ("'io.containerd.snapshotter.v1.stargz'", None, vec!["bytes"]),
        (
            "'io.containerd.content.v1.content', 'io.containerd.content.v1.bytes'",
            None,
            vec!["stargz"],
        ),
    ] {
        let text = format!("version = 3\ndisabled_plugins = [{disabled}]\n{proxies}");
        let (config, _) = load(&text).unwrap();
        assert_eq!(config.distribution.content_store.as_deref(), store, "{disabled}");
        assert!(config.proxy_plugins.keys().eq(names), "{disabled}");
    }
}

#[test]
fn containerds_own_default_file_changes_nothing_and_needs_no_remark() {
    let files = one(containerd::DEFAULTS);
    let loaded = files.load_as_containerd().unwrap();
    assert_eq!(files.remarks(&loaded), Vec::<String>::new());
    // A file that says nothing: the machine may have one of its own in the usual place.
    let mut expected = one("version = 4\n").load_as_containerd().unwrap().config;
    assert_eq!(expected.root, Path::new("/var/lib/containerd"));
    assert_eq!(expected.state, Path::new("/run/containerd"));
    assert_eq!(expected.address, Path::new("/run/containerd/containerd.sock"));
    assert_eq!(expected.runtime.ttrpc_address, Path::new("/run/containerd/containerd.sock.ttrpc"));
    // containerd's own value, of which ours is another.
    expected.bundle.max_concurrent_unpacks = 1;
    // It has the CRI's tables.
    expected.cri.enabled = true;
    assert_eq!(loaded.config, expected);
}

/// What Debian's containerd has in its own file.
#[test]
fn the_default_file_of_the_containerd_that_is_installed_changes_nothing() {
    let printed = program("containerd").args(["config", "default"]).output();
    let files = one(&printed.and_then(berth_testkit::Output::ok).unwrap());
    let loaded = files.load_as_containerd().unwrap();
    let remarks: Vec<_> = files
        .remarks(&loaded)
        .iter()
        .map(|line| line.split_once(": ").unwrap().1.to_owned())
        .collect();
    let expected =
        ["read as containerd's version 2; `berthd config migrate` prints it in version 4"];
    assert_eq!(remarks, expected);
    let mut expected = one("version = 4\n").load_as_containerd().unwrap().config;
    // It has the CRI's table, in which these are off until containerd 2.
    let cri = &mut expected.cri;
    (cri.enabled, cri.enable_unprivileged_ports, cri.enable_unprivileged_icmp) =
        (true, false, false);
    // What it says of this is not taken for a default.
    cri.enable_selinux = false;
    assert_eq!(loaded.config, expected);
}

/// A key that has no effect here is told of when it says something.
#[test]
fn what_was_not_set_needs_no_remark() {
    let key = |table: &str, line: &str| {
        let files = one(&format!("version = 3\n[plugins.'io.containerd.{table}']\n{line}\n"));
        files.load().unwrap().remarks.len() - 1
    };
    for (table, set, unset) in [
        ("snapshotter.v1.zfs", "root_path = '/z'", "root_path = ''"),
        (
            "grpc.v1.cri",
            "containerd.discard_unpacked_layers = true",
            "containerd.discard_unpacked_layers = false",
        ),
        ("cri.v1.runtime", "enable_criu = false", "enable_criu = true"),
        ("runtime.v2.task", "sched_core = true", "sched_core = false"),
        ("runtime.v1.linux", "shim = 'mine'", "shim = 'containerd-shim'"),
        // One line for all keys.
        ("nri.v1.nri", "disable = true\nsocket_path = '/s'", "disable = false\nx = []"),
    ] {
        assert_eq!((key(table, set), key(table, unset)), (1, 0), "{table}");
    }
    let files = one("version = 3\nplugin_dir = ''\ncolour = ''\n");
    let told = files.load().unwrap().remarks;
    assert!(told.len() == 2 && told[1].ends_with("unknown key colour is ignored"), "{told:?}");
}

#[test]
fn an_old_file_is_printed_in_the_newest_version() {
    let files = one("[grpc]\naddress = '/run/x.sock'\n[plugins.restart]\ninterval = '1m'\n");
    let printed = containerd::print(&files.first, false).unwrap();
    let expected = "version = 4\n\
        [plugins.\"io.containerd.monitor.container.v1.restart\"]\ninterval = \"1m\"\n\n\
        [plugins.\"io.containerd.server.v1.grpc\"]\naddress = \"/run/x.sock\"\n\n\
        [plugins.\"io.containerd.server.v1.ttrpc\"]\naddress = \"/run/x.sock.ttrpc\"\n";
    assert_eq!(printed, expected);
    // The CRI's table is where containerd 2 looks for it.
    let cri = "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'x'\n";
    let expected = "version = 4\n\
        [plugins.\"io.containerd.cri.v1.images\".pinned_images]\nsandbox = \"x\"\n";
    assert_eq!(containerd::print(&one(cri).first, false).unwrap(), expected);
    // It means the same, with containerd's defaults as well.
    let before = files.load_as_containerd().unwrap().config;
    assert_eq!(one(&printed).load_as_containerd().unwrap().config, before);
    let dumped = containerd::print(&files.first, true).unwrap();
    let mut dumped = one(&dumped).load_as_containerd().unwrap();
    assert_eq!(dumped.remarks, Vec::<String>::new());
    dumped.config.bundle.max_concurrent_unpacks = before.bundle.max_concurrent_unpacks;
    assert_eq!(dumped.config, before);
}

#[test]
fn imports_go_over_the_file_that_names_them_and_each_is_read_once() {
    let files = Files::new(&[
        (
            "config.toml",
            "version = 3\nimports = [\"conf.d/*.toml\", \"last.toml\"]\nroot = \"/a\"\n[plugins.'io.containerd.gc.v1.scheduler']\nmutation_threshold = 5\ndeletion_threshold = 6\n",
        ),
        ("conf.d/1.toml", "version = 2\nroot = \"/b\"\nimports = [\"../config.toml\"]\n"),
        ("conf.d/2.toml", "[plugins.scheduler]\ndeletion_threshold = 9\n"),
        ("conf.d/3.conf", "not TOML"),
        ("last.toml", "version = 3\nstate = \"/s\"\nroot = \"\"\n"),
    ]);
    let config = files.load().unwrap().config;
    assert_eq!((config.root.as_path(), config.state.as_path()), (Path::new("/b"), Path::new("/s")));
    assert_eq!(config.distribution.gc.mutation_threshold, 5);
    assert_eq!(config.distribution.gc.deletion_threshold, 9);
}

/// containerd refuses these as well.
#[test]
fn a_file_that_is_imported_is_no_newer_than_the_one_that_names_it_first() {
    for (first, imported) in [("version = 3\n", 4), ("version = 2\n", 3), ("", 2)] {
        let files = Files::new(&[
            ("config.toml", &format!("{first}imports = ['conf.d/*.toml']\n")),
            ("conf.d/a.toml", &format!("\nversion = {imported}\n")),
        ]);
        let error = files.load_as_containerd().unwrap_err().to_string();
        let said = format!("conf.d/a.toml:2: version: it is {imported}, above that of ");
        assert!(error.contains(&said), "{error}");
    }
}

#[test]
fn a_file_without_a_version_is_ours_unless_we_go_by_containerds_name() {
    let files = one("[grpc]\naddress = \"/run/x.sock\"\n");
    let error = files.load().unwrap_err().to_string();
    assert!(error.contains("unknown key `grpc`"), "{error}");
    let loaded = files.load_as_containerd().unwrap();
    assert_eq!(loaded.config.address, Path::new("/run/x.sock"));
    assert_eq!(loaded.config.root, Path::new("/var/lib/containerd"));
}

#[test]
fn a_value_that_cannot_be_is_told_with_file_line_and_key() {
    for (text, said) in [
        ("version = 5\n", ":1: version: expected containerd config version"),
        ("version = 3\nroot = 5\n", ":2: root: invalid type: integer `5`"),
        (
            "version = 3\n[plugins.'io.containerd.gc.v1.scheduler']\nstartup_delay = \"soon\"\n",
            ":3: plugins.\"io.containerd.gc.v1.scheduler\".startup_delay: \"soon\" is no length of time",
        ),
        (
            "version = 3\n\n[plugins.'io.containerd.metadata.v1.bolt']\ncontent_sharing_policy = 'x'\n",
            ":4: distribution.content_sharing_policy: unknown variant `x`",
        ),
        (
            "version = 3\n[stream_processors.x]\naccepts = []\n",
            ":3: stream_processors.x: missing field `returns`",
        ),
        (
            "version = 2\n[grpc]\ntcp_address = '[::1]:1'\n",
            ":3: grpc.tcp_address: needs tcp_tls_ca, tcp_tls_cert, tcp_tls_key beside it: clients over TCP must have certificates",
        ),
        (
            "version = 4\n[plugins.'io.containerd.server.v1.grpc-tcp']\ntls_ca = '/ca'\naddress = '[::1]:1'\n",
            ":4: plugins.\"io.containerd.server.v1.grpc-tcp\".address: needs tls_cert, tls_key beside it",
        ),
        ("version = 3\nimports = ['/no/such.toml']\n", "read configuration \"/no/such.toml\""),
        ("version = 3\nroot = /\n", ":2: "),
    ] {
        let error = one(text).load().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn each_value_in_force_says_where_it_comes_from() {
    let files = one("version = 3\n[grpc]\n\naddress = '/run/x.sock'\n[debug]\nlevel = 'debug'\n");
    let overrides = Overrides { log_level: Some("trace".into()), ..Overrides::default() };
    let args = Args { config: Some(files.first.clone()), overrides, as_containerd: false };
    let explained = args.load_all().unwrap().explain();
    let of = |key: &str| -> Explained {
        explained.iter().find(|value| value.key == key).unwrap().clone()
    };
    let address = of("address");
    assert_eq!(address.value.as_deref(), Some("\"/run/x.sock\""));
    let Source::File(origin) = address.source else { panic!("{address:?}") };
    assert_eq!((&*origin.file, origin.line), (&*files.first, 4));
    let level = of("log.level");
    assert_eq!(level.value.as_deref(), Some("\"trace\""));
    assert_eq!(level.source, Source::CommandLine("--log-level"));
    let deadline = of("distribution.gc.deadline");
    assert_eq!((deadline.value.as_deref(), deadline.source), (Some("\"5m\""), Source::Default));
    // All of them, and none twice.
    let parsed: Config = Config::parse(
        &explained
            .iter()
            .map(|value| format!("{} = {}\n", value.key, value.value.as_deref().unwrap()))
            .collect::<String>(),
        Path::new("explained"),
    )
    .unwrap();
    assert_eq!(parsed, args.load().unwrap());
}
