//! What this machine's kernel cannot do, on a Debian cloud kernel in an emulated one: the life of containers and
//! pods with cgroup v2, some that are saved by criu and go on, and the units below systemd as the first
//! process, with the control groups that it makes and a profile of AppArmor.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_stories::commands;
use berth_testkit::{Image, Node, Output, Run, Signal, program, run};

#[test]
fn a_container_lives_on_a_machine_with_cgroup_v2() -> Result<()> {
    let machine = Machine { story: "cgroup2.sh", programs: &["/usr/sbin/runc"], packages: &[] };
    machine.tells(&[
        ("hello", "hello"),
        ("memory", "67108864"),
        ("cpus", "50000 100000"),
        ("pids", "33"),
        ("oom", "137"),
        ("told", "/tasks/oom /tasks/exit"),
        ("frozen", "1"),
        ("told_cpu", "same"),
        ("told_throttled", "same"),
        ("told_memory", "same"),
        ("told_pids", "same"),
        ("told_read", "same 2097152"),
        ("told_written", "same 1048576"),
        ("told_limits", "67108864,33"),
        ("held", "what it keeps"),
        ("their_cpu", "same"),
        ("their_memory", "same"),
        ("their_pids", "same"),
        ("their_io", "same, same"),
        ("rates", "moves moves"),
        ("exec", "inside"),
        ("stats", "1"),
        ("fork", "sh: can't fork: Resource temporarily unavailable"),
        ("refused", "counted"),
        ("forked", "8 of 9, 8"),
        ("apart", "elsewhere"),
        ("went", "1"),
        ("pod_limits", "67108864 20000 100000 20 50331648 40"),
        ("pod_updated", "41943040 25000 50000 20 50331648 40"),
        ("pod_told_cpu", "same"),
        ("pod_told_memory", "same"),
        ("pod_told_all_cpu", "same"),
        ("pod_told_all_memory", "same"),
        ("pod_told_pressure", "same"),
        ("pod_oom", "OOMKilled 137"),
        ("pod_gone", "0"),
        ("stopped", "0"),
        ("end", "yes"),
    ])
}

#[test]
fn a_container_that_criu_has_saved_goes_on() -> Result<()> {
    // criu has tar write down what lies in a container's tmpfs.
    let programs = &["/usr/sbin/runc", "/usr/sbin/criu", "/usr/bin/ctr", "/usr/bin/tar"];
    Machine { story: "criu.sh", programs, packages: &[] }.tells(&[
        ("saved", "0"),
        ("restored", "0"),
        ("count", "went on"),
        ("pod_saved", "0"),
        ("pod_restored", "0"),
        ("pod_started", "0"),
        ("pod_count", "went on"),
        ("pod_groups", "own"),
        ("pod_groups_left", "0"),
        ("pod_left", "0"),
        ("left", "0"),
        ("stopped", "0"),
        ("end", "yes"),
    ])
}

#[test]
fn units_of_systemd_are_started_killed_and_upgraded_below_a_container() -> Result<()> {
    let programs = &[
        "/usr/sbin/runc",
        "/usr/bin/ctr",
        "/usr/bin/install",
        "/usr/bin/nsenter",
        "/usr/bin/unshare",
    ];
    Machine { story: "systemd.sh", programs, packages: &["systemd", "mount", "apparmor"] }.tells(&[
        // Nine programs, nine units, a configuration.
        ("installed", "19 files"),
        ("enabled", "enabled, disabled"),
        ("active", "active"),
        ("reloaded", "0 4 inside"),
        ("killed", "inside"),
        ("all_killed", "inside, anew"),
        ("upgraded", "inside"),
        ("edited", "/usr/local/bin/berth-runtime --state /run/berth"),
        ("told", "3"),
        ("fields", "3"),
        ("updated", "installed /host/usr/local/bin/berth-runtime 0"),
        ("after_update", "inside"),
        ("same", "4 inside"),
        ("scope", "active 67108864"),
        ("measured", "1"),
        ("gone", "inactive"),
        ("profile", "story (enforce)"),
        ("denied", "yes"),
        ("shown", "0 inside"),
        ("linked", "containerd berth"),
        ("debian", "active /usr/local/bin/berthd 1"),
        ("debian_stopped", "inactive 0 1"),
        ("debian_again", "1 inside 1"),
        ("together", "inactive inside"),
        ("reloaded_together", "0 5 inside"),
        ("apart", "inactive inside"),
        ("pod_driver", r#"{"cgroup_driver":"systemd"}"#),
        ("pod_scope", "active 67108864"),
        ("pod_updated", "33554432 33554432"),
        ("pod_profile", "story (enforce)"),
        ("pod_killed", "1 inside"),
        ("pod_measured", "2"),
        ("pod_gone", "inactive 0"),
        ("stopped", "the container runs"),
        ("failed", "0"),
        ("end", "yes"),
    ])
}

/// The most that each story may take of a processor, in seconds: fifteen minutes in all, about twice what they
/// take. One that hangs takes it too, as each of its waits looks again and again; a busy machine only takes
/// longer.
const SECONDS: [(&str, u32); 3] = [("cgroup2.sh", 240), ("criu.sh", 180), ("systemd.sh", 450)];
const _: () = assert!(SECONDS[0].1 + SECONDS[1].1 + SECONDS[2].1 <= 870);

/// How long is waited for one that has come to rest without an end.
const PATIENCE: Duration = Duration::from_secs(900);

/// Held while a machine runs: two would take each other's time.
static RUNNING: Mutex<()> = Mutex::new(());

/// A machine that tells a story: with our binaries, programs of this machine's, and the programs and units
/// of Debian's packages.
struct Machine<'a> {
    story: &'a str,
    programs: &'a [&'a str],
    packages: &'a [&'a str],
}

impl Machine<'_> {
    /// Has it tell its story.
    fn tells(&self, expected: &[(&str, &str)]) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let kernel = kernel()?;
        let initrd = self.initrd(dir.path(), &kernel)?;
        let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = bounded("qemu-system-x86_64", self.seconds()?)
            .patience(PATIENCE)
            // One processor: emulated ones that wait for each other may wait for ever (both were
            // locked up in the kernel, once in some twenty runs).
            .args(["-accel", "tcg", "-smp", "1", "-m", "3072"])
            .args(["-nographic", "-no-reboot", "-nic", "none"])
            // The kernel takes another clock otherwise, which is slow to read.
            .args(["-append", "console=ttyS0 quiet panic=-1 tsc=reliable rdinit=/init"])
            .args([Path::new("-kernel"), &kernel.join("vmlinuz"), Path::new("-initrd"), &initrd]);
        let printed = within_bounds(machine.output()?)?;
        let told = |key: &str| {
            let start = format!("STORY {key}=");
            printed.lines().find_map(|line| line.trim().strip_prefix(&start).map(str::to_owned))
        };
        for (key, value) in expected {
            let told = told(key).map(|told| told.trim().to_owned());
            ensure!(told.as_deref() == Some(*value), "{key} is not {value}:\n{printed}");
        }
        Ok(())
    }

    fn seconds(&self) -> Result<u32> {
        let bound = SECONDS.iter().find(|(story, _)| *story == self.story);
        bound.map(|(_, seconds)| *seconds).with_context(|| format!("{} has no bound", self.story))
    }

    /// The machine's first file system: our binaries, others', busybox, what they link, the kernel's
    /// modules, an image and the story.
    fn initrd(&self, dir: &Path, kernel: &Path) -> Result<PathBuf> {
        let root = dir.join("root");
        for folder in
            ["berth/bin", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local", "etc"]
        {
            fs_err::create_dir_all(root.join(folder))?;
        }
        for (at, to) in
            [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
        {
            symlink(to, root.join(at))?;
        }
        let own = ["berth", "berthd", "berth-gateway", "berth-distribution", "berth-bundle"]
            .into_iter()
            .chain(["berth-runtime", "berth-cluster", "berth-cri", "containerd-shim-runc-v2"]);
        for name in own {
            let binary = Node::binary(name)?;
            let copy = root.join("berth/bin").join(name);
            program("strip").args([Path::new("-o"), &copy, &binary]).output()?.ok()?;
            copy_libraries(&binary, &root)?;
        }
        for path in self.programs.iter().map(Path::new) {
            fs_err::copy(path, root.join(path.strip_prefix("/")?))?;
            copy_libraries(path, &root)?;
        }
        for package in self.packages {
            copy_package(package, &root)?;
        }
        if self.packages.contains(&"systemd") {
            add_units(&root)?;
        }
        fs_err::copy("/bin/busybox", root.join("bin/busybox"))?;
        for entry in fs_err::read_dir(kernel)? {
            let file = entry?;
            if file.path().extension().is_some_and(|kind| kind == "ko") {
                fs_err::copy(file.path(), root.join(file.file_name()))?;
            }
        }
        let machine = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vm/machine"));
        for (name, to) in
            [("init", "init"), (self.story, "story"), ("begin", "begin"), ("end", "end")]
        {
            fs_err::copy(machine.join(name), root.join(to))?;
        }
        fs_err::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
        // A container that shares the host's network shares them.
        fs_err::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
        fs_err::write(root.join("etc/resolv.conf"), "")?;
        let layout = Image::busybox()?;
        program("skopeo")
            .args(["copy", "--insecure-policy", "-q"])
            .args([format!("oci:{}", layout.layout().display())])
            .args([format!("docker-archive:{}:local/busybox:1", root.join("image.tar").display())])
            .output()?
            .ok()?;
        let initrd = dir.join("initrd");
        let pack = "cd \"$0\" && find . | cpio -o -H newc --quiet > \"$1\"";
        program("sh").args(["-c", pack]).args([&root, &initrd]).output()?.ok()?;
        Ok(initrd)
    }
}

/// A program that the kernel ends (SIGXCPU) when it has had so many seconds of a processor. Where the soft limit
/// is the hard one it is killed, which tells nothing.
fn bounded(name: &str, seconds: u32) -> Run {
    program("prlimit").args([&format!("--cpu={seconds}:unlimited"), "--core=0", name])
}

/// What it has printed, if it has ended by itself.
fn within_bounds(of: Output) -> Result<String> {
    let bound = 128 + Signal::XCPU.as_raw();
    ensure!(of.code != bound, "more of a processor than the story may take: {of}");
    of.ok()
}

#[test]
fn what_takes_more_of_a_processor_than_it_may_is_ended() -> Result<()> {
    let spin = ["-c", "echo spins; while :; do :; done"];
    let ended = within_bounds(bounded("sh", 1).args(spin).output()?).err().context("no error")?;
    let told = ended.to_string();
    assert!(told.contains("more of a processor") && told.contains("spins"), "{told}");
    within_bounds(bounded("sh", 1).args(["-c", "true"]).output()?).map(drop)
}

/// The folder with Debian's kernel, unpacked on first use.
fn kernel() -> Result<PathBuf> {
    let binary = Node::binary("berthd")?;
    let target = binary.parent().and_then(Path::parent).context("no target folder")?;
    let kernel = target.join("kernel");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/vm/machine/kernel.sh");
    program(script).args([&kernel]).output()?.ok()?;
    Ok(kernel)
}

/// Copies what a package has installed here, but for what is to be read, and what its programs link.
fn copy_package(package: &str, root: &Path) -> Result<()> {
    for path in run(&format!("dpkg -L {package}"))?.lines().map(Path::new) {
        let Ok(found) = fs_err::symlink_metadata(path) else { continue };
        if ["doc", "man", "locale"]
            .iter()
            .any(|kind| path.starts_with(format!("/usr/share/{kind}")))
        {
            continue;
        }
        let to = root.join(path.strip_prefix("/")?);
        if found.is_symlink() && !to.exists() {
            symlink(fs_err::read_link(path)?, to)?;
        } else if found.is_dir() {
            fs_err::create_dir_all(to)?;
        } else if found.is_file() {
            fs_err::copy(path, to)?;
            if fs_err::read(path)?.starts_with(b"\x7fELF") {
                copy_libraries(path, root)?;
            }
        }
    }
    Ok(())
}

/// What an image of the target `install` has beside our binaries, and the unit of the story, with what
/// systemd wants to know of a machine; and what the page for operators has them do with systemd.
fn add_units(root: &Path) -> Result<()> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
    let units = root.join("etc/systemd/system");
    let (deploy, image) = (ours.join("../deploy"), root.join("berth"));
    let shipped = fs_err::read_dir(deploy.join("systemd"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    fs_err::create_dir_all(image.join("units"))?;
    for unit in shipped.into_iter().chain([deploy.join("berth.service")]) {
        let name = unit.file_name().context("a unit's name")?;
        fs_err::copy(&unit, image.join("units").join(name))?;
    }
    fs_err::copy(deploy.join("berth.toml"), image.join("berth.toml"))?;
    fs_err::copy(deploy.join("kubernetes/install.sh"), image.join("install.sh"))?;
    fs_err::copy(ours.join("vm/machine/story.service"), units.join("story.service"))?;
    // Of Debian's package containerd what says how it is run. Its programs are not there.
    for path in ["lib/systemd/system/containerd.service", "etc/containerd/config.toml"] {
        let to = root.join(path);
        fs_err::create_dir_all(to.parent().context("a file's folder")?)?;
        fs_err::copy(Path::new("/").join(path), to)?;
    }
    fs_err::create_dir_all(units.join("multi-user.target.wants"))?;
    for (at, to) in [
        ("default.target", "/lib/systemd/system/multi-user.target"),
        ("multi-user.target.wants/story.service", "../story.service"),
        // Who logs in, and where: nobody.
        ("systemd-logind.service", "/dev/null"),
        ("getty.target", "/dev/null"),
    ] {
        symlink(to, units.join(at))?;
    }
    fs_err::write(root.join("etc/machine-id"), format!("{}\n", "ab".repeat(16)))?;
    fs_err::write(root.join("etc/group"), "root:x:0:\n")?;
    let page = fs_err::read_to_string(ours.join("../docs/operations.md"))?;
    let shown = commands(&page, "sh vm");
    ensure!(shown.lines().count() > 7, "the page shows less than it did: {shown}");
    fs_err::write(root.join("shown"), shown)?;
    Ok(())
}

/// Copies the shared libraries that `binary` links, with the loader, to the same paths.
fn copy_libraries(binary: &Path, root: &Path) -> Result<()> {
    let list = run(&format!("ldd {}", binary.display()))?;
    for path in list.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(path.trim_start_matches('/'));
        if to.exists() {
            continue;
        }
        fs_err::create_dir_all(to.parent().context("library without a folder")?)?;
        fs_err::copy(path, to)?;
    }
    Ok(())
}
