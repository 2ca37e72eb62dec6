//! A node that is ended at a point, started again, and looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use berth_testkit::{Containerd, Node, saving_runc, scratch, until};

use crate::acts::{Act, Came, Round, Scene};
use crate::calls::{Call, Listing};
use crate::records::{self, MENDED};
use crate::theirs::{Ask, Theirs};

/// How long a node that is to be ended may take to get there.
const SOON: Duration = Duration::from_secs(30);

/// Nothing is collected that is not asked for: what passes a point is the act.
const CONFIG: &str = "[distribution.gc]\ndeletion_threshold = 0\nmutation_threshold = 0\n\
                      startup_delay = \"1h\"\n";

/// What a start does behind its first answers.
const BEHIND: &str = "trash.emptied";

/// Where a point is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At the first start of a node.
    First,
    /// At a start that finds what crashes and the machine have left.
    Start,
    /// When records are mended that are not as any crash leaves them.
    Repair,
    /// In this scene of a round.
    Scene(usize),
}

/// A point, and where it is passed.
pub type Stop = (At, String);

pub struct Stage {
    node: Node,
    /// Whose snapshotter it has.
    containerd: Arc<Containerd>,
    image: String,
    other: String,
    /// A blob of the image.
    blob: String,
    round: usize,
    /// Of a container that runs all the time.
    name: String,
}

/// A node with what its snapshotters and its checkpoints need, not started yet.
fn unstarted(theirs: &Theirs) -> Result<Node> {
    let node = Node::unstarted("")?;
    let runc = node.path("saving-runc");
    saving_runc(&runc)?;
    let config = format!("{CONFIG}[runtime]\nbinary = {runc:?}\n{}", theirs.config());
    fs_err::write(node.path("berth.toml"), config)?;
    scratch(&node.path("root/bundle/blockfile/scratch"), 16 << 20)?;
    Ok(node)
}

impl Stage {
    pub fn new(image: &str, other: &str) -> Result<Self> {
        let containerd = Arc::new(Containerd::start()?);
        let mut node = unstarted(&Theirs::of(&containerd))?;
        node.start_berthd()?;
        Self::on(node, containerd, image, other)
    }

    fn on(node: Node, containerd: Arc<Containerd>, image: &str, other: &str) -> Result<Self> {
        node.berth(&format!("pull -q {image}")).output()?.ok()?;
        let folder = node.path("");
        let name = folder.file_name().context("a name")?.to_string_lossy().to_lowercase();
        // The file is what there is to be saved of it.
        let run = node.berth(&format!("run -d --name {name} {image} sleep 600"));
        run.output()?.ok()?;
        node.berth(&format!("exec {name} touch /state")).output()?.ok()?;
        let blobs = node.ctr("content ls -q").output()?.ok()?;
        let blob = blobs.lines().next().context("a blob")?.to_owned();
        let (image, other) = (image.to_owned(), other.to_owned());
        Ok(Self { node, containerd, image, other, blob, round: 0, name })
    }

    fn scenes(&self) -> Vec<Scene> {
        let Self { image, other, blob, name, .. } = self;
        let (theirs, number) = (&self.theirs(), self.round);
        Round { image, other, blob, container: name, theirs, number }.scenes()
    }

    fn theirs(&self) -> Theirs {
        Theirs::of(&self.containerd)
    }

    /// All points that starts and a round pass.
    pub fn points(&mut self) -> Result<Vec<Stop>> {
        let mut stops = Vec::new();
        let mut seen = BTreeSet::new();
        let mut add = |at: At, points: BTreeSet<String>, is_own: bool| {
            for point in points {
                if seen.insert(point.clone()) || is_own {
                    stops.push((at, point));
                }
            }
        };
        self.damage()?;
        start_ending(&mut self.node, "")?;
        self.node.fsck()?;
        let trace = self.trace();
        until("what goes on behind a start is done", SOON, || has_passed(&trace, BEHIND))?;
        add(At::Start, traced(&self.trace())?, false);
        self.node.kill_berthd()?;
        records::damage(&self.node)?;
        start_ending(&mut self.node, "")?;
        records::kinds(&self.node, "--repair")?;
        self.node.fsck()?;
        add(At::Repair, traced(&self.trace())?, false);
        for (number, scene) in self.scenes().into_iter().enumerate() {
            fs_err::write(self.trace(), "")?;
            for act in &scene.acts {
                if let Came::Failed(said) = act.run(&self.node)? {
                    bail!("{said}");
                }
                act.check(&self.node)?;
            }
            add(At::Scene(number), traced(&self.trace())?, scene.is_own);
        }
        self.round += 1;
        self.restart()?;
        let mut first = unstarted(&self.theirs())?;
        start_ending(&mut first, "")?;
        // All services answer it.
        first.fsck()?;
        add(At::First, traced(&first.path("trace"))?, false);
        Ok(stops)
    }

    /// Ends the node at a point, and looks at it afterwards.
    pub fn end_at(&mut self, (at, point): &Stop) -> Result<()> {
        match at {
            At::First => self.end_first(point),
            At::Start => self.end_start(point),
            At::Repair => self.end_repair(point),
            At::Scene(number) => self.end_act(*number, point),
        }
    }

    /// Ends a new node.
    fn end_first(&self, point: &str) -> Result<()> {
        let mut node = unstarted(&self.theirs())?;
        start_ending(&mut node, point)?;
        until("the point is passed", SOON, || is_passed(&node, point))?;
        restart(&mut node)?;
        let new = Self::on(node, self.containerd.clone(), &self.image, &self.other)?;
        new.look()
    }

    /// Ends the node at a start that finds what there is to be cleared away.
    fn end_start(&mut self, point: &str) -> Result<()> {
        let left = self.damage()?;
        start_ending(&mut self.node, point)?;
        until("the point is passed", SOON, || is_passed(&self.node, point))?;
        self.restart()?;
        self.look()?;
        for (kind, is_there) in [("leases ls -q", false), ("snapshots ls", true)] {
            let listed = self.node.ctr(kind).output()?.ok()?;
            ensure!(listed.contains(&left) == is_there, "`{kind}`, {left}\n{listed}");
        }
        let mounted = Listing::Mounts.list(&self.node)?;
        ensure!(!mounted.contains(&left), "{left}\n{mounted}");
        self.node.ctr(&format!("snapshots rm {left}")).output()?.ok().map(drop)
    }

    /// Ends the node while its records are mended. What was mended stays so, and the rest is mended by
    /// the next repair.
    fn end_repair(&mut self, point: &str) -> Result<()> {
        self.node.kill_berthd()?;
        records::damage(&self.node)?;
        start_ending(&mut self.node, point)?;
        let ended = self.node.berth("fsck --repair").output()?;
        ensure!(is_passed(&self.node, point), "the point is not passed: {ended}");
        self.restart()?;
        let found = records::kinds(&self.node, "")?;
        for (commit, kind) in MENDED {
            if let Some(step) = point.strip_prefix(commit) {
                let is_found = found.iter().any(|found| found == kind);
                ensure!(is_found == (step == ".before-commit"), "{kind}: {found:?}");
            }
        }
        records::kinds(&self.node, "--repair")?;
        self.look()
    }

    /// Stops the node and leaves on it what crashes and the machine do: directories of snapshots and
    /// layers that nobody knows, a snapshot without its directory, mounts that are gone, the lease of
    /// a transfer. Answers the name of these.
    fn damage(&mut self) -> Result<String> {
        let left = format!("left-{}", self.round);
        self.round += 1;
        let lease = format!("leases create --id {left} io.berth.transfer={left}");
        self.node.ctr(&lease).output()?.ok()?;
        let folder = self.node.path("").display().to_string();
        Call::Bind { name: left.clone(), folder }.make(&self.node)?;
        let snapshots = self.node.path("root/bundle/overlayfs/snapshots");
        let before = names(&snapshots)?;
        self.node.ctr(&format!("snapshots prepare {left}")).output()?.ok()?;
        let new: Vec<_> = names(&snapshots)?.difference(&before).cloned().collect();
        let [directory] = &*new else { bail!("{left} has one directory, not {new:?}") };
        self.node.kill_berthd()?;
        fs_err::remove_dir_all(directory)?;
        berth_mount::unmount_beneath(&self.node.path("state/bundle/activations"))?;
        for part in ["snapshots", "staging", "trash"] {
            for snapshotter in ["overlayfs", "native", "blockfile", "erofs"] {
                let part = self.node.path("root/bundle").join(snapshotter).join(part);
                fs_err::create_dir_all(part.join("99999/fs"))?;
            }
        }
        Ok(left)
    }

    /// Ends the node at what is done in a scene.
    fn end_act(&mut self, number: usize, point: &str) -> Result<()> {
        self.node.kill_berthd()?;
        start_ending(&mut self.node, point)?;
        let mut scenes = self.scenes();
        // What goes on behind the last answer of a scene may pass the point in the next.
        scenes.rotate_left(number);
        let mut acknowledged: BTreeMap<_, &Act> = BTreeMap::new();
        let mut rest = None;
        for scene in &scenes {
            for (place, act) in scene.acts.iter().enumerate() {
                let came = act.run(&self.node)?;
                let is_done = matches!(came, Came::Done);
                acknowledged.retain(|_, before| !act.ends(before));
                if is_done {
                    acknowledged.insert(act.subject(), act);
                }
                if is_passed(&self.node, point) {
                    if !is_done {
                        // A command may have done the half of what it does.
                        acknowledged.remove(&act.subject());
                    }
                    let place = place + usize::from(is_done);
                    rest = Some(scene.acts[place..].to_vec());
                    break;
                }
                if let Came::Failed(said) = came {
                    bail!("{said}");
                }
            }
            if rest.is_some() {
                break;
            }
        }
        let rest = rest.context("the point is not passed")?;
        self.restart()?;
        for act in acknowledged.into_values() {
            act.check(&self.node)?;
        }
        self.look()?;
        self.go_on(&rest)
    }

    /// What was not acknowledged can be done, or was.
    fn go_on(&mut self, rest: &[Act]) -> Result<()> {
        for (number, act) in rest.iter().enumerate() {
            let said = match act.run(&self.node)? {
                Came::Done => String::new(),
                Came::WasDone(said) if number == 0 => said,
                Came::WasDone(said) | Came::Failed(said) => bail!("{said}"),
            };
            act.check(&self.node).context(said)?;
        }
        self.round += 1;
        self.node.fsck()?;
        self.nothing_is_left_with_others()
    }

    /// What the node has made at the snapshotter of others goes there too: no scene leaves any of it.
    fn nothing_is_left_with_others(&self) -> Result<()> {
        let theirs = self.theirs();
        let is_clear = || {
            let cleared = Call::Theirs(Ask::ClearUp).make(&self.node);
            cleared.is_ok() && theirs.keys().is_ok_and(|keys| keys.is_empty())
        };
        until("nothing is left with the others", SOON, is_clear)
            .with_context(|| format!("{:?}", theirs.keys()))
    }

    /// Nothing half-done is there, and what runs runs on.
    fn look(&self) -> Result<()> {
        self.node.fsck()?;
        let said = self.node.berth(&format!("exec {} echo on", self.name)).output()?.ok()?;
        ensure!(said == "on\n", "{said}");
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        restart(&mut self.node)
    }

    fn trace(&self) -> PathBuf {
        self.node.path("trace")
    }

    pub fn log(&self) -> String {
        let log = self.node.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Starts a node that ends at a point, at the latest when it answers.
fn start_ending(node: &mut Node, point: &str) -> Result<()> {
    let trace = node.path("trace");
    let _ = fs_err::remove_file(&trace);
    let (failpoint, at) = (format!("{point}:abort"), trace.display().to_string());
    node.set_env(&[("BERTH_FAILPOINT", &failpoint), ("BERTH_FAILPOINT_TRACE", &at)]);
    let is_there = || has_passed(&trace, point);
    node.start_berthd_until(is_there)
}

fn restart(node: &mut Node) -> Result<()> {
    node.kill_berthd()?;
    node.set_env(&[]);
    node.start_berthd()
}

fn is_passed(node: &Node, point: &str) -> bool {
    has_passed(&node.path("trace"), point)
}

fn has_passed(trace: &Path, point: &str) -> bool {
    traced(trace).is_ok_and(|points| points.contains(point))
}

/// The points in a trace.
fn traced(trace: &Path) -> Result<BTreeSet<String>> {
    match fs_err::read_to_string(trace) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}

fn names(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let entries = fs_err::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
