//! The snapshotters that need a file system of their own, btrfs and blockfile: from a pull to a
//! collection, with both command lines, over a kill of bundle in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Disk, Image, Layer, Node, Registry, is_root, program, run, scratch, until};
use serde_json::json;

const PLAIN: &str = "--media-type application/vnd.oci.image.layer.v1.tar";

/// A node with one of them, whose files are in `folder`.
struct Stage {
    node: Node,
    image: String,
    name: &'static str,
    folder: PathBuf,
    _registry: Registry,
}

impl Stage {
    fn new(name: &'static str, folder: PathBuf, config: &str) -> Result<Self> {
        let registry = Registry::start()?;
        let users = b"root:x:0:0::/:/bin/sh\nguest:x:7:8::/:/bin/sh\n";
        let users = Layer::default().dir("etc")?.file("etc/passwd", 0o644, users)?;
        // Gone in the next layer: what is below is not shown through.
        let below = Layer::default().dir("data")?.file("data/old", 0o644, b"old")?;
        let above =
            Layer::default().file("data/.wh.old", 0o644, b"")?.file("data/new", 0o644, b"new")?;
        let layers = vec![Layer::busybox()?, users, below, above];
        let image = Image::build(layers, json!({}))?.push(&registry, "disk:1")?;
        Ok(Self { node: Node::start_with(config)?, image, name, folder, _registry: registry })
    }

    fn berth(&self, line: &str) -> Result<String> {
        self.node.berth(line).output()?.ok()
    }

    fn ctr(&self, line: &str) -> Result<String> {
        self.node.ctr(&format!("snapshots --snapshotter {} {line}", self.name)).output()?.ok()
    }

    fn in_container(&self, options: &str, container: &str, script: &str) -> Result<String> {
        let exec = self.node.berth(&format!("exec {options} {container} sh -c")).args([script]);
        exec.output()?.ok()
    }

    /// How many snapshots have something on disk.
    fn kept(&self) -> usize {
        std::fs::read_dir(self.folder.join("snapshots")).map_or(0, Iterator::count)
    }

    /// Mounts a snapshot as ctr says and does something there.
    fn within(&self, key: &str, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let target = self.node.path(&format!("mount-{key}"));
        fs_err::create_dir(&target)?;
        let line = self.ctr(&format!("mounts {} {key}", target.display()))?;
        program("sh").args(["-c", &line]).output()?.ok()?;
        let worked = work(&target);
        program("umount").args([&target]).output()?.ok()?;
        worked
    }
}

/// Pull, run, write, a kill of bundle, a difference of what runs.
fn containers(stage: &Stage) -> Result<()> {
    let (name, image) = (stage.name, &stage.image);
    stage.berth(&format!("pull -q --snapshotter {name} {image}"))?;
    assert_eq!(stage.kept(), 4, "one for each layer");
    let id = format!("{name}-story");
    stage.berth(&format!("run -d --name {id} --snapshotter {name} {image} sleep 600"))?;
    assert_eq!(stage.in_container("", &id, "cat /data/*; echo it > /written")?, "new");
    // Users are looked up in a root file system that is no directory of the node's.
    assert_eq!(stage.in_container("--user guest", &id, "id -u; id -g")?, "7\n8\n");
    let before = stage.node.mounts();
    stage.node.kill_service("berth-bundle")?;
    let answers = || stage.ctr("ls").is_ok();
    until("bundle is back", Duration::from_secs(30), answers)?;
    assert_eq!(stage.in_container("", &id, "cat /written")?, "it\n");
    assert_eq!(stage.node.mounts(), before);
    let made = stage.ctr(&format!("diff {PLAIN} {id}"))?;
    assert!(made.contains("written\0") && !made.contains("data/new\0"), "{made:?}");
    let usage = stage.ctr(&format!("usage -b {id}"))?;
    let usage: Vec<_> = usage.lines().nth(1).context("no usage")?.split_whitespace().collect();
    assert!(usage[1].parse::<u64>()? > 0 && usage[2].parse::<u64>()? > 0, "{usage:?}");
    // ctr as well, and a container that may write nothing.
    let ran =
        stage.node.ctr(&format!("run --rm --snapshotter {name} {image} {name}-ctr cat /data/new"));
    assert_eq!(ran.output()?.ok()?, "new");
    let view =
        format!("run --rm --read-only --snapshotter {name} {image} {name}-view cat /data/new");
    assert_eq!(stage.node.ctr(&view).output()?.ok()?, "new");
    stage.berth(&format!("rm -f {id}"))?;
    Ok(())
}

/// A client's own snapshots: a commit of what was written, a view of it, the difference as a layer.
fn by_hand(stage: &Stage) -> Result<()> {
    let listed = stage.ctr("ls")?;
    let parents: Vec<&str> = listed.lines().filter_map(|l| l.split_whitespace().nth(1)).collect();
    let rows = listed.lines().skip(1).filter_map(|l| l.split_whitespace().next());
    let top = rows.into_iter().find(|key| !parents.contains(key)).context("no top")?;
    stage.ctr(&format!("prepare work {top}"))?;
    stage.within("work", |at| {
        ensure!(fs_err::read_to_string(at.join("data/new"))? == "new", "another parent");
        fs_err::remove_file(at.join("data/new"))?;
        Ok(fs_err::write(at.join("file"), "more")?)
    })?;
    let made = stage.ctr(&format!("diff {PLAIN} work"))?;
    for part in ["file\0", "data/.wh.new\0"] {
        assert!(made.contains(part), "{part}: {made:?}");
    }
    stage.ctr("commit done work")?;
    // ctr gives a view neither a label nor a lease: its parent keeps it.
    stage.ctr(&format!("label done containerd.io/gc.ref.snapshot.{}=look", stage.name))?;
    stage.ctr("view look done")?;
    stage.within("look", |at| {
        ensure!(fs_err::read_to_string(at.join("file"))? == "more", "not what was committed");
        ensure!(fs_err::write(at.join("other"), "").is_err(), "a view that can be written");
        Ok(())
    })?;
    for key in ["look", "done"] {
        stage.ctr(&format!("rm {key}"))?;
    }
    Ok(())
}

fn nothing_is_left(stage: &Stage) -> Result<()> {
    stage.berth(&format!("rmi --sync {}", stage.image))?;
    let ours = stage.folder.join("snapshots").display().to_string();
    let loops = || run("losetup --list --noheadings --output BACK-FILE");
    // A directory goes to the trash before what it had attached is let go of.
    let trash = || std::fs::read_dir(stage.folder.join("trash")).map(Iterator::count);
    let nothing = || {
        let attached = loops().map_or(true, |loops| loops.contains(&ours));
        stage.kept() == 0 && !attached && trash().is_ok_and(|left| left == 0)
    };
    let told = || {
        let (kept, listed) = (stage.kept(), stage.ctr("ls"));
        format!("{kept} snapshots {listed:?}, attached {:?}, trash {:?}", loops(), trash())
    };
    until("all is collected", Duration::from_secs(60), nothing).with_context(told)
}

fn told(node: &Node, name: &str) -> Result<serde_json::Value> {
    let info = node.berth("--json info").output()?.ok()?;
    let info: serde_json::Value = serde_json::from_str(&info)?;
    let plugins = info["plugins"].as_array().context("plugins")?;
    let fits = |plugin: &&serde_json::Value| {
        plugin["type"] == "io.containerd.snapshotter.v1" && plugin["id"] == name
    };
    plugins.iter().find(fits).cloned().with_context(|| format!("{name}: {info}"))
}

#[test]
fn images_and_containers_on_btrfs() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let at = folder.path().join("disk");
    let _disk = Disk::btrfs(&folder.path().join("disk.img"), &at)?;
    let config = format!("[bundle.btrfs]\nroot_path = {at:?}\n");
    let stage = Stage::new("btrfs", at.clone(), &config)?;
    let plugin = told(&stage.node, "btrfs")?;
    assert_eq!(
        (plugin["error"].is_null(), plugin["exports"]["root"].as_str()),
        (true, at.to_str())
    );
    containers(&stage)?;
    by_hand(&stage)?;
    nothing_is_left(&stage)?;
    assert_eq!(run(&format!("btrfs subvolume list {}", at.display()))?, "");
    Ok(())
}

#[test]
fn images_and_containers_in_block_files() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("scratch");
    scratch(&file, 32 << 20)?;
    let at = folder.path().join("blocks");
    let config = format!("[bundle.blockfile]\nroot_path = {at:?}\nscratch_file = {file:?}\n");
    let stage = Stage::new("blockfile", at, &config)?;
    assert!(told(&stage.node, "blockfile")?["error"].is_null());
    containers(&stage)?;
    by_hand(&stage)?;
    nothing_is_left(&stage)
}

/// As with containerd: clients tell by these words that nothing is wrong.
#[test]
fn what_was_not_set_up_is_skipped() -> Result<()> {
    let node = Node::start()?;
    for (name, why) in [
        ("btrfs", "must be a btrfs filesystem to be used with the btrfs snapshotter: skip plugin"),
        ("blockfile", "no scratch file generator: skip plugin"),
    ] {
        let error = told(&node, name)?["error"].as_str().map(str::to_owned);
        assert!(error.as_ref().is_some_and(|error| error.ends_with(why)), "{error:?}");
        let listed = node.ctr("plugins ls").output()?.ok()?;
        let row = listed.lines().find(|row| row.contains(&format!(" {name} ")));
        assert!(row.is_some_and(|row| row.trim().ends_with("skip")), "{row:?}");
        let refused = node.ctr(&format!("snapshots --snapshotter {name} ls")).output()?.fails(1)?;
        assert!(refused.contains(&format!("snapshotter not loaded: {name}")), "{refused}");
    }
    Ok(())
}
