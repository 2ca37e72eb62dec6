//! Mounts of the host and of the services, while containers use them.

use anyhow::Result;
use berth_testkit::{Image, Node, Registry, until};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::path::Path;
use std::time::Duration;

/// A tmpfs with propagation of its own: `/` may be a private mount. Undone when dropped.
struct Shared(tempfile::TempDir);

impl Shared {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), None)?;
        rustix::mount::mount_change(folder.path(), MountPropagationFlags::SHARED)?;
        Ok(Self(folder))
    }

    /// Mounts another tmpfs below it, with one file.
    fn mount_below(&self, name: &str) -> Result<()> {
        let at = self.0.path().join(name);
        fs_err::create_dir(&at)?;
        rustix::mount::mount("tmpfs", &at, "tmpfs", MountFlags::empty(), None)?;
        Ok(fs_err::write(at.join("file"), name)?)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What is mounted below goes with it.
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn later_mounts_of_the_host_reach_a_container_that_asks_for_them() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    node.ctr(&format!("images pull --plain-http {image}")).output()?.ok()?;
    let shared = Shared::new()?;
    let host = shared.path().display();
    for (name, options) in [("follows", "rbind:rslave"), ("apart", "rbind:rprivate")] {
        let mount = format!("--mount type=bind,src={host},dst=/host,options={options}");
        node.ctr(&format!("run -d {mount} {image} {name} sleep 600")).output()?.ok()?;
    }
    shared.mount_below("later")?;
    let read = |name: &str| {
        node.ctr(&format!("tasks exec --exec-id read {name} cat /host/later/file")).output()
    };
    assert_eq!(read("follows")?.ok()?.trim(), "later");
    assert_ne!(read("apart")?.code, 0, "a private mount followed the host");
    for name in ["follows", "apart"] {
        node.berth(&format!("rm -f {name}")).output()?.ok()?;
    }
    Ok(())
}

#[test]
fn a_restart_of_bundle_leaves_mounts_in_use_alone() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    node.berth(&format!("pull {image}")).output()?.ok()?;
    node.berth(&format!("run -d --name stays-mounted {image} sleep 600")).output()?.ok()?;
    node.berth("exec stays-mounted touch /written").output()?.ok()?;
    let before = node.mounts();
    assert!(!before.is_empty(), "the container has no root file system");
    let old = node.service_pid("berth-bundle")?;
    node.kill_service("berth-bundle")?;
    let restarted = || node.service_pid("berth-bundle").is_ok_and(|pid| pid != old);
    until("bundle is back", Duration::from_secs(20), restarted)?;
    // It answers, so it has cleaned up whatever it takes for leftovers.
    node.ctr("snapshots ls").output()?.ok()?;
    assert_eq!(node.mounts(), before);
    node.berth("exec stays-mounted ls /written").output()?.ok()?;
    node.berth("rm -f stays-mounted").output()?.ok()?;
    until("its mounts go with it", Duration::from_secs(60), || node.mounts().is_empty())
}
