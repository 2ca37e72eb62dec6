//! berthd in containerd's place: by its name, with its file, for its clients.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Image, Node, Registry, Run, Session, Signal, program, until};
use serde_json::{Value, json};

use crate::stage::Stage;

/// A machine's folder, on which berthd goes by the name containerd.
struct Machine(tempfile::TempDir);

impl Machine {
    /// With this configuration file, in which `%` is the folder.
    fn new(config: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("berth-").tempdir()?;
        std::os::unix::fs::symlink(Node::binary("berthd")?, folder.path().join("containerd"))?;
        let config = config.replace('%', &folder.path().display().to_string());
        fs_err::write(folder.path().join("config.toml"), config)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn containerd(&self, line: &str) -> Run {
        let config = ["--config".into(), self.path("config.toml")];
        program(self.path("containerd")).args(config).args(line.split_whitespace())
    }

    fn ctr(&self, line: &str) -> Run {
        program("ctr").args(["--address".into(), self.path("c.sock")]).args(line.split_whitespace())
    }
}

const CONFIG: &str = r#"version = 2
root = "%/root"
state = "%/state"
oom_score = 3
disabled_plugins = []
imports = ["conf.d/*.toml"]

[grpc]
  address = "%/c.sock"

[plugins."io.containerd.grpc.v1.cri"]
  netns_mounts_under_state_dir = true
"#;

#[test]
fn containerds_file_starts_a_node_for_containerds_clients() -> Result<()> {
    let machine = Machine::new(CONFIG)?;
    fs_err::create_dir(machine.path("conf.d"))?;
    let more = "[plugins.restart]\ninterval = \"3s\"\n[debug]\nlevel = \"debug\"\n";
    fs_err::write(machine.path("conf.d/more.toml"), more)?;
    let mut daemon = Session::start(machine.containerd(""))?;
    daemon.expect("ready address=")?;
    let said = daemon.printed();
    let remark = "config.toml:12: plugins.\"io.containerd.grpc.v1.cri\".netns_mounts_under_state_dir has no effect";
    assert!(said.contains("DEBUG"), "{said}");
    assert_eq!(said.matches(remark).count(), 1, "{said}");

    machine.ctr("version").output()?.ok()?;
    let tar = machine.path("image.tar");
    let image = Image::busybox()?;
    program("skopeo")
        .args(["copy", "--insecure-policy", "-q"])
        .args([format!("oci:{}", image.layout().display())])
        .args([format!("oci-archive:{}:local/busybox:1", tar.display())])
        .output()?
        .ok()?;
    machine.ctr("images import --base-name local/busybox").args([&tar]).output()?.ok()?;
    let images = machine.ctr("images ls -q").output()?.ok()?;
    let image = images.lines().next().unwrap_or_default();
    let ran = machine.ctr(&format!("run --rm {image} daemon-1 echo hello")).output()?.ok()?;
    assert_eq!(ran, "hello\n");
    // The score of the daemon is that of its services.
    let info = program(Node::binary("berth")?)
        .args(["--address".into(), machine.path("c.sock")])
        .args(["info", "--json"])
        .output()?
        .ok()?;
    let pid = serde_json::from_str::<Value>(&info)?["pid"].to_string();
    let score = fs_err::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    assert_eq!(score.trim(), "3");
    an_event_arrives(&machine)?;

    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.end()?, 0);
    Ok(())
}

/// What a shim of others publishes by the daemon's program reaches who listens, once.
fn an_event_arrives(machine: &Machine) -> Result<()> {
    const GHOST: &[u8] = b"\n\x19containerd.events.TaskOOM\x12\x07\n\x05ghost";
    let events = Session::start(machine.ctr("events"))?;
    let mut number = 0;
    until("events arrive", Duration::from_secs(20), || {
        number += 1;
        let label = format!("namespaces label default n={number}");
        machine.ctr(&label).output().is_ok_and(|told| told.code == 0)
            && events.printed().contains("/namespaces/update")
    })?;
    let published = program(machine.path("containerd"))
        .args(["--address".into(), machine.path("c.sock")])
        .args(["publish", "--namespace", "n", "--topic", "/test"])
        .output_with(GHOST)?;
    assert_eq!(published.code, 0, "{published}");
    events.expect("/test ")?;
    machine.ctr("namespaces create after").output()?.ok()?;
    events.expect("/namespaces/create")?;
    let printed = events.printed();
    let told: Vec<_> = printed.lines().filter(|line| line.contains("/test")).collect();
    let [told] = told[..] else { panic!("{printed}") };
    assert!(told.ends_with(" n /test {\"container_id\":\"ghost\"}"), "{told}");
    Ok(())
}

#[test]
fn containerds_own_root_is_left_alone() -> Result<()> {
    let machine = Machine::new(CONFIG)?;
    let folder = machine.path("root/io.containerd.metadata.v1.bolt");
    fs_err::create_dir_all(&folder)?;
    fs_err::write(folder.join("meta.db"), "containerd's")?;
    let refused = machine.containerd("").output()?.fails(1)?;
    assert!(refused.contains("is containerd's"), "{refused}");
    let names = |path: &Path| -> Result<Vec<_>> {
        fs_err::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    };
    assert_eq!(names(&machine.path("root"))?, ["io.containerd.metadata.v1.bolt"]);
    assert_eq!(fs_err::read_to_string(folder.join("meta.db"))?, "containerd's");
    assert!(!machine.path("state").exists());
    Ok(())
}

#[test]
fn configurations_are_printed_as_containerd_prints_them() -> Result<()> {
    let machine = Machine::new(CONFIG)?;
    let version = machine.containerd("--version").output()?.ok()?;
    assert!(version.starts_with("containerd berth v"), "{version}");
    let root = format!("root = \"{}\"", machine.path("root").display());
    let dumped = machine.containerd("config dump").output()?.ok()?;
    let migrated = machine.containerd("config migrate").output()?.ok()?;
    for (printed, kept) in [(&dumped, true), (&migrated, false)] {
        assert!(printed.starts_with("version = 4\n") && printed.contains(&root), "{printed}");
        // Defaults belong into the one and not into the other.
        assert_eq!(printed.contains("pause_threshold = 0.02"), kept, "{printed}");
    }
    let default = machine.containerd("config default").output()?.ok()?;
    assert!(default.contains("address = \"/run/containerd/containerd.sock\""), "{default}");
    // What is printed is taken.
    fs_err::write(machine.path("config.toml"), &dumped)?;
    assert_eq!(machine.containerd("config dump").output()?.ok()?, dumped);

    let explained = program(Node::binary("berth")?)
        .args(["config", "explain", "--as-containerd", "--config"])
        .args([machine.path("config.toml")])
        .output()?
        .ok()?;
    let line = dumped.lines().position(|line| line.contains("c.sock\"")).map_or(0, |at| at + 1);
    let from = format!("config.toml:{line}");
    let shown = explained.lines().find(|line| line.starts_with("address ")).unwrap_or_default();
    assert!(shown.ends_with(&from), "{shown} is not from {from}");
    Ok(())
}

#[test]
fn a_configuration_is_read_again_and_a_bad_one_changes_nothing() -> Result<()> {
    let node = Node::start_with("[log]\nlevel = \"info\"\n")?;
    let pid = node.berthd_pid()?;
    let reload = || {
        let config =
            ["--config".into(), node.path("berth.toml"), "--root".into(), node.path("root")];
        node.berth("reload").args(config).output()
    };
    let logged = |text: &str| {
        until(text, Duration::from_secs(60), || node.log().is_ok_and(|log| log.contains(text)))
    };
    assert!(!node.log()?.contains("DEBUG"));
    fs_err::write(
        node.path("berth.toml"),
        "[log]\nlevel = \"debug\"\n[gateway]\nmode = \"0600\"\n",
    )?;
    let told = reload()?.ok()?;
    assert!(told.contains(&format!("berthd (pid {pid})")), "{told}");
    logged("changed, and counts after a restart keys=\"gateway.mode\"")?;
    // berthd and its four services, each for itself. The node's first file had other keys of the gateway.
    let applied = |line: &&str| {
        let told = line.split_once("read the configuration again applied=");
        told.is_some_and(|(_, keys)| keys.contains("log.level"))
    };
    let all = |times: usize| {
        let have = || node.log().is_ok_and(|log| log.lines().filter(applied).count() == 5 * times);
        until("all have read it", Duration::from_secs(60), have)
    };
    all(1)?;
    node.berth("version").output()?.ok()?;
    logged("berth_gateway::front: client pid=")?;
    // Every call is told with who made it.
    let called = "call{method=\"/containerd.services.version.v1.Version/Version\" pid=";
    logged(called)?;

    // What waits for a restart keeps nothing else from being put back.
    fs_err::write(
        node.path("berth.toml"),
        "[log]\nlevel = \"info\"\n[gateway]\nmode = \"0600\"\n",
    )?;
    reload()?.ok()?;
    all(2)?;
    let clients = node.log()?.matches("berth_gateway::front: client pid=").count();
    node.berth("version").output()?.ok()?;
    assert_eq!(node.log()?.matches("berth_gateway::front: client pid=").count(), clients);

    fs_err::write(node.path("berth.toml"), "[log]\nlevle = \"warn\"\n")?;
    let refused = reload()?.fails(1)?;
    assert!(
        refused.contains("berth.toml:2: unknown key `levle`, did you mean `level`?"),
        "{refused}"
    );
    // Whoever sends the signal by hand is told in the log.
    program("kill").args(["-HUP", &pid.to_string()]).output()?.ok()?;
    logged("the configuration in force stays")?;
    node.berth("version").output()?.ok()?;
    assert_eq!(node.berthd_pid()?, pid);
    Ok(())
}

/// `berth version`, as a client of a group of its own; answers its pid.
fn version_as(node: &Node, group: &str) -> Result<u32> {
    let printed = program("setpriv")
        .args(["--regid", group, "--clear-groups", "sh", "-c"])
        .args(["echo $$; exec \"$0\" --address \"$1\" version"])
        .args([Node::binary("berth")?, node.address()])
        .output()?
        .ok()?;
    Ok(printed.lines().next().unwrap_or_default().parse()?)
}

#[test]
fn the_level_of_one_module_is_changed_by_itself() -> Result<()> {
    let node = Node::start_with("[log]\nlevel = \"info\"\n")?;
    let level = |level: &str| node.reload(&format!("[log]\nlevel = \"{level}\"\n"), "log.level", 5);
    let logged = |text: &str| {
        let has = || node.log().is_ok_and(|log| log.contains(text));
        until(&format!("the log has {text}"), Duration::from_secs(60), has)
    };
    // berthd tells at `debug` of a service that it has started, and then at `info` that it serves.
    let serves = || node.log().map_or(0, |log| log.matches("serves service=bundle").count());
    let started = || -> Result<()> {
        let before = serves();
        node.kill_service("berth-bundle")?;
        until("it serves again", Duration::from_secs(60), || serves() > before)
    };
    until("all serve", Duration::from_secs(60), || serves() == 1)?;
    version_as(&node, "4711")?;
    assert!(!node.log()?.contains("DEBUG"));

    level("info,berth_gateway=debug")?;
    let pid = version_as(&node, "4712")?;
    let method = "method=\"/containerd.services.version.v1.Version/Version\"";
    let called = format!("call{{{method} pid={pid} uid=0 gid=4712}}: berth_gateway::front: call");
    logged(&called)?;
    started()?;
    let log = node.log()?;
    let others = |line: &&str| line.contains(" DEBUG ") && !line.contains(": berth_gateway::");
    assert_eq!(log.lines().find(others), None);

    level("info")?;
    let pid = version_as(&node, "4713")?;
    assert!(!node.log()?.contains(&format!("pid={pid} ")));

    // What was looked for above is there when it is wanted.
    level("debug")?;
    started()?;
    logged("berth_supervisor::launch: started service=bundle")
}

#[test]
fn tasks_are_written_down_when_somebody_asks() -> Result<()> {
    let node = Node::start()?;
    let mut pids = vec![("berthd", node.berthd_pid()?)];
    for service in ["berth-gateway", "berth-distribution", "berth-bundle", "berth-runtime"] {
        pids.push((service, node.service_pid(service)?));
    }
    let file =
        |(name, pid): &(&str, u32)| std::env::temp_dir().join(format!("{name}.{pid}.tasks.log"));
    program("kill").args(["-USR1", &pids[0].1.to_string()]).output()?.ok()?;
    let written = || pids.iter().all(|of| file(of).exists());
    until("the tasks are written down", Duration::from_secs(60), written)?;
    for of in &pids {
        let text = fs_err::read_to_string(file(of))?;
        fs_err::remove_file(file(of))?;
        let known = if of.0 == "berthd" { "keep: runs " } else { "reload: runs " };
        assert!(text.contains(known) && text.contains(", waits "), "{}: {text}", of.0);
    }
    Ok(())
}

#[test]
fn registries_and_collections_follow_the_configuration() -> Result<()> {
    // After the first collection the next one has its turn in a day.
    let gc = "[distribution.gc]\npause_threshold = 0.00000001\n";
    let (node, registry) = (Node::start_with(gc)?, Registry::start()?);
    Image::busybox()?.push(&registry, "busybox:1")?;
    let name = "registry.invalid/busybox:1";
    node.berth(&format!("pull -q {name}")).output()?.fails(1)?;
    let hosts = node.path("hosts/registry.invalid");
    fs_err::create_dir_all(&hosts)?;
    let server = format!("server = \"http://{}\"\n", registry.host());
    fs_err::write(hosts.join("hosts.toml"), server)?;
    let registries = format!(
        "[distribution.registry]\nconfig_path = [{:?}]\nmax_concurrent_downloads = 1\n",
        node.path("hosts")
    );
    let keys =
        ["distribution.registry.config_path", "distribution.registry.max_concurrent_downloads"];
    node.reload(&format!("{gc}{registries}"), &keys.join(", "), 1)?;
    node.berth(&format!("pull -q {name}")).output()?.ok()?;

    let blobs = || -> Result<usize> {
        Ok(fs_err::read_dir(node.path("root/distribution/blobs/sha256"))?.count())
    };
    assert!(blobs()? > 0);
    node.ctr(&format!("images rm {name}")).output()?.ok()?;
    std::thread::sleep(Duration::from_secs(2));
    assert!(blobs()? > 0, "it is not yet its turn");
    let gc = "[distribution.gc]\npause_threshold = 0.5\n";
    node.reload(&format!("{gc}{registries}"), "distribution.gc.pause_threshold", 1)?;
    until("it is collected", Duration::from_secs(60), || blobs().is_ok_and(|left| left == 0))?;
    let shown = node.ctr("plugins ls -d id==scheduler").output()?.ok()?;
    assert!(shown.contains("0.5"), "{shown}");
    assert!(!node.log()?.contains("counts after a restart"));
    Ok(())
}

/// What a child inherits while it is made keeps sockets and stores of a service that was killed.
#[test]
fn no_descriptor_is_inherited_by_accident() -> Result<()> {
    let node = Node::start()?;
    // Until it serves, a service has not taken up the pipe on which it says so.
    let all = || node.log().is_ok_and(|log| log.contains("ready address="));
    until("all services serve", Duration::from_secs(30), all)?;
    let mut pids = vec![node.berthd_pid()?];
    for service in ["berth-gateway", "berth-distribution", "berth-bundle", "berth-runtime"] {
        pids.push(node.service_pid(service)?);
    }
    for pid in pids {
        for entry in fs_err::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // A descriptor may have been closed since it was listed.
            let Ok(info) = fs_err::read_to_string(&path) else { continue };
            let target = fs_err::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
            // Standard ones, the lock that a service only holds until it ends, and what whoever runs the
            // tests leaves to all of us.
            let ours = fs_err::read_link(format!("/proc/self/fd/{number}"));
            if matches!(number, "0" | "1" | "2")
                || target.ends_with("services.lock")
                || ours.is_ok_and(|ours| ours == target)
            {
                continue;
            }
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = u32::from_str_radix(flags.unwrap_or_default().trim(), 8)?;
            assert!(flags & 0o2_000_000 != 0, "{pid}: {number} is {}", target.display());
        }
    }
    Ok(())
}

/// With what a container is in its arguments and variables, as containerd's own does it.
#[test]
fn hooks_of_a_specification_are_run_by_the_daemons_program() -> Result<()> {
    let stage = Stage::pulled()?;
    let (rootfs, told) = (stage.node.path("rootfs"), stage.node.path("told"));
    std::os::unix::fs::symlink(Node::binary("berthd")?, stage.node.path("containerd"))?;
    fs_err::create_dir(&rootfs)?;
    stage.ctr(&format!("images mount --rw {} {}", stage.image, rootfs.display()))?;
    let mut spec: Value = serde_json::from_str(&stage.ctr("oci spec")?)?;
    spec["root"] = json!({"path": rootfs});
    spec["process"]["args"] = json!(["/bin/sleep", "600"]);
    spec["linux"]["cgroupsPath"] = json!("/default/daemon-hook");
    spec["annotations"] = json!({"a.b/c": "of the file"});
    let mut run = |id: &str, script: &str| {
        let hook = json!({
            "path": stage.node.path("containerd"),
            "args": ["containerd", "oci-hook", "--", "/bin/sh", "-c", script],
            "env": ["FOLDER={{bundle}}", "PATH=/usr/bin:/bin"],
        });
        spec["hooks"] = json!({"createRuntime": [hook]});
        fs_err::write(stage.node.path("spec.json"), spec.to_string())?;
        let config = stage.node.path("spec.json").display().to_string();
        stage.node.ctr(&format!("run -d --config {config} {id}")).output()
    };
    let told_by = format!(
        "printf '%s\\n' {{{{id}}}} {{{{pid}}}} {{{{status}}}} {{{{rootfs}}}} \"$FOLDER\" \
         '{{{{annotation \"a.b/c\"}}}}' >{}",
        told.display()
    );
    run("daemon-hook", &told_by)?.ok()?;
    let tasks = stage.ctr("tasks ls")?;
    let task = tasks.lines().find(|line| line.starts_with("daemon-hook ")).context("its task")?;
    let pid = task.split_whitespace().nth(1).context("its pid")?;
    let folder = stage.node.path("state/runtime/default/daemon-hook").display().to_string();
    let rootfs = rootfs.display().to_string();
    let expected = ["daemon-hook", pid, "creating", &rootfs, &folder, "of the file"];
    assert_eq!(fs_err::read_to_string(&told)?.lines().collect::<Vec<_>>(), expected);
    stage.node.ctr("tasks rm -f daemon-hook").output()?;

    let refused = run("daemon-hook-2", "{{name}}")?.fails(1)?;
    assert!(refused.contains("{{name}} is nothing that a container has"), "{refused}");
    stage.ctr(&format!("images unmount {rootfs}")).map(drop)
}

#[test]
fn a_node_without_a_required_plugin_does_not_start() -> Result<()> {
    for (required, why) in [
        ("io.containerd.snapshotter.v1.overlayfs", None),
        (
            "io.containerd.grpc.v1.none",
            Some("required plugin [io.containerd.grpc.v1.none] not included"),
        ),
        (
            "io.containerd.snapshotter.v1.native",
            Some("required plugin [io.containerd.snapshotter.v1.native] not included"),
        ),
        // Without a file to begin with it is not set up.
        (
            "io.containerd.snapshotter.v1.blockfile",
            Some("load required plugin io.containerd.snapshotter.v1.blockfile: "),
        ),
    ] {
        let disabled = "io.containerd.snapshotter.v1.native";
        let lists = format!("disabled_plugins = [{disabled:?}]\nrequired_plugins = [{required:?}]");
        let machine = Machine::new(&CONFIG.replace("disabled_plugins = []", &lists))?;
        let Some(why) = why else {
            let mut daemon = Session::start(machine.containerd(""))?;
            daemon.expect("ready address=")?;
            daemon.signal(Signal::TERM)?;
            assert_eq!(daemon.end()?, 0);
            continue;
        };
        let refused = machine.containerd("").output()?.fails(1)?;
        assert!(refused.contains(why), "{refused}");
        assert!(!machine.path("c.sock").exists());
    }
    Ok(())
}
