//! What this machine's kernel cannot do, on a Debian cloud kernel in an emulated one: a container's
//! life with cgroup v2, and one that is saved by criu and goes on.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Node, program, run};

#[test]
fn a_container_lives_on_a_machine_with_cgroup_v2() -> Result<()> {
    machine(
        "cgroup2.sh",
        &["/usr/sbin/runc"],
        &[
            ("hello", "hello"),
            ("memory", "67108864"),
            ("cpus", "50000 100000"),
            ("pids", "33"),
            ("oom", "137"),
            ("told", "/tasks/oom /tasks/exit"),
            ("frozen", "1"),
            ("exec", "inside"),
            ("stats", "1"),
            ("stopped", "0"),
            ("end", "yes"),
        ],
    )
}

#[test]
fn a_container_that_criu_has_saved_goes_on() -> Result<()> {
    // criu has tar write down what lies in a container's tmpfs.
    machine(
        "criu.sh",
        &["/usr/sbin/runc", "/usr/sbin/criu", "/usr/bin/ctr", "/usr/bin/tar"],
        &[
            ("saved", "0"),
            ("restored", "0"),
            ("count", "went on"),
            ("left", "0"),
            ("stopped", "0"),
            ("end", "yes"),
        ],
    )
}

/// Held while a machine runs: each has all processors that there are.
static RUNNING: Mutex<()> = Mutex::new(());

/// Has a machine with these programs tell its story.
fn machine(story: &str, programs: &[&str], expected: &[(&str, &str)]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let kernel = kernel()?;
    let initrd = initrd(dir.path(), &kernel, story, programs)?;
    let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let printed = program("qemu-system-x86_64")
        .patience(Duration::from_secs(300))
        .args(["-accel", "tcg", "-smp", "2", "-m", "3072"])
        .args(["-nographic", "-no-reboot", "-nic", "none"])
        // The emulated clock is one for all processors. The kernel takes another otherwise, of which
        // each reading waits for the others: its timers may then never have done.
        .args(["-append", "console=ttyS0 quiet panic=-1 tsc=reliable rdinit=/init"])
        .args([Path::new("-kernel"), &kernel.join("vmlinuz"), Path::new("-initrd"), &initrd])
        .output()?
        .ok()?;
    let told = |key: &str| {
        let start = format!("STORY {key}=");
        printed.lines().find_map(|line| line.trim().strip_prefix(&start).map(str::to_owned))
    };
    for (key, value) in expected {
        ensure!(told(key).as_deref() == Some(*value), "{key} is not {value}:\n{printed}");
    }
    Ok(())
}

/// The folder with Debian's kernel, unpacked on first use.
fn kernel() -> Result<PathBuf> {
    let binary = Node::binary("berthd")?;
    let target = binary.parent().and_then(Path::parent).context("no target folder")?;
    let kernel = target.join("kernel");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cgroup2/machine/kernel.sh");
    program(script).args([&kernel]).output()?.ok()?;
    Ok(kernel)
}

/// The machine's first file system: our binaries, others', busybox, what they link, the kernel's
/// modules, an image and the story.
fn initrd(dir: &Path, kernel: &Path, story: &str, programs: &[&str]) -> Result<PathBuf> {
    let root = dir.join("root");
    for folder in ["bin", "opt/berth", "usr/bin", "usr/sbin", "etc"] {
        fs_err::create_dir_all(root.join(folder))?;
    }
    let own = ["berth", "berthd", "berth-gateway", "berth-distribution", "berth-bundle"]
        .into_iter()
        .chain(["berth-runtime", "containerd-shim-runc-v2"]);
    for name in own {
        let binary = Node::binary(name)?;
        let copy = root.join("opt/berth").join(name);
        program("strip").args([Path::new("-o"), &copy, &binary]).output()?.ok()?;
        copy_libraries(&binary, &root)?;
    }
    for path in programs.iter().map(Path::new) {
        fs_err::copy(path, root.join(path.strip_prefix("/")?))?;
        copy_libraries(path, &root)?;
    }
    fs_err::copy("/bin/busybox", root.join("bin/busybox"))?;
    for entry in fs_err::read_dir(kernel)? {
        let file = entry?;
        if file.path().extension().is_some_and(|kind| kind == "ko") {
            fs_err::copy(file.path(), root.join(file.file_name()))?;
        }
    }
    let machine = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/cgroup2/machine"));
    for (name, to) in [("init", "init"), (story, "story"), ("begin", "begin"), ("end", "end")] {
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

/// Copies the shared libraries that `binary` links, with the loader, to the same paths.
fn copy_libraries(binary: &Path, root: &Path) -> Result<()> {
    let list = run(&format!("ldd {}", binary.display()))?;
    for path in list.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(path.trim_start_matches('/'));
        fs_err::create_dir_all(to.parent().context("library without a folder")?)?;
        fs_err::copy(path, to)?;
    }
    Ok(())
}
