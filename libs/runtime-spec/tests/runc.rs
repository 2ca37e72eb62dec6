//! The built spec, run by the real runc on a root file system of busybox. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Output;

use berth_runtime_spec::{BindMount, ImageConfig, Limits, Options, RootView, build};

/// A bundle with busybox as its root file system.
fn bundle() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("rootfs");
    for part in ["bin", "etc", "proc", "sys", "dev", "run", "tmp"] {
        fs_err::create_dir_all(root.join(part)).unwrap();
    }
    fs_err::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for tool in ["sh", "id", "cat", "grep", "mount", "touch", "hostname", "ls", "unshare"] {
        fs_err::os::unix::fs::symlink("busybox", root.join("bin").join(tool)).unwrap();
    }
    let users = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n";
    fs_err::write(root.join("etc/passwd"), users).unwrap();
    fs_err::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\nextra:x:77:app\n").unwrap();
    dir
}

/// Runs `script` under `options` and gives what runc said.
fn run(name: &str, script: &str, options: Options) -> Output {
    let bundle = bundle();
    let id = format!("berth-spec-{name}-{}", std::process::id());
    let options = Options {
        namespace: "berth-spec-test".into(),
        id: id.clone(),
        args: ["sh", "-c", script].map(str::to_owned).into(),
        ..options
    };
    let view = RootView::of_layers([bundle.path().join("rootfs")]).unwrap();
    let spec = build(&ImageConfig::default(), &options, &view).unwrap();
    fs_err::write(bundle.path().join("config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
    runc(bundle.path(), &id)
}

#[expect(clippy::disallowed_methods, reason = "this crate starts no processes but in this test")]
fn runc(bundle: &Path, id: &str) -> Output {
    let state = bundle.join("state");
    let mut command = std::process::Command::new("runc");
    command.arg("--root").arg(state).args(["run", "--bundle"]).arg(bundle).arg(id);
    command.output().unwrap()
}

/// What a successful run printed.
fn printed(name: &str, script: &str, options: Options) -> String {
    let output = run(name, script, options);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_user_by_name_gets_its_groups() {
    let options = Options { user: Some("app".into()), ..Default::default() };
    let text = printed("user", "id", options);
    assert!(text.contains("uid=1000(app) gid=1001(app)") && text.contains("77(extra)"), "{text}");
}

#[test]
fn the_defaults_hold_in_the_container() {
    let options = Options { hostname: Some("anchor".into()), ..Default::default() };
    let script = "hostname; grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; \
                  mount | grep -c -E ' (/proc|/dev|/dev/pts|/dev/shm|/dev/mqueue|/sys|/run|/sys/fs/cgroup) '; \
                  cat /proc/kcore; unshare -m true || echo refused; touch /x && echo writable";
    let text = printed("defaults", script, options);
    let status = ["anchor", "CapBnd:\t00000000a80425fb", "NoNewPrivs:\t1", "Seccomp:\t2"];
    for line in status.into_iter().chain(["8", "refused", "writable"]) {
        assert!(text.lines().any(|have| have == line), "{line} in {text}");
    }
}

/// Those of them that this machine's kernel has; /proc/timer_list is in every one.
#[test]
fn kernel_files_are_hidden_or_protected_and_open_files_are_bounded() {
    let script = "ulimit -Sn; ulimit -Hn; \
        for path in /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats \
            /proc/timer_list /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware \
            /sys/devices/virtual/powercap; do \
            if [ -d $path ]; then [ -z \"$(ls $path)\" ] || echo shown $path; \
            elif [ -e $path ]; then [ -c $path ] || echo shown $path; fi; \
        done; \
        for path in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger; do \
            [ ! -e $path ] || mount | grep -q \"on $path type proc (ro\" || echo open $path; \
        done; \
        ls -d /proc/timer_list /proc/sys";
    let text = printed("kernel", script, Options::default());
    assert_eq!(text, "1024\n1024\n/proc/sys\n/proc/timer_list\n");
    let open = printed("open", script, Options { privileged: true, ..Default::default() });
    assert!(
        open.contains("shown /proc/timer_list\n") && open.contains("open /proc/sys\n"),
        "{open}"
    );
}

#[test]
fn read_only_means_it_and_a_bind_shows() {
    let host = tempfile::tempdir().unwrap();
    fs_err::write(host.path().join("f"), "from the host").unwrap();
    let bind = BindMount {
        source: host.path().to_owned(),
        target: "/mnt".into(),
        read_only: true,
        propagation: String::new(),
    };
    let options = Options { read_only: true, binds: vec![bind], ..Default::default() };
    let script = "touch /x || echo root; touch /mnt/x || echo bind; cat /mnt/f";
    let text = printed("ro", script, options);
    assert_eq!(text, "root\nbind\nfrom the host");
}

#[test]
fn limits_reach_the_cgroup() {
    let limits = Limits { memory: Some(32 << 20), pids: Some(40), ..Default::default() };
    let options = Options { limits, ..Default::default() };
    let v1 = Path::new("/sys/fs/cgroup/memory").exists();
    let (memory, pids) = if v1 {
        ("memory/memory.limit_in_bytes", "pids/pids.max")
    } else {
        ("memory.max", "pids.max")
    };
    let script = format!("cat /sys/fs/cgroup/{memory} /sys/fs/cgroup/{pids}");
    let options = Options { private_cgroup: !v1, ..options };
    assert_eq!(printed("limits", &script, options), "33554432\n40\n");
}

#[test]
fn privileged_opens_what_is_closed() {
    let options = Options { privileged: true, ..Default::default() };
    let script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; unshare -m true && echo may";
    let text = printed("privileged", script, options);
    assert_eq!(text, "NoNewPrivs:\t0\nSeccomp:\t0\nmay\n");
}
