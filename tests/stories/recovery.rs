//! What is lost of a node, and how an operator has it work again: docs/operations.md, "What is lost".

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_store::{Migration, Options, Store};
use berth_testkit::{Node, program, until};

use crate::stage::Stage;

/// A schema that comes long after those of today.
const NEWER: u32 = 1000;

/// A node that has the image, and a container that runs and has written a file.
fn running(id: &str) -> Result<Stage> {
    let stage = Stage::pulled()?;
    stage.run(&format!("-d --name {id}"), "echo kept > /file; sleep 600").output()?.ok()?;
    until("it has written", Duration::from_secs(60), || file(&stage, id).is_ok())?;
    Ok(stage)
}

fn file(stage: &Stage, id: &str) -> Result<()> {
    ensure!(stage.berth(&format!("exec {id} cat /file"))? == "kept\n", "its file is gone");
    Ok(())
}

fn store(node: &Node, service: &str) -> PathBuf {
    node.path("root").join(service).join(format!("{service}.redb"))
}

/// The node does not start; what it says has these words.
fn refused(stage: &Stage, words: &[&str]) -> Result<()> {
    let berthd = program(Node::binary("berthd")?);
    let told = ["config", "root", "state", "address"]
        .iter()
        .zip(["berth.toml", "root", "state", "berth.sock"])
        .fold(berthd, |run, (flag, file)| {
            run.args([format!("--{flag}")]).args([stage.node.path(file)])
        })
        .output()?
        .fails(1)?;
    for word in words {
        ensure!(told.contains(word), "{word:?} is not told:\n{told}");
    }
    Ok(())
}

/// The service's whole folder is put aside.
fn move_away(stage: &Stage, service: &str) -> Result<()> {
    let folder = stage.node.path("root").join(service);
    Ok(fs_err::rename(&folder, folder.with_extension("lost"))?)
}

/// All works again: nothing is found that does not fit together, and a container comes and goes.
fn works(stage: &Stage, id: &str) -> Result<()> {
    stage.berth(&format!("pull -q {}", stage.image))?;
    ensure!(
        stage.run(&format!("--rm --name {id}-next"), "echo works").output()?.ok()? == "works\n"
    );
    stage.berth("gc")?;
    stage.node.fsck()
}

#[test]
fn a_damaged_store_is_refused_and_works_again_when_it_is_put_back() -> Result<()> {
    let mut stage = running("recovery-back")?;
    for service in ["distribution", "bundle", "runtime"] {
        stage.node.stop()?;
        let store = store(&stage.node, service);
        let whole = fs_err::read(&store)?;
        fs_err::write(&store, vec![0x55; whole.len()])?;
        let path = store.display().to_string();
        refused(&stage, &[&path, "is damaged", "left as it is", "restore it, or move its folder"])?;
        ensure!(fs_err::read(&store)? == vec![0x55; whole.len()], "{path} was changed");
        fs_err::write(&store, whole)?;
        stage.node.start_berthd()?;
        file(&stage, "recovery-back")?;
    }
    works(&stage, "recovery-back")
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_to_it() -> Result<()> {
    let mut stage = running("recovery-newer")?;
    let migrations: Vec<_> = (1..NEWER).map(|from| Migration { from, run: |_| Ok(()) }).collect();
    for service in ["distribution", "bundle", "runtime"] {
        stage.node.stop()?;
        let store = store(&stage.node, service);
        let before = fs_err::read(&store)?;
        // What the start of a newer version does.
        let options = Options { schema: NEWER, ..Options::default() };
        drop(Store::open_migrating(&store, options, &migrations)?);
        let path = store.display().to_string();
        refused(
            &stage,
            &[&path, "has schema 1000, this program knows up to", "use the newer one"],
        )?;
        drop(Store::open(&store, options)?);
        fs_err::write(&store, before)?;
        stage.node.start_berthd()?;
        file(&stage, "recovery-newer")?;
    }
    works(&stage, "recovery-newer")
}

#[test]
fn a_store_that_is_gone_is_not_made_anew_beside_what_only_it_knows() -> Result<()> {
    let mut stage = running("recovery-gone")?;
    for (service, folder) in [("distribution", "blobs/sha256"), ("bundle", "snapshots")] {
        stage.node.stop()?;
        let store = store(&stage.node, service);
        let aside = store.with_extension("aside");
        fs_err::rename(&store, &aside)?;
        let path = store.display().to_string();
        for _ in 0..2 {
            refused(&stage, &[&path, "is not there", folder, "put the store back, or move"])?;
        }
        fs_err::rename(&aside, &store)?;
        stage.node.start_berthd()?;
        file(&stage, "recovery-gone")?;
    }
    works(&stage, "recovery-gone")
}

#[test]
fn a_node_without_its_images_pulls_them_again() -> Result<()> {
    let mut stage = running("recovery-images")?;
    stage.node.stop()?;
    move_away(&stage, "distribution")?;
    stage.node.start_berthd()?;
    file(&stage, "recovery-images")?;
    ensure!(stage.berth("images -q")?.is_empty(), "there are images");
    works(&stage, "recovery-images")?;
    stage.berth("rm -f recovery-images")?;
    works(&stage, "recovery-images")
}

#[test]
fn containers_outlive_the_loss_of_all_snapshots() -> Result<()> {
    let mut stage = running("recovery-snapshots")?;
    stage.node.stop()?;
    move_away(&stage, "bundle")?;
    stage.node.start_berthd()?;
    file(&stage, "recovery-snapshots")?;
    works(&stage, "recovery-snapshots")?;
    stage.berth("rm -f recovery-snapshots")?;
    let lost = stage.node.path("root/bundle.lost/overlayfs/snapshots");
    let mut wrote = Vec::new();
    for snapshot in fs_err::read_dir(lost)? {
        wrote.extend(fs_err::read_to_string(snapshot?.path().join("fs/file")));
    }
    ensure!(wrote == ["kept\n"], "what it wrote is not in the folder: {wrote:?}");
    works(&stage, "recovery-snapshots")
}

#[test]
fn tasks_outlive_the_loss_of_all_containers() -> Result<()> {
    let mut stage = running("recovery-records")?;
    stage.node.stop()?;
    move_away(&stage, "runtime")?;
    stage.node.start_berthd()?;
    ensure!(stage.ctr("containers ls -q")?.is_empty(), "there are containers");
    ensure!(stage.berth("ps -q")?.trim() == "recovery-records", "the task is gone");
    let refused = stage.node.berth("rm recovery-records").output()?.fails(1)?;
    ensure!(refused.contains("record of container recovery-records is lost"), "{refused}");
    stage.berth("rm -f recovery-records")?;
    stage.node.shims_end()?;
    works(&stage, "recovery-records")
}
