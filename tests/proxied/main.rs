//! Parts of the engine that are processes of others. Here snapshotters: the other process is Debian's
//! containerd, whose own Snapshots service is what berth calls: a real snapshotter that has others'
//! snapshots too. Needs root: it mounts.

mod client;
mod content;
mod differs;
mod relay;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_testkit::{Containerd, Image, Node, Registry, Signal, is_root, until};
use client::{Client, labels};
use relay::Relay;
use tonic::Code;

/// containerd, and a node that calls its overlayfs `theirs`.
struct Stage {
    containerd: Containerd,
    node: Node,
}

/// Nothing here is held by a lease.
const NO_COLLECTIONS: &str = "[distribution.gc]\ndeletion_threshold = 0\n\
                              mutation_threshold = 0\nstartup_delay = \"1h\"\n";

impl Stage {
    fn start() -> Result<Self> {
        Self::start_with(NO_COLLECTIONS)
    }

    fn start_with(more: &str) -> Result<Self> {
        let containerd = Containerd::start()?;
        let address = containerd.address();
        Self::at(containerd, &address, "20s", more)
    }

    /// The node calls it at this address, and gives each call so much time.
    fn at(containerd: Containerd, address: &Path, timeout: &str, more: &str) -> Result<Self> {
        let config = format!(
            "[proxy_plugins.theirs]\ntype = \"snapshot\"\naddress = {address:?}\n\
             snapshotter = \"overlayfs\"\ntimeout = {timeout:?}\nplatform = \"linux/amd64\"\n\
             capabilities = [\"one\", \"two\"]\nexports = {{ root = \"/there\" }}\n"
        );
        let node = Node::start_with(&(config + more))?;
        Ok(Self { containerd, node })
    }

    /// The keys that containerd has in a namespace.
    fn theirs(&self, namespace: &str) -> Result<Vec<String>> {
        let line = format!("-n {namespace} snapshots --snapshotter overlayfs ls");
        let printed = self.containerd.ctr(&line).output()?.ok()?;
        let keys = printed.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        Ok(keys.map(str::to_owned).collect())
    }

    fn theirs_become(&self, namespace: &str, expected: &[&str]) -> Result<()> {
        let same = || self.theirs(namespace).is_ok_and(|keys| keys == expected);
        let failed = || format!("{:?}, not {expected:?}", self.theirs(namespace));
        until("containerd has what is expected", Duration::from_secs(60), same).with_context(failed)
    }

    fn client(&self, namespace: &str) -> Result<Client> {
        Client::new(&self.node.address(), "theirs", namespace)
    }
}

#[test]
fn an_image_is_pulled_and_run_on_it() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut stage = Stage::start_with("")?;
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let berth = |node: &Node, line: &str| node.berth(line).output()?.ok();
    berth(&stage.node, &format!("pull -q --snapshotter theirs {image}"))?;
    let run = format!("run --rm --snapshotter theirs --name proxied-run {image} echo hello");
    assert_eq!(berth(&stage.node, &run)?.trim(), "hello");
    // As ctr does it: the client prepares and applies.
    let other = stage.node.ctr(&format!("images pull --plain-http --snapshotter theirs {image}"));
    other.output()?.ok()?;
    let run = format!("run --rm --snapshotter theirs {image} proxied-ctr echo again");
    assert_eq!(stage.node.ctr(&run).output()?.ok()?.trim(), "again");
    // It is what it was after a restart, and all that was made goes with the image.
    stage.node.kill_service("berth-bundle")?;
    let run = format!("run --rm --snapshotter theirs --name proxied-again {image} echo there");
    assert_eq!(berth(&stage.node, &run)?.trim(), "there");
    stage.node.stop()?;
    stage.node.start_berthd()?;
    let one = || stage.theirs("default").is_ok_and(|keys| keys.len() == 1);
    until("containers' snapshots are gone there", Duration::from_secs(60), one)?;
    let key = stage.theirs("default")?.remove(0);
    assert!(key.starts_with("default/") && key.contains("/sha256:"), "{key}");
    stage.node.fsck()?;
    berth(&stage.node, &format!("rmi --sync {image}"))?;
    stage.theirs_become("default", &[])?;
    stage.node.fsck()
}

#[test]
fn names_there_carry_namespace_and_number() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start()?;
    // Somebody else's, one of the form that ours have.
    let others = |key: &str| {
        let line = format!("-n default snapshots --snapshotter overlayfs prepare {key}");
        stage.containerd.ctr(&line).output()?.ok()
    };
    others("default/77/theirs")?;
    others("zz")?;
    let (one, two) = (stage.client("default")?, stage.client("other")?);
    one.prepare("k", "", &[("own", "1"), ("containerd.io/snapshot/x", "2")])?;
    two.prepare("k", "", &[])?;
    let keys = stage.theirs("default")?;
    assert_eq!(keys.len(), 3, "{keys:?}");
    let ours = keys.iter().find(|key| key.ends_with("/k")).context("ours")?.clone();
    let number = ours.split('/').nth(1).context("number")?;
    assert!(ours.starts_with("default/") && number.parse::<u64>().is_ok(), "{ours}");
    assert_eq!(stage.theirs("other")?.len(), 1);
    // Labels: all of them here, those of snapshots there too.
    let info = one.stat("k")?;
    assert_eq!(info.labels, labels(&[("own", "1"), ("containerd.io/snapshot/x", "2")]));
    let line = format!("-n default snapshots --snapshotter overlayfs info {ours}");
    let there = stage.containerd.ctr(&line).output()?.ok()?;
    assert!(there.contains("snapshot/x") && !there.contains("own"), "{there}");
    one.commit("done", "k", &[])?;
    one.view("v", "done")?;
    one.usage("done")?;
    assert_eq!(one.stat("v")?.parent, "done");
    let (code, message) = one.remove("done").unwrap_err();
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert!(message.contains("cannot remove snapshot with child"), "{message}");
    one.remove("v").unwrap();
    one.remove("done").unwrap();
    stage.theirs_become("default", &["default/77/theirs", "zz"])?;
    one.cleanup().unwrap();
    assert_eq!(stage.theirs("default")?, ["default/77/theirs", "zz"]);
    assert_eq!(stage.theirs("other")?.len(), 1);
    stage.node.fsck()
}

/// The digests of an image's layers.
fn layers(image: &Image) -> Result<Vec<String>> {
    let name = image.digest.replace(':', "/");
    let manifest = fs_err::read(image.layout().join("blobs").join(name))?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    let layers = manifest["layers"].as_array().context("layers")?.iter();
    let digest = |layer: &serde_json::Value| layer["digest"].as_str().map(str::to_owned);
    layers.map(|layer| digest(layer).context("digest")).collect()
}

/// Layers that the snapshotter has are taken over and not fetched: nobody has their blobs any more.
#[test]
fn layers_that_it_has_are_not_fetched() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start()?;
    let registry = Registry::start()?;
    let image = Image::busybox()?;
    let reference = image.push(&registry, "busybox:1")?;
    let pull = format!("images pull --plain-http --snapshotter overlayfs {reference}");
    stage.containerd.ctr(&format!("-n default {pull}")).output()?.ok()?;
    let theirs = stage.theirs("default")?;
    let layers = layers(&image)?;
    ensure!(!layers.is_empty() && theirs.len() == layers.len(), "{theirs:?}");
    // As a snapshotter that is asked for layers by their chain IDs has it.
    for key in &theirs {
        let label = format!("containerd.io/snapshot.ref={key}");
        let line = format!("-n default snapshots --snapshotter overlayfs label {key} {label}");
        stage.containerd.ctr(&line).output()?.ok()?;
    }
    for layer in &layers {
        fs_err::remove_file(registry.blob(layer))?;
    }
    let pull = format!("pull -q --snapshotter theirs {reference}");
    stage.node.berth(&pull).output()?.ok()?;
    let blobs = stage.node.ctr("content ls -q").output()?.ok()?;
    ensure!(layers.iter().all(|layer| !blobs.contains(layer.as_str())), "{blobs}");
    let run = format!("run --rm --snapshotter theirs --name remote-run {reference} echo hello");
    assert_eq!(stage.node.berth(&run).output()?.ok()?.trim(), "hello");
    // Nothing is left of the question, and what was somebody else's stays theirs.
    stage.node.berth(&format!("rmi {reference}")).output()?.ok()?;
    stage.node.berth("gc").output()?.ok()?;
    let theirs: Vec<_> = theirs.iter().map(String::as_str).collect();
    stage.theirs_become("default", &theirs)?;
    stage.node.fsck()
}

/// What the snapshotter has in place of what was to be prepared is taken over, and stays there
/// if it was somebody else's before.
#[test]
fn a_target_that_is_there_is_taken_over() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start()?;
    let theirs = Client::new(&stage.containerd.address(), "overlayfs", "default")?;
    let reference = ("containerd.io/snapshot.ref", "chain");
    theirs.prepare("work", "", &[])?;
    theirs.commit("chain", "work", &[reference])?;
    let ours = stage.client("default")?;
    let (code, message) = ours.try_prepare("extract-1", "", &[reference]).unwrap_err();
    assert_eq!(code, Code::AlreadyExists, "{message}");
    assert_eq!(message, "target snapshot \"chain\" from snapshotter: already exists");
    let info = ours.stat("chain")?;
    assert_eq!((info.name.as_str(), info.parent.as_str()), ("chain", ""));
    assert_eq!(info.labels, labels(&[reference]));
    ours.prepare("on-it", "chain", &[])?;
    // Known by now: the snapshotter is not asked again.
    let (_, message) = ours.try_prepare("extract-2", "", &[reference]).unwrap_err();
    assert_eq!(message, "target snapshot \"chain\": already exists");
    ours.remove("on-it").unwrap();
    ours.remove("chain").unwrap();
    stage.theirs_become("default", &["chain"])?;
    // A target that the snapshotter says it has, and does not show.
    theirs.prepare("work", "", &[])?;
    theirs.commit("hidden", "work", &[])?;
    let hidden = ("containerd.io/snapshot.ref", "hidden");
    let (code, message) = ours.try_prepare("extract-3", "", &[hidden]).unwrap_err();
    assert_eq!(code, Code::NotFound, "{message}");
    assert_eq!(stage.theirs("default")?, ["chain", "hidden"]);
    stage.node.fsck()
}

/// One that hangs is told so, in time, and nobody else waits for it.
#[test]
fn a_snapshotter_that_hangs_stalls_nobody_else() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let containerd = Containerd::start()?;
    let address = containerd.address();
    let stage = Stage::at(containerd, &address, "5s", NO_COLLECTIONS)?;
    let (hanging, own) =
        (stage.client("default")?, Client::new(&stage.node.address(), "overlayfs", "default")?);
    hanging.prepare("k", "", &[])?;
    hanging.prepare("gone", "", &[])?;
    stage.containerd.signal(Signal::STOP)?;
    let begun = Instant::now();
    // Its record goes at once; the removal there is for later.
    hanging.remove("gone").unwrap();
    let waiting = std::thread::spawn(move || {
        let failed = hanging.try_prepare("late", "", &[]).unwrap_err();
        (failed, hanging.try_commit("done", "k", &[]).unwrap_err())
    });
    let mut rounds = 0;
    while rounds < 20 && !waiting.is_finished() {
        let key = format!("k{rounds}");
        own.prepare(&key, "", &[])?;
        own.commit(&format!("c{rounds}"), &key, &[])?;
        own.remove(&format!("c{rounds}")).unwrap();
        rounds += 1;
    }
    assert!(rounds > 1, "others wait for it");
    let ((code, message), (commit, _)) = waiting.join().unwrap();
    assert_eq!((code, commit), (Code::DeadlineExceeded, Code::DeadlineExceeded), "{message}");
    assert!(message.contains("snapshotter theirs did not end"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    stage.containerd.signal(Signal::CONT)?;
    // What was asked for in vain is finished by who asks again, or goes.
    let hanging = stage.client("default")?;
    hanging.commit("done", "k", &[])?;
    hanging.prepare("after", "done", &[])?;
    let left = || {
        hanging.cleanup().unwrap();
        let keys = stage.theirs("default").unwrap_or_default();
        keys.len() == 2 && !keys.iter().any(|key| key.ends_with("/late"))
    };
    until("what nobody has is gone", Duration::from_secs(60), left)
        .with_context(|| format!("{:?}", stage.theirs("default")))?;
    stage.node.fsck()
}

/// A call that was under way when the service ended is carried out after it: what it makes is removed
/// by the next run.
#[test]
fn what_a_killed_service_asked_for_goes() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let containerd = Containerd::start()?;
    let relay = Relay::start(&containerd.address(), "/late")?;
    let stage = Stage::at(containerd, relay.address(), "60s", NO_COLLECTIONS)?;
    stage.client("default")?.prepare("kept", "", &[])?;
    let late = stage.client("default")?;
    let waiting = std::thread::spawn(move || late.try_prepare("late", "", &[]).unwrap_err());
    relay.has_it()?;
    stage.node.kill_service("berth-bundle")?;
    let (code, message) = waiting.join().unwrap();
    assert_eq!(code, Code::Unavailable, "{message}");
    let client = stage.client("default")?;
    // It is looked for once before it is made.
    client.cleanup().unwrap();
    assert!(relay.let_go()?, "it is made");
    let left = || {
        client.cleanup().unwrap();
        let keys = stage.theirs("default").unwrap_or_default();
        keys.len() == 1 && keys[0].ends_with("/kept")
    };
    until("what nobody waits for is gone", Duration::from_secs(60), left)
        .with_context(|| format!("{:?}", stage.theirs("default")))?;
    client.commit("done", "kept", &[])?;
    stage.node.fsck()
}

#[test]
fn one_that_is_away_is_said_to_be() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let config = "[proxy_plugins.nobody]\ntype = \"snapshot\"\naddress = \"/no/such.sock\"\n\
                  timeout = \"300ms\"\n";
    let node = Node::start_with(config)?;
    let client = Client::new(&node.address(), "nobody", "default")?;
    let (code, message) = client.try_prepare("k", "", &[]).unwrap_err();
    assert_eq!(code, Code::Unavailable, "{message}");
    let said = "snapshotter nobody does not answer on /no/such.sock";
    assert!(message.contains(said) && message.contains("is its process running?"), "{message}");
    let unknown = Client::new(&node.address(), "unknown", "default")?;
    let (code, message) = unknown.try_prepare("k", "", &[]).unwrap_err();
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(message, "snapshotter not loaded: unknown: invalid argument");
    node.fsck()
}

#[test]
fn it_is_listed_as_it_is_configured() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let stage = Stage::start()?;
    let printed = stage.node.berth("--json info").output()?.ok()?;
    let info: serde_json::Value = serde_json::from_str(&printed)?;
    let plugins = info["plugins"].as_array().context("plugins")?;
    let found = plugins.iter().find(|plugin| plugin["id"] == "theirs").context("theirs")?;
    assert_eq!(found["type"], "io.containerd.snapshotter.v1");
    assert_eq!(found["exports"]["root"], "/there");
    assert_eq!(found["exports"]["address"], stage.containerd.address().display().to_string());
    assert_eq!(found["capabilities"], serde_json::json!(["one", "two"]));
    Ok(())
}
