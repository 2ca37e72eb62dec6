//! What keys of the configuration do that no other story sets.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Image, Node, Registry, program, until, write_program};
use cri::runtime_service_client::RuntimeServiceClient;
use serde_json::Value;
use tonic::Code;

const SHIM: &str = "containerd-shim-runc-v2";

/// A folder with one program in it.
fn folder_with(name: &str, script: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    write_program(&folder.path().join(name), script)?;
    Ok(folder)
}

/// The program of the shim that serves a container which runs in the background.
fn shim_of(node: &Node, image: &str, name: &str) -> Result<PathBuf> {
    node.berth(&format!("run -d --name {name} {image} sleep 600")).output()?.ok()?;
    let shims = node.shims();
    ensure!(shims.len() == 1, "{shims:?}");
    let program = fs_err::read_link(format!("/proc/{}/exe", shims[0]))?;
    node.berth(&format!("rm -f {name}")).output()?.ok()?;
    Ok(program)
}

#[test]
fn shims_are_ours_unless_a_folder_is_set() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let ours = Node::binary(SHIM)?.canonicalize()?;
    // Debian's comes first on PATH, if it is installed.
    let other = folder_with(SHIM, "#!/bin/sh\necho another shim was started >&2\nexit 1\n")?;
    let path = std::env::var("PATH")?;
    let path = format!("{}:/usr/bin:{path}", other.path().display());
    let node = Node::start_as("", &[("PATH", &path)], |_| Ok(()))?;
    assert_eq!(shim_of(&node, &image, "keys-own")?, ours);

    let folder = tempfile::tempdir()?;
    write_program(&folder.path().join(SHIM), fs_err::read(&ours)?)?;
    let node = Node::start_with(&format!("[runtime]\nshim_dir = {:?}\n", folder.path()))?;
    let found = shim_of(&node, &image, "keys-dir")?;
    assert_eq!(found, folder.path().canonicalize()?.join(SHIM));
    Ok(())
}

#[test]
fn a_shim_that_does_not_start_in_time_is_given_up() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let started = tempfile::tempdir()?;
    let pid = started.path().join("pid");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *start) echo $$ >{pid}; exec sleep 600;; esac\nexec {ours} \"$@\"\n",
        pid = pid.display(),
        ours = Node::binary(SHIM)?.display(),
    );
    let folder = folder_with(SHIM, &script)?;
    let keys = format!("[runtime]\nshim_dir = {:?}\nshim_start_timeout = \"5s\"\n", folder.path());
    let node = Node::start_with(&keys)?;
    let out = node.berth(&format!("run --name keys-late {image} true")).output()?;
    assert_eq!(out.code, 125, "{out}");
    for part in ["keys-late", "start shim", "5s"] {
        assert!(out.stderr.contains(part), "{part}: {out}");
    }
    let process = format!("/proc/{}", fs_err::read_to_string(&pid)?.trim());
    until("it is ended", Duration::from_secs(60), || !Path::new(&process).exists())?;
    assert!(!node.berth("ps -a").output()?.ok()?.contains("keys-late"));
    Ok(())
}

#[test]
fn containers_are_run_by_the_runtime_that_is_set() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let told = tempfile::tempdir()?;
    let calls = told.path().join("calls");
    let script = format!("#!/bin/sh\necho \"$@\" >>{}\nexec runc \"$@\"\n", calls.display());
    let folder = folder_with("other-runc", &script)?;
    let binary = folder.path().join("other-runc");
    let node = Node::start_with(&format!("[runtime]\nbinary = {binary:?}\n"))?;
    let printed = node.berth(&format!("run --rm --name keys-runc {image} echo ran")).output()?;
    assert_eq!(printed.ok()?, "ran\n");
    let calls = fs_err::read_to_string(calls)?;
    for verb in [" create ", " start ", " delete "] {
        let of_it = |line: &&str| line.contains(verb) && line.ends_with("keys-runc");
        assert_eq!(calls.lines().filter(of_it).count(), 1, "{verb}: {calls}");
    }
    Ok(())
}

#[test]
fn the_clients_socket_has_the_owner_and_mode_that_are_set() -> Result<()> {
    let facts = |node: &Node| -> Result<(u32, u32, u32)> {
        let socket = fs_err::metadata(node.address())?;
        Ok((socket.uid(), socket.gid(), socket.mode() & 0o7777))
    };
    assert_eq!(facts(&Node::start()?)?, (0, 0, 0o660));
    let node = Node::start_with("[gateway]\nuid = 1234\ngid = 2345\nmode = \"0606\"\n")?;
    assert_eq!(facts(&node)?, (1234, 2345, 0o606));
    Ok(())
}

#[test]
fn the_shims_socket_has_the_owner_that_is_set_and_is_for_it_alone() -> Result<()> {
    let facts = |node: &Node| -> Result<(u32, u32, u32)> {
        // The runtime answers once it is there, a node before that.
        node.ctr("containers ls").output()?.ok()?;
        let mut path = node.address().into_os_string();
        path.push(".ttrpc");
        let socket = fs_err::metadata(path)?;
        Ok((socket.uid(), socket.gid(), socket.mode() & 0o7777))
    };
    assert_eq!(facts(&Node::start()?)?, (0, 0, 0o600));
    let node = Node::start_with("[runtime]\nttrpc_uid = 1234\nttrpc_gid = 2345\n")?;
    assert_eq!(facts(&node)?, (1234, 2345, 0o600));
    Ok(())
}

#[test]
fn logs_are_objects_when_that_is_set() -> Result<()> {
    let mut node = Node::start_with("[log]\nformat = \"json\"\nlevel = \"debug\"\n")?;
    // Each service logs what it is asked.
    for line in ["images ls", "snapshots ls", "containers ls"] {
        node.ctr(line).output()?.ok()?;
    }
    node.stop()?;
    let log = node.log()?;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_>>()?;
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
    let of = |target: &'static str| {
        lines
            .iter()
            .filter(move |line| line["target"].as_str().is_some_and(|of| of.starts_with(target)))
    };
    assert!(of("h2").count() > 0, "no service logs a call");
    let serves = of("berth_supervisor::keep").next().context("nothing of berthd")?;
    assert_eq!(serves["span"], serde_json::json!({"name": "task", "job": "keep"}));
    assert_eq!(serves["fields"]["message"], "serves");
    Ok(())
}

#[test]
fn overlays_are_kept_told_and_mounted_as_is_set() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("overlays");
    let node = Node::start_with(&format!(
        "[bundle.overlayfs]\nroot_path = {place:?}\nupperdir_label = true\nsync_remove = true\n\
         mount_options = [\"volatile\"]\n"
    ))?;
    node.berth(&format!("pull -q {image}")).output()?.ok()?;
    node.berth(&format!("run -d --name keys-overlay {image} sleep 600")).output()?.ok()?;
    let label = "containerd.io/snapshot/overlay.upperdir";
    let told = node.ctr("snapshots info keys-overlay").output()?.ok()?;
    let told: Value = serde_json::from_str(&told)?;
    let upper = told["Labels"][label].as_str().with_context(|| format!("{told}"))?.to_owned();
    assert!(Path::new(&upper).starts_with(&place), "{upper}");
    node.berth("exec keys-overlay touch /written").output()?.ok()?;
    assert!(Path::new(&upper).join("written").exists());
    let table = fs_err::read_to_string("/proc/self/mountinfo")?;
    let mounted = table.lines().find(|line| line.contains(&format!("upperdir={upper}")));
    assert!(mounted.is_some_and(|line| line.contains("volatile")), "{mounted:?}");
    node.berth("rm -f keys-overlay").output()?.ok()?;
    assert!(!Path::new(&upper).exists());
    assert!(!node.path("root/bundle/overlayfs").exists());
    Ok(())
}

/// The folders of a control group, in each hierarchy that has it.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let below = fs_err::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = below.chain([root.to_owned()]).map(|folder| folder.join(name));
    all.filter(|folder| folder.join("cgroup.procs").exists()).collect()
}

#[test]
fn processes_live_where_and_with_what_the_configuration_says() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let name = format!("berth-keys-{}", std::process::id());
    if Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        fs_err::create_dir(Path::new("/sys/fs/cgroup").join(&name))?;
    }
    let opt = tempfile::tempdir()?;
    let config = format!(
        "cgroup = \"/{name}\"\nopt = {:?}\n[runtime]\nshim_env = [\"BERTH_KEYS=a=b\"]\n",
        opt.path()
    );
    let node = Node::start_with(&config)?;
    node.berth(&format!("run -d --name keys-where {image} sleep 600")).output()?.ok()?;
    let (shims, runtime) = (node.shims(), node.service_pid("berth-runtime")?);
    for (pid, own) in [(shims[0], true), (runtime, false)] {
        let environment = fs_err::read_to_string(format!("/proc/{pid}/environ"))?;
        let of = |start: &str| environment.split('\0').find_map(|pair| pair.strip_prefix(start));
        assert_eq!(of("BERTH_KEYS="), own.then_some("a=b"));
        let path = of("PATH=").context("no PATH")?;
        assert!(path.starts_with(&format!("{}/bin:", opt.path().display())), "{path}");
    }
    let groups = cgroups(&name);
    assert!(!groups.is_empty());
    for group in &groups {
        let members = fs_err::read_to_string(group.join("cgroup.procs"))?;
        for pid in [node.berthd_pid()?, runtime] {
            assert!(members.lines().any(|line| line == pid.to_string()), "{members}");
        }
    }
    node.berth("rm -f keys-where").output()?.ok()?;
    drop(node);
    let gone = || cgroups(&name).iter().all(|group| fs_err::remove_dir(group).is_ok());
    until("nobody is in the groups any more", Duration::from_secs(60), gone)
}

/// What counts at once when the configuration is read again, on processes: docs/operations.md tells which.
#[test]
fn what_counts_at_once_is_put_into_force_by_one_reload() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    node.berth(&format!("run -d --name keys-before {image} sleep 600")).output()?.ok()?;
    let before = node.shims();
    let forbids = folder_with("no", "#!/bin/sh\nexit 1\n")?;
    let shims = Node::binary(SHIM)?;
    let config = format!(
        r#"
[gateway]
max_connections = 50
wait = "7s"
[distribution.image_verifiers]
bin_dir = {:?}
[distribution.gc]
schedule_delay = "3ms"
[distribution.registry]
max_concurrent_downloads = 2
[bundle]
max_concurrent_unpacks = 7
max_layer_size = "1GiB"
max_layer_entries = 4000
[runtime]
restart_interval = "3s"
shim_dir = {:?}
shim_env = ["BERTH_KEYS=live"]
shim_start_timeout = "20s"
[runtime.timeouts]
task_state = "9s"
shim_load = "8s"
"#,
        forbids.path(),
        shims.parent().context("the shim lies in no folder")?,
    );
    node.reload(&config, "gateway.max_connections, gateway.wait", 1)?;
    let of_services = [
        "distribution.gc.schedule_delay, distribution.image_verifiers.bin_dir, \
         distribution.registry.max_concurrent_downloads",
        "bundle.max_concurrent_unpacks, bundle.max_layer_entries, bundle.max_layer_size",
        "runtime.restart_interval, runtime.shim_dir, runtime.shim_env, \
         runtime.shim_start_timeout, runtime.timeouts.shim_load, runtime.timeouts.task_state",
    ];
    for keys in of_services {
        let told = format!("read the configuration again applied=\"{keys}\"\n");
        let has = || node.log().is_ok_and(|log| log.contains(&told));
        until(&told, Duration::from_secs(60), has)
            .with_context(|| node.log().unwrap_or_default())?;
    }
    let log = node.log()?;
    ensure!(!log.contains("counts after a restart"), "{log}");
    ensure!(!log.contains("what is in force of these stays"), "{log}");

    // The image is there, and nobody is asked.
    node.berth(&format!("run -d --name keys-after {image} sleep 600")).output()?.ok()?;
    let after: Vec<u32> = node.shims().into_iter().filter(|pid| !before.contains(pid)).collect();
    ensure!((before.len(), after.len()) == (1, 1), "{before:?} {after:?}");
    for (pid, expected) in [(before[0], false), (after[0], true)] {
        let environment = fs_err::read_to_string(format!("/proc/{pid}/environ"))?;
        let has = environment.split('\0').any(|pair| pair == "BERTH_KEYS=live");
        ensure!(has == expected, "{environment}");
    }
    let refused = node.berth(&format!("pull -q {image}")).output()?;
    ensure!(refused.code == 1, "no verifier was asked: {refused}");
    ensure!(refused.stderr.contains(&image), "{refused}");
    let socket = node.socket("bundle");
    let curl = program("curl").args(["-sS", "--max-time", "20", "--http2-prior-knowledge"]);
    let curl = curl.args(["--unix-socket"]).args([socket]).args(["http://localhost/metrics"]);
    let metrics = curl.output()?.ok()?;
    ensure!(metrics.contains("\nberth_layer_turns_free 7\n"), "{metrics}");
    node.berth("rm -f keys-before keys-after").output()?.ok()?;
    node.shims_end()
}

/// The ones that are configured, and what of them is changed counts when berth-cri starts again, alone.
#[tokio::test(flavor = "multi_thread")]
async fn kubelets_are_told_of_the_handlers_that_are_set() -> Result<()> {
    let config = "[cri]\nenabled = true\ndefault_runtime_name = \"other\"\n\
                  [cri.runtimes.other]\nsystemd_cgroup = true\n";
    let node = Node::start_with(config)?;
    let mut kubelet = RuntimeServiceClient::new(berth_grpc::channel(&node.address()));
    ensure!(cgroup_driver(&mut kubelet).await? == cri::CgroupDriver::Systemd);
    let told = kubelet.status(cri::StatusRequest::default()).await?.into_inner();
    let names: Vec<_> = told.runtime_handlers.into_iter().map(|handler| handler.name).collect();
    ensure!(names == ["", "other"], "{names:?}");

    let explained = node.berth("config explain --config").args([node.path("berth.toml")]);
    let explained = explained.output()?.ok()?;
    for key in ["cri.enabled ", "cri.runtimes.other.systemd_cgroup ", "cri.stream_address "] {
        ensure!(explained.lines().any(|line| line.starts_with(key)), "{key}: {explained}");
    }
    let config = config.replace("systemd_cgroup = true", "systemd_cgroup = false");
    fs_err::write(node.path("berth.toml"), config)?;
    let args = ["--config".into(), node.path("berth.toml"), "--root".into(), node.path("root")];
    node.berth("reload").args(args).output()?.ok()?;
    let waits = "counts after a restart keys=\"cri.runtimes.other.systemd_cgroup\"";
    until(waits, Duration::from_secs(60), || node.log().is_ok_and(|log| log.contains(waits)))?;
    let before = node.service_pid("berth-cri")?;
    node.kill_service("berth-cri")?;
    let again = || node.service_pid("berth-cri").is_ok_and(|pid| pid != before);
    until("berth-cri is started again", Duration::from_secs(60), again)?;
    ensure!(cgroup_driver(&mut kubelet).await? == cri::CgroupDriver::Cgroupfs);
    Ok(())
}

/// What kubelets are told of control groups, as soon as somebody tells it.
async fn cgroup_driver(
    kubelet: &mut RuntimeServiceClient<berth_grpc::Channel>,
) -> Result<cri::CgroupDriver> {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        match kubelet.runtime_config(cri::RuntimeConfigRequest::default()).await {
            Ok(told) => {
                let linux = told.into_inner().linux.context("no driver is told")?;
                return Ok(linux.cgroup_driver());
            }
            Err(away) if away.code() == Code::Unavailable && Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
}
