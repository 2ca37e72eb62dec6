//! `ctr tasks checkpoint`, `ctr containers checkpoint` and `restore`, with a runc that needs no criu.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_testkit::{saving_runc, until};

use crate::twins::Twins;

/// Waits until a program in both containers prints this.
fn prints(twins: &Twins, line: &str, expected: &str) -> Result<()> {
    let mut attempt = 0;
    until(expected, Duration::from_secs(20), || {
        attempt += 1;
        let printed = twins.each(&line.replace('#', &attempt.to_string()));
        printed.is_ok_and(|(ours, stock)| [ours, stock].iter().all(|all| all.trim() == expected))
    })
}

/// A container of both, of this name, that has something to save.
fn running(name: &str) -> Result<Twins> {
    let twins = Twins::pulled()?;
    for folder in [twins.ours.path("runc"), twins.stock.path("runc")] {
        saving_runc(&folder)?;
    }
    let script = "echo first > /state; sleep 600";
    let line = format!("run -d --runc-binary %/runc {} @{name} sh -c", twins.image);
    twins.same_with(&line, &[script])?;
    prints(&twins, &format!("tasks exec --exec-id look# @{name} cat /state"), "first")?;
    Ok(twins)
}

fn stopped(twins: &Twins) -> Result<()> {
    until("both have ended", Duration::from_secs(20), || {
        let listed = twins.each("tasks ls");
        listed.is_ok_and(|(ours, stock)| [ours, stock].iter().all(|all| all.contains("STOPPED")))
    })
}

/// Nothing is left of what passed through.
fn is_empty(folder: &Path) -> Result<()> {
    let mut left = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        left.extend(fs_err::read_dir(entry?.path())?.flatten());
    }
    left.retain(|entry| std::fs::read_dir(entry.path()).is_ok_and(|mut all| all.next().is_some()));
    ensure!(left.is_empty(), "{left:?} in {}", folder.display());
    Ok(())
}

#[test]
fn a_container_goes_on_from_a_checkpoint() -> Result<()> {
    let twins = running("saved")?;
    twins.same("containers checkpoint --task --rw --image @saved local/saved:1")?;
    assert!(twins.same("tasks ls")?.contains("RUNNING"), "it did not go on");
    twins.same("tasks kill -s SIGKILL @saved")?;
    stopped(&twins)?;
    twins.same("tasks rm @saved")?;
    twins.same("containers rm @saved")?;
    // What the image of the checkpoint refers to stays.
    twins.each(&format!("images rm --sync {}", twins.image))?;
    twins.each(&format!("images pull --plain-http {}", twins.image))?;
    twins.same("containers restore --live --rw @again local/saved:1")?;
    prints(&twins, "tasks exec --exec-id look# @again cat /restored", "first")?;
    twins.refused("containers restore --live @again local/saved:1")?;
    is_empty(&twins.ours.path("root/runtime/checkpoints"))?;
    twins.same("tasks kill -s SIGKILL @again")?;
    stopped(&twins)?;
    twins.same("tasks rm @again")?;
    twins.same("containers rm @again")?;
    Ok(())
}

#[test]
fn a_task_is_saved_to_a_folder_or_an_image() -> Result<()> {
    let twins = running("dumped")?;
    assert_eq!(twins.same("tasks checkpoint --image-path %/dump --work-path %/work @dumped")?, "");
    for node in [twins.ours.path("dump/state"), twins.stock.path("dump/state")] {
        assert_eq!(fs_err::read_to_string(node)?, "first\n");
    }
    let (ours, stock) = twins.each("tasks checkpoint --exit @dumped")?;
    for name in [ours, stock] {
        assert!(name.starts_with("containerd.io/checkpoint/"), "{name}");
    }
    stopped(&twins)?;
    twins.refused("tasks checkpoint @dumped")?;
    twins.refused("tasks checkpoint @none")?;
    twins.same("tasks rm @dumped")?;
    twins.same("containers rm @dumped")?;
    is_empty(&twins.ours.path("root/runtime/checkpoints"))
}
