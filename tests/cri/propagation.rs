//! Mounts that come after a container has begun, and mounts below mounts.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{program, run, until};
use cri::MountPropagation as How;
use tempfile::TempDir;
use tonic::Code;

use crate::stage::{SOON, Stage, on_a_node, refused, shell};

const SLEEP: &str = "exec sleep 100000";

/// A file system of the test's, with all that is mounted in it later.
struct Shared(TempDir);

impl Shared {
    fn new(how: &str) -> Result<Self> {
        let of_test = Self(TempDir::new()?);
        mount(of_test.path())?;
        program("mount").args([how]).args([of_test.path()]).output()?.ok()?;
        Ok(of_test)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A folder in it.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs_err::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What is mounted below it goes with it.
        let _ = program("umount").args(["-l", "-R"]).args([self.path()]).output();
    }
}

fn mount(at: &Path) -> Result<()> {
    program("mount").args(["-t", "tmpfs", "of-the-test"]).args([at]).output()?.ok().map(drop)
}

fn bind(from: &Path, to: &str, how: How) -> cri::Mount {
    cri::Mount {
        host_path: from.display().to_string(),
        container_path: to.to_owned(),
        propagation: how.into(),
        ..Default::default()
    }
}

/// A privileged container with these mounts, in a pod that may have such.
fn privileged(stage: &Stage, mounts: Vec<cri::Mount>) -> Result<String> {
    stage.pull()?;
    let mut config = crate::stage::pod("mounts");
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().privileged = true;
    let pod = stage.run_pod(&config)?;
    let mut asked = shell("one", &stage.image, SLEEP);
    asked.mounts = mounts;
    let linux = asked.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().privileged = true;
    stage.started(&pod, &asked, &config)
}

fn is_there(stage: &Stage, id: &str, path: &str) -> Result<bool> {
    let answer = stage.exec(id, &["test", "-e", path], 60)?;
    ensure!(answer.exit_code < 2, "{answer:?}");
    Ok(answer.exit_code == 0)
}

#[test]
fn what_the_node_mounts_later_is_seen_where_it_was_asked_for() -> Result<()> {
    on_a_node(|stage| {
        let shared = Shared::new("--make-shared")?;
        let mounts = vec![
            bind(shared.path(), "/private", How::PropagationPrivate),
            bind(shared.path(), "/down", How::PropagationHostToContainer),
            bind(shared.path(), "/both", How::PropagationBidirectional),
        ];
        let id = privileged(stage, mounts)?;
        let later = shared.folder("later")?;
        mount(&later)?;
        fs_err::write(later.join("file"), "")?;
        for (place, expected) in [("private", false), ("down", true), ("both", true)] {
            ensure!(is_there(stage, &id, &format!("/{place}/later"))?, "{place} is not mounted");
            let seen = is_there(stage, &id, &format!("/{place}/later/file"))?;
            assert_eq!(seen, expected, "{place}");
        }
        program("umount").args([&later]).output()?.ok()?;
        ensure!(!is_there(stage, &id, "/down/later/file")?, "and what it unmounts");
        Ok(())
    })
}

#[test]
fn what_a_container_mounts_is_seen_on_the_node_where_it_was_asked_for() -> Result<()> {
    on_a_node(|stage| {
        let shared = Shared::new("--make-shared")?;
        for place in ["private", "down", "both"] {
            shared.folder(place)?;
        }
        let mounts = vec![
            bind(shared.path(), "/private", How::PropagationPrivate),
            bind(shared.path(), "/down", How::PropagationHostToContainer),
            bind(shared.path(), "/both", How::PropagationBidirectional),
        ];
        let id = privileged(stage, mounts)?;
        for (place, expected) in [("private", false), ("down", false), ("both", true)] {
            let inside = format!("/{place}/{place}");
            stage.said(&id, &format!("mount -t tmpfs x {inside} && touch {inside}/file"))?;
            ensure!(is_there(stage, &id, &format!("{inside}/file"))?, "{place}");
            let seen = shared.path().join(place).join("file").exists();
            assert_eq!(seen, expected, "{place}");
        }
        // It goes when the container unmounts it.
        stage.said(&id, "umount /both/both")?;
        ensure!(!shared.path().join("both/file").exists(), "it is still mounted");
        Ok(())
    })
}

#[test]
fn what_cannot_be_seen_by_both_is_refused() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let alone = Shared::new("--make-private")?;
        let (_, pod_config, pod) = stage.pod_with_logs("refused")?;
        for (how, words) in [
            (How::PropagationBidirectional, "but it is not a shared mount"),
            (How::PropagationHostToContainer, "but it is not a shared or slave mount"),
        ] {
            let mut config = shell("one", &stage.image, SLEEP);
            config.mounts = vec![bind(alone.path(), "/x", how)];
            refused(stage.create(&pod, &config, &pod_config), Code::Unknown, words)?;
        }
        Ok(())
    })
}

#[test]
fn what_is_read_only_below_cannot_be_written() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let shared = Shared::new("--make-private")?;
        let below = shared.folder("below")?;
        mount(&below)?;
        fs_err::write(below.join("file"), "as it was")?;
        let read_only = |to: &str, recursive_read_only| cri::Mount {
            readonly: true,
            recursive_read_only,
            ..bind(shared.path(), to, How::PropagationPrivate)
        };
        let (_, pod_config, pod) = stage.pod_with_logs("below")?;
        let mut config = shell("one", &stage.image, SLEEP);
        config.mounts = vec![read_only("/all", true), read_only("/top", false)];
        // The kernel can it where runc can.
        let told: serde_json::Value = serde_json::from_str(&run("runc features")?)?;
        let can =
            told["mountOptions"].as_array().is_some_and(|all| all.iter().any(|one| one == "rro"));
        let can_be_made = || {
            let request = cri::StatusRequest { verbose: false };
            let told = stage.runtime(|mut c| async move { c.status(request).await });
            let handlers = told.map(|told| told.runtime_handlers).unwrap_or_default();
            let usual = handlers.into_iter().find(|one| one.name.is_empty());
            usual.and_then(|one| one.features).map(|can| can.recursive_read_only_mounts)
        };
        until("it is known", SOON, || can_be_made() == Some(can))?;
        if !can {
            let made = stage.create(&pod, &config, &pod_config);
            return refused(made, Code::Unknown, "RROUnsupported");
        }
        let id = stage.started(&pod, &config, &pod_config)?;
        for place in ["/all/new", "/all/below/new", "/all/below/file", "/top/new"] {
            let answer = stage.exec(&id, &["sh", "-c", &format!("echo x > {place}")], 60)?;
            let told = String::from_utf8_lossy(&answer.stderr);
            ensure!(
                answer.exit_code != 0 && told.contains("Read-only file system"),
                "{place}: {told}"
            );
        }
        // What is not asked for to be so below is not.
        stage.said(&id, "echo written > /top/below/file")?;
        assert_eq!(stage.said(&id, "cat /all/below/file")?, "written");
        Ok(())
    })
}
