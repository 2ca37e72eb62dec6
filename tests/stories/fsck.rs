//! `berth fsck`: every kind of orphan is planted by hand, named, left alone, and mended when asked.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_mount::Mount;
use berth_testkit::{Node, program};
use serde_json::Value;

use crate::stage::Stage;

/// By kind and name, whether a repair can mend it and what became of it.
type Found = BTreeMap<(String, String), (bool, String)>;

/// Kinds and names.
type Planted = Vec<(&'static str, String)>;

/// The check's answer: its exit code and what it found.
fn check(stage: &Stage, flags: &str) -> Result<(i32, Found)> {
    let output = stage.node.berth(&format!("--json fsck {flags}")).output()?;
    let reports: Value =
        serde_json::from_str(&output.stdout).with_context(|| format!("{output}"))?;
    let mut found = Found::new();
    let findings = reports.as_array().into_iter().flatten();
    for finding in findings.flat_map(|report| report["findings"].as_array().into_iter().flatten()) {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let mendable = finding["mendable"] == true;
        found.insert((text("kind"), text("name")), (mendable, text("outcome")));
    }
    Ok((output.code, found))
}

/// All names below a folder.
fn names(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        // What a container's processes do in its own folders is not looked at.
        if path.is_dir() && !path.is_symlink() && !path.ends_with("rootfs") {
            names(&path, found)?;
        }
        found.insert(path);
    }
    Ok(())
}

fn tree(stage: &Stage) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    names(&stage.node.path("root"), &mut found)?;
    names(&stage.node.path("state"), &mut found)?;
    Ok(found)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn tmpfs(at: &Path) -> Result<()> {
    fs_err::create_dir_all(at)?;
    let (kind, source, target) = ("tmpfs".into(), "tmpfs".into(), String::new());
    let mount = Mount { kind, source, target, options: Vec::new() };
    Ok(berth_mount::mount_all(&[mount], at)?)
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs_err::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[test]
fn a_node_at_work_has_nothing_to_be_found() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name fsck-well", "sleep 600").output()?.ok()?;
    let text = stage.berth("fsck --digests")?;
    assert!(text.starts_with("distribution: 0 found, "), "{text}");
    assert!(
        text.contains("\nbundle: 0 found, ") && text.contains("\nruntime: 0 found, "),
        "{text}"
    );
    // Beside changes, too.
    std::thread::scope(|scope| -> Result<()> {
        let changes = scope.spawn(|| -> Result<()> {
            for round in 0..8 {
                let name = format!("--rm --name fsck-passing-{round}");
                stage.run(&name, "true").output()?.ok()?;
            }
            Ok(())
        });
        while !changes.is_finished() {
            assert_eq!(check(&stage, "--repair")?, (0, BTreeMap::new()));
        }
        changes.join().expect("no panic")
    })?;
    assert_eq!(stage.berth("exec fsck-well echo on")?, "on\n");
    Ok(())
}

/// What is planted with distribution: what a repair mends, and what it does not.
fn plant_blobs(stage: &Stage) -> Result<(Planted, Planted)> {
    let blobs = stage.node.path("root/distribution/blobs/sha256");
    let mut there: Vec<_> = fs_err::read_dir(&blobs)?
        .collect::<std::io::Result<Vec<_>>>()?
        .into_iter()
        .map(|e| e.path())
        .collect();
    there.sort();
    let digest =
        |path: &Path| format!("sha256:{}", path.file_name().unwrap_or_default().to_string_lossy());
    let [lost, short, ..] = &*there else { anyhow::bail!("an image has three blobs: {there:?}") };
    fs_err::rename(lost, stage.node.path("kept"))?;
    fs_err::OpenOptions::new().write(true).open(short)?.set_len(1)?;
    let orphan = blobs.join("0".repeat(64));
    fs_err::write(&orphan, "nobody's")?;
    let stranger = blobs.join("notes.txt");
    fs_err::write(&stranger, "mine")?;
    let ingest = stage.node.path("root/distribution/ingest/leftover");
    fs_err::create_dir(&ingest)?;
    Ok((
        vec![("blob without record", digest(&orphan)), ("folder without ingest", shown(&ingest))],
        vec![
            ("blob without file", digest(lost)),
            ("damaged blob", digest(short)),
            ("no blob", shown(&stranger)),
        ],
    ))
}

/// The same with bundle.
fn plant_snapshots(stage: &Stage) -> Result<Planted> {
    let overlay = stage.node.path("root/bundle/overlayfs");
    let directories = || -> Result<BTreeSet<PathBuf>> {
        let entries = fs_err::read_dir(overlay.join("snapshots"))?;
        Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
    };
    let before = directories()?;
    stage.berth(&format!("create --name fsck-created {} true", stage.image))?;
    let made = directories()?;
    for own in made.difference(&before) {
        fs_err::remove_dir_all(own)?;
    }
    let snapshots = stage.ctr("snapshots ls")?;
    let key = snapshots.lines().find(|line| line.contains("Active") && line.contains("created"));
    let key = key.and_then(|line| line.split_whitespace().next()).context(snapshots.clone())?;
    let mut planted = vec![("snapshot without directory", format!("overlayfs/{key}"))];
    for (kind, name) in [
        ("directory without snapshot", "snapshots/9999"),
        ("staged layer without pull", "staging/7777"),
        ("trash", "trash/old"),
    ] {
        fs_err::create_dir_all(overlay.join(name).join("fs/etc"))?;
        planted.push((kind, shown(&overlay.join(name))));
    }
    let activation = stage.node.path("state/bundle/activations/4242");
    tmpfs(&activation.join("0"))?;
    planted.push(("mounts without activation", shown(&activation)));
    Ok(planted)
}

/// The same with runtime, beside a container that runs.
fn plant_tasks(stage: &Stage) -> Result<(Planted, Planted)> {
    stage.run("-d --name fsck-box", "sleep 600").output()?.ok()?;
    stage.run("-d --name fsck-killed", "sleep 600").output()?.ok()?;
    let folder = stage.node.path("state/runtime/default");
    // A shim that was killed, and cleaned up after by nobody.
    let kept = stage.node.path("kept-task");
    copied(&folder.join("fsck-killed"), &kept)?;
    stage.berth("rm -f fsck-killed")?;
    copied(&kept, &folder.join("fsck-killed"))?;
    tmpfs(&folder.join("fsck-killed/rootfs"))?;
    // A folder of which the shim lives.
    copied(&folder.join("fsck-box"), &folder.join("fsck-copy"))?;
    fs_err::create_dir(folder.join(".fsck-rest"))?;
    let socket = stage.node.path("state/s/leftover");
    drop(UnixListener::bind(&socket)?);
    // What runc knows of a container that has ended.
    let runc = stage.node.path("state/runtime/.runc/default");
    let state = fs_err::read_to_string(runc.join("fsck-box/state.json"))?;
    let mut state: Value = serde_json::from_str(&state.replace("fsck-box", "fsck-ended"))?;
    state["init_process_start"] = 1.into();
    fs_err::create_dir_all(runc.join("fsck-ended"))?;
    fs_err::write(runc.join("fsck-ended/state.json"), state.to_string())?;
    Ok((
        vec![
            ("folder without task", "fsck-killed".to_owned()),
            ("rest of a folder", shown(&folder.join(".fsck-rest"))),
            ("socket without shim", shown(&socket)),
            ("runc container without task", "fsck-ended".to_owned()),
        ],
        vec![("folder without task", "fsck-copy".to_owned())],
    ))
}

#[test]
fn every_kind_of_orphan_is_named_and_mended_when_that_is_asked_for() -> Result<()> {
    let stage = Stage::pulled()?;
    let (mut mendable, mut left) = plant_tasks(&stage)?;
    mendable.extend(plant_snapshots(&stage)?);
    let (of_blobs, of_people) = plant_blobs(&stage)?;
    mendable.extend(of_blobs);
    left.extend(of_people);
    let listening = stage.node.path("state/s/listening");
    let _listens = UnixListener::bind(&listening)?;
    left.push(("shim without task", shown(&listening)));
    let all = |mended: &str| -> BTreeMap<_, _> {
        let kind = |(kind, name): &(&str, String)| ((*kind).to_owned(), name.clone());
        let left = left.iter().map(|of| (kind(of), (false, "found".to_owned())));
        let mendable = mendable.iter().map(|of| (kind(of), (true, mended.to_owned())));
        if mended.is_empty() { left.collect() } else { left.chain(mendable).collect() }
    };
    let before = tree(&stage)?;
    assert_eq!(check(&stage, "")?, (1, all("found")));
    assert_eq!(tree(&stage)?, before, "a check changes something");
    assert!(stage.node.mounts().iter().any(|at| at.ends_with("activations/4242/0")));

    assert_eq!(check(&stage, "--repair")?, (1, all("mended")));
    assert_eq!(check(&stage, "--repair")?, (1, all("")));
    assert!(!stage.node.mounts().iter().any(|at| at.contains("4242") || at.contains("killed")));
    assert_eq!(stage.berth("exec fsck-box echo on")?, "on\n");
    // What was made again serves.
    fs_err::remove_dir_all(stage.node.path("state/runtime/default/fsck-copy"))?;
    Ok(())
}

#[test]
fn a_task_that_has_lost_its_folder_is_named_and_left_alone() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name fsck-moved", "sleep 600").output()?.ok()?;
    let folder = stage.node.path("state/runtime/default/fsck-moved");
    let away = stage.node.path("state/moved");
    fs_err::rename(&folder, &away)?;
    let (code, found) = check(&stage, "--repair")?;
    let expected = ("task without folder".to_owned(), "fsck-moved".to_owned());
    assert_eq!((code, found), (1, [(expected, (false, "found".to_owned()))].into()));
    fs_err::rename(&away, &folder)?;
    assert_eq!(check(&stage, "")?, (0, BTreeMap::new()));
    assert_eq!(stage.berth("exec fsck-moved echo on")?, "on\n");
    Ok(())
}

/// Only hashing sees it.
#[test]
fn changed_bytes_are_found_when_contents_are_hashed() -> Result<()> {
    let stage = Stage::pulled()?;
    let blobs = stage.node.path("root/distribution/blobs/sha256");
    let blob = fs_err::read_dir(&blobs)?.next().context("a blob")??.path();
    let mut bytes = fs_err::read(&blob)?;
    bytes[0] ^= 1;
    fs_err::write(&blob, bytes)?;
    assert_eq!(check(&stage, "")?, (0, BTreeMap::new()));
    let (code, found) = check(&stage, "--digests --repair")?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    let expected = ("damaged blob".to_owned(), format!("sha256:{name}"));
    assert_eq!((code, found), (1, [(expected, (false, "found".to_owned()))].into()));
    assert!(blob.exists(), "a repair has deleted what is recorded");
    Ok(())
}

#[test]
fn a_node_that_is_away_is_no_finding() -> Result<()> {
    let fails = program(Node::binary("berth")?)
        .args(["--address", "/nowhere.sock", "fsck"])
        .output()?
        .fails(2)?;
    assert!(fails.contains("cannot reach berth"), "{fails}");
    Ok(())
}
