//! What clients do on a node, scene by scene, and what is to be seen of each act. A scene leaves
//! nothing of what it makes.

use anyhow::{Context, Result};
use berth_testkit::{Node, sha256};

use crate::calls::{Call, Listing};
use crate::theirs::{Ask, Deed, THEIRS, Theirs};

/// Of whoever asks for what has been done already.
const DONE: [&str; 2] = ["already exists", "not found"];

/// What is done.
#[derive(Clone, Debug)]
pub enum What {
    /// A line for `ctr` or `berth`.
    Line(String),
    Call(Call),
    /// By others, at a snapshotter of theirs.
    There(Theirs, Deed),
}

/// Where something is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// By this line for ctr.
    Ctr(String),
    Call(Listing),
    /// With the others.
    There(Theirs),
}

/// An act, and where something is listed afterwards, or not any more.
#[derive(Clone, Debug)]
pub struct Act {
    pub what: What,
    pub list: Place,
    pub name: String,
    pub is_there: bool,
    /// What it is about, if it is not of that name: the latest act says how it is.
    about: Option<String>,
}

/// What came of an act.
pub enum Came {
    Done,
    /// It was done before, as is said.
    WasDone(String),
    /// What was said.
    Failed(String),
}

/// Acts one after the other.
pub struct Scene {
    pub acts: Vec<Act>,
    /// The node is ended at each of its points, those too that scenes before it pass: what is made
    /// there is another thing.
    pub is_own: bool,
}

impl Act {
    fn about(mut self, subject: &str) -> Self {
        self.about = Some(subject.to_owned());
        self
    }

    pub fn subject(&self) -> (Place, String) {
        (self.list.clone(), self.about.as_ref().unwrap_or(&self.name).clone())
    }

    /// Whether that of which another says how it is goes with what this one takes away.
    pub fn ends(&self, other: &Self) -> bool {
        let held = Place::Call(Listing::Held(self.name.clone()));
        !self.is_there && other.list == held
    }

    /// Does it.
    pub fn run(&self, node: &Node) -> Result<Came> {
        let (was_done, said) = match &self.what {
            What::Line(line) => {
                let (program, line) = line.split_once(' ').context("a command")?;
                let run = if program == "ctr" { node.ctr(line) } else { node.berth(line) };
                let output = run.output()?;
                if output.code == 0 {
                    return Ok(Came::Done);
                }
                let said = output.to_string();
                (DONE.iter().any(|words| said.contains(words)), said)
            }
            What::Call(call) => match call.make(node) {
                Ok(()) => return Ok(Came::Done),
                Err(status) => {
                    let done = [tonic::Code::AlreadyExists, tonic::Code::NotFound];
                    (done.contains(&status.code()), status.to_string())
                }
            },
            What::There(theirs, deed) => {
                theirs.run(deed)?;
                return Ok(Came::Done);
            }
        };
        Ok(if was_done { Came::WasDone(said) } else { Came::Failed(said) })
    }

    /// Whether that is listed which is to be, as the act says.
    ///
    /// # Errors
    /// When it is not so, with the list.
    pub fn check(&self, node: &Node) -> Result<()> {
        let listed = match &self.list {
            Place::Ctr(line) => node.ctr(line).output()?.ok()?,
            Place::Call(listing) => listing.list(node)?,
            Place::There(theirs) => theirs.keys()?.join("\n"),
        };
        let (name, is_there) = (&self.name, self.is_there);
        anyhow::ensure!(
            listed.contains(name) == is_there,
            "{:?}: {name} in {:?}: {is_there}, but\n{listed}",
            self.what,
            self.list
        );
        Ok(())
    }
}

fn act(what: What, list: Place, name: &str, is_there: bool) -> Act {
    Act { what, list, name: name.to_owned(), is_there, about: None }
}

fn there(line: String, list: &str, name: &str) -> Act {
    act(What::Line(line), Place::Ctr(list.to_owned()), name, true)
}

fn gone(line: String, list: &str, name: &str) -> Act {
    act(What::Line(line), Place::Ctr(list.to_owned()), name, false)
}

fn called(call: Call, list: Listing, name: &str) -> Act {
    act(What::Call(call), Place::Call(list), name, true)
}

fn undone(call: Call, list: Listing, name: &str) -> Act {
    act(What::Call(call), Place::Call(list), name, false)
}

fn on_theirs() -> String {
    format!("snapshots --snapshotter {THEIRS}")
}

/// What the acts of a round are about.
pub struct Round<'a> {
    pub image: &'a str,
    pub other: &'a str,
    /// A blob of the image.
    pub blob: &'a str,
    /// A container that runs all the time.
    pub container: &'a str,
    /// A snapshotter of others.
    pub theirs: &'a Theirs,
    pub number: usize,
}

const IMAGES: &str = "images ls";
const LEASES: &str = "leases ls -q";
const SPACES: &str = "namespaces ls";

impl Round<'_> {
    /// All scenes. What one makes is named after the round.
    pub fn scenes(&self) -> Vec<Scene> {
        let common = [
            self.images(),
            self.content(),
            self.leases(),
            self.namespaces(),
            self.checkpoint(),
            self.snapshots("overlayfs"),
            self.mounts(),
        ];
        let special = ["native", "blockfile", "erofs", THEIRS];
        let own = special.map(|name| self.snapshots(name)).into_iter();
        let own = own.chain(special.map(|name| self.pull_to(name)));
        let own = own.chain([self.containers(), self.sandboxes()]);
        let own = own.chain([self.taken_over(), self.lost()]);
        let scene = |is_own: bool| move |acts| Scene { acts, is_own };
        common.into_iter().map(scene(false)).chain(own.map(scene(true))).collect()
    }

    /// A name that nobody else gives, on no other node either.
    fn own(&self) -> String {
        format!("{}-{}", self.container, self.number)
    }

    fn label(&self) -> String {
        format!("round=r{}", self.number)
    }

    fn images(&self) -> Vec<Act> {
        let Round { image, other, number, .. } = self;
        let (tag, label) = (&format!("localhost/tag-{number}:1"), &self.label());
        vec![
            there(format!("berth pull -q {other}"), IMAGES, other),
            there(format!("berth tag {image} {tag}"), IMAGES, tag),
            there(format!("ctr images label {tag} {label}"), IMAGES, label).about(tag),
            gone(format!("berth rmi {tag}"), IMAGES, tag),
            gone(format!("berth rmi {other}"), IMAGES, other),
            there("berth gc".to_owned(), IMAGES, image),
        ]
    }

    fn content(&self) -> Vec<Act> {
        let (own, blob, label) = (&self.own(), self.blob, &self.label());
        let bytes = format!("blob of {own}").into_bytes();
        let digest = &sha256(&bytes);
        let listed = |namespace: &str| format!("-n {namespace} content ls");
        let put = |namespace: &str| {
            let call = Call::Put { namespace: namespace.to_owned(), bytes: bytes.clone() };
            act(What::Call(call), Place::Ctr(listed(namespace)), digest, true)
        };
        let held = Listing::Held(own.clone());
        vec![
            there(format!("ctr content label {blob} {label}"), "content ls", label),
            put("default"),
            put(own),
            there(format!("ctr leases create --id {own}"), LEASES, own),
            called(Call::Lease { lease: own.clone(), bytes: bytes.clone() }, held, digest),
            gone(format!("ctr leases rm {own}"), LEASES, own),
            gone(format!("ctr content rm {digest}"), &listed("default"), digest),
            gone(format!("ctr -n {own} content rm {digest}"), &listed(own), digest),
            gone(format!("ctr namespaces rm {own}"), SPACES, own),
        ]
    }

    fn leases(&self) -> Vec<Act> {
        let (lease, list) = (self.own(), Listing::Held(self.own()));
        let things = [("content", self.blob), ("snapshots/overlayfs", self.container)];
        let mut acts = vec![there(format!("ctr leases create --id {lease}"), LEASES, &lease)];
        for (kind, id) in things {
            let hold = Call::Hold { lease: lease.clone(), kind, id: id.to_owned() };
            acts.push(called(hold, list.clone(), id));
        }
        for (kind, id) in things {
            let release = Call::Release { lease: lease.clone(), kind, id: id.to_owned() };
            acts.push(undone(release, list.clone(), id));
        }
        acts.push(gone(format!("ctr leases rm {lease}"), LEASES, &lease));
        acts
    }

    fn namespaces(&self) -> Vec<Act> {
        let (own, label) = (&self.own(), &self.label());
        let (new, key) = (&format!("new-{}-{}", self.number, self.container), "first");
        let snapshots = &format!("-n {new} snapshots ls");
        vec![
            there(format!("ctr namespaces create {own}"), SPACES, own),
            there(format!("ctr namespaces label {own} {label}"), SPACES, label).about(own),
            gone(format!("ctr namespaces rm {own}"), SPACES, own),
            there(format!("ctr -n {new} snapshots prepare {key}"), snapshots, key),
            gone(format!("ctr -n {new} snapshots rm {key}"), snapshots, key),
            gone(format!("ctr namespaces rm {new}"), SPACES, new),
        ]
    }

    fn containers(&self) -> Vec<Act> {
        let (own, image, label) = (&self.own(), self.image, &self.label());
        let containers = "containers ls";
        vec![
            there(format!("berth run -d --name {own} {image} sleep 600"), containers, own),
            there(format!("ctr containers label {own} {label}"), containers, own),
            gone(format!("berth rm -f {own}"), containers, own),
        ]
    }

    fn checkpoint(&self) -> Vec<Act> {
        let (lease, container) = (&self.own(), self.container.to_owned());
        let save = Call::Checkpoint { container, lease: lease.clone() };
        vec![
            there(format!("ctr leases create --id {lease}"), LEASES, lease),
            called(save, Listing::Held(lease.clone()), "sha256:").about(lease),
            gone(format!("ctr leases rm {lease}"), LEASES, lease),
        ]
    }

    fn snapshots(&self, snapshotter: &str) -> Vec<Act> {
        let (number, label) = (self.number, &self.label());
        let name = |kind: &str| format!("{kind}-{number}");
        let (work, done, above) = (&name("work"), &name("done"), &name("above"));
        let on = format!("snapshots --snapshotter {snapshotter}");
        let list = &format!("{on} ls");
        vec![
            there(format!("ctr {on} prepare {work}"), list, work),
            there(format!("ctr {on} label {work} {label}"), list, work),
            there(format!("ctr {on} commit {done} {work}"), list, done).about(work),
            there(format!("ctr {on} prepare {above} {done}"), list, above),
            gone(format!("ctr {on} rm {above}"), list, above),
            gone(format!("ctr {on} rm {done}"), list, done).about(work),
        ]
    }

    /// A pull to another snapshotter, of which layers are extracted in its way.
    fn pull_to(&self, snapshotter: &str) -> Vec<Act> {
        let other = self.other;
        let pull = format!("berth pull -q --snapshotter {snapshotter} {other}");
        vec![
            there(pull, IMAGES, other),
            gone(format!("berth rmi {other}"), IMAGES, other),
            there("berth gc".to_owned(), IMAGES, self.image),
        ]
    }

    /// What others have made at a snapshotter of theirs is taken over, and stays theirs.
    fn taken_over(&self) -> Vec<Act> {
        let target = &format!("chain-{}", self.number);
        let (there, on) = (Place::There(self.theirs.clone()), on_theirs());
        let offer = What::There(self.theirs.clone(), Deed::Offer(target.clone()));
        let lose = What::There(self.theirs.clone(), Deed::Lose(target.clone()));
        let take = What::Call(Call::Theirs(Ask::TakeOver { target: target.clone() }));
        let list = Place::Ctr(format!("{on} ls"));
        vec![
            act(offer, there.clone(), target, true),
            act(take, list, target, true),
            gone(format!("ctr {on} rm {target}"), &format!("{on} ls"), target),
            act(lose, there, target, false),
        ]
    }

    /// What others have removed there can not be committed.
    fn lost(&self) -> Vec<Act> {
        let key = &format!("lost-{}", self.number);
        let on = on_theirs();
        let list = Place::Ctr(format!("{on} ls"));
        let lose = What::There(self.theirs.clone(), Deed::Lose(key.clone()));
        let commit = What::Call(Call::Theirs(Ask::CommitLost { key: key.clone() }));
        vec![
            act(What::Line(format!("ctr {on} prepare {key}")), list.clone(), key, true),
            act(lose, list.clone(), key, false),
            act(commit, list.clone(), key, false),
            act(What::Line(format!("ctr {on} rm {key}")), list, key, false),
        ]
    }

    fn mounts(&self) -> Vec<Act> {
        let name = self.own();
        vec![
            called(Call::Activate { name: name.clone() }, Listing::Mounts, &name),
            undone(Call::Deactivate { name: name.clone() }, Listing::Mounts, &name),
        ]
    }

    fn sandboxes(&self) -> Vec<Act> {
        let id = self.own();
        let of = |call: fn(String) -> Call| call(id.clone());
        let (records, runs) = (Listing::Sandboxes, Listing::Running(id.clone()));
        let made = called(of(|id| Call::MakeSandbox { id }), runs.clone(), "SANDBOX_").about(&id);
        let ready = of(|id| Call::StartSandbox { id });
        let ready = called(ready, runs.clone(), "SANDBOX_READY").about(&id);
        let ended = of(|id| Call::EndSandbox { id });
        vec![
            called(of(|id| Call::RecordSandbox { id }), records.clone(), &id),
            called(of(|id| Call::LabelSandbox { id }), records.clone(), &id),
            made,
            ready,
            undone(ended, runs, "SANDBOX_").about(&id),
            undone(of(|id| Call::ForgetSandbox { id }), records, &id),
        ]
    }
}
