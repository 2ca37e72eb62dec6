//! One step of a client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use berth_testkit::until;

use crate::Story;
use crate::client::SNAPSHOTTER;
use crate::model::{Made, Thing};
use crate::second::{End, Way};

/// How long a pull may take, kills included.
const PULLED: Duration = Duration::from_secs(60);
/// When a snapshot was used, as its labels say: so that conditions are met, or not.
const USED: [&str; 2] = ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"];
/// What the names of leases begin with whose time is over.
pub const PASSING: &str = "passing-";

/// What the labels of a thing say.
#[derive(Debug, Default)]
pub struct Named {
    /// What it refers to.
    pub refs: BTreeSet<Thing>,
    /// The snapshots that it refers to if those were used just now.
    pub conditions: BTreeSet<Thing>,
    /// What keeps it.
    pub keepers: BTreeSet<Thing>,
    /// Whether a snapshot was used just now.
    pub recent: bool,
}

#[derive(Debug)]
pub enum Operation {
    Pull { reference: String },
    Import { reference: String },
    Tag { name: String, manifest: Thing },
    RemoveImage { name: String, sync: bool },
    Write { lease: String, text: String, named: Named },
    Prepare { lease: String, key: String, parent: Option<Thing>, named: Named },
    Commit { lease: String, key: Thing, name: String, refs: BTreeSet<Thing> },
    Relabel { thing: Thing, named: Named },
    Activate { lease: String, name: String, named: Named },
    Ingest { lease: String, reference: String },
    CreateContainer { id: String, refs: BTreeSet<Thing> },
    UpdateContainer { id: String, refs: BTreeSet<Thing> },
    DeleteContainer { id: String },
    CreateSandbox { id: String, refs: BTreeSet<Thing> },
    UpdateSandbox { id: String, refs: BTreeSet<Thing> },
    DeleteSandbox { id: String },
    Remove { thing: Thing },
    Expire { lease: String, name: String, manifest: Thing },
    CreateLease { id: String, flat: bool, expiry: Option<&'static str> },
    PassLease { id: String, held: BTreeSet<Thing> },
    DeleteLease { id: String, sync: bool },
    Hold { lease: String, thing: Thing },
    Release { lease: String, thing: Thing },
    Share { blob: Thing, way: Way, number: u64 },
    Unshare { blob: Thing, end: End },
    Nothing,
}

impl Story {
    /// Does it, and answers what was newly referred to.
    pub async fn perform(&mut self, operation: Operation) -> Result<BTreeSet<Thing>> {
        let mut referred = BTreeSet::new();
        match operation {
            Operation::Pull { reference } => self.pull(&reference)?,
            Operation::Import { reference } => self.import(&reference)?,
            Operation::Tag { name, manifest } => {
                self.client.create_image(&name, manifest.name()).await?;
                referred.insert(manifest.clone());
                self.model.images.insert(name, manifest);
            }
            Operation::RemoveImage { name, sync } => {
                self.client.delete_image(&name, sync).await?;
                self.model.images.remove(&name);
            }
            Operation::Write { lease, text, named } => {
                let thing = Thing::of_text(&text);
                let labels = named.labels(&thing);
                self.client.write(&lease, thing.name(), text.as_bytes(), &labels).await?;
                referred = self.named(&named);
                self.made(&lease, thing, None, named);
            }
            Operation::Prepare { lease, key, parent, named } => {
                let on = parent.as_ref().map(Thing::name).unwrap_or_default();
                let thing = Thing::Snapshot(key.clone());
                if self.client.prepare(&lease, &key, on, &named.labels(&thing)).await? {
                    referred = self.named(&named);
                    self.made(&lease, thing, parent, named);
                } else {
                    let gone = parent.iter().find(|parent| !self.reached.contains(*parent));
                    ensure!(gone.is_some(), "the parent of {key} was lost");
                    gone.into_iter().for_each(|parent| self.model.gone(parent));
                }
            }
            Operation::Commit { lease, key, name, refs } => {
                self.client.commit(&lease, key.name(), &name, &labels(&refs)).await?;
                self.committed(&lease, &key, Thing::Snapshot(name), &refs);
                referred = refs;
            }
            Operation::Relabel { thing, named } => {
                let labels = named.labels(&thing);
                let there = match &thing {
                    Thing::Blob(digest) => self.client.label_blob(digest, &labels).await?,
                    Thing::Snapshot(key) => self.client.label_snapshot(key, &labels).await?,
                    _ => false,
                };
                ensure!(there, "it was lost");
                referred = self.named(&named);
                if let Some(made) = self.model.made.get_mut(&thing) {
                    named.write(made);
                }
            }
            Operation::Expire { lease, name, manifest } => {
                self.client.create_expired(&lease, &name, manifest.name()).await?;
                let (thing, target) = (Thing::Image(name), Some(manifest.clone()));
                self.made(&lease, thing, target, Named::default());
                referred.insert(manifest);
            }
            Operation::Activate { lease, name, named } => {
                let thing = Thing::Mount(name.clone());
                self.client.activate(&lease, &name, &named.labels(&thing)).await?;
                referred = self.named(&named);
                self.made(&lease, thing, None, named);
            }
            Operation::Ingest { lease, reference } => {
                self.client.begin_ingest(&lease, &reference).await?;
                self.made(&lease, Thing::Ingest(reference), None, Named::default());
            }
            Operation::Remove { thing } => {
                self.client.remove(&thing).await?;
                self.model.gone(&thing);
            }
            owner => return self.perform_with_owner(owner).await,
        }
        Ok(referred)
    }

    /// The same with what refers to things and is none itself.
    async fn perform_with_owner(&mut self, operation: Operation) -> Result<BTreeSet<Thing>> {
        let mut referred = BTreeSet::new();
        match operation {
            Operation::CreateContainer { id, refs } => {
                let (snapshot, named) = rootfs(&refs);
                self.client.create_container(&id, snapshot, &labels(&named)).await?;
                self.model.containers.insert(id, refs.clone());
                referred = refs;
            }
            Operation::UpdateContainer { id, refs } => {
                let (snapshot, named) = rootfs(&refs);
                self.client.update_container(&id, snapshot, &labels(&named)).await?;
                self.model.containers.insert(id, refs.clone());
                referred = refs;
            }
            Operation::DeleteContainer { id } => {
                self.client.delete_container(&id).await?;
                self.model.containers.remove(&id);
            }
            Operation::CreateSandbox { id, refs } => {
                self.client.create_sandbox(&id, &labels(&refs)).await?;
                self.model.sandboxes.insert(id, refs.clone());
                referred = refs;
            }
            Operation::UpdateSandbox { id, refs } => {
                self.client.update_sandbox(&id, &labels(&refs)).await?;
                self.model.sandboxes.insert(id, refs.clone());
                referred = refs;
            }
            Operation::DeleteSandbox { id } => {
                self.client.delete_sandbox(&id).await?;
                self.model.sandboxes.remove(&id);
            }
            Operation::CreateLease { id, flat, expiry } => {
                self.client.create_lease(&id, flat, expiry).await?;
                self.model.flat.extend(flat.then(|| id.clone()));
                self.model.leases.insert(id, BTreeSet::new());
            }
            Operation::PassLease { id, held } => {
                self.client.create_lease(&id, false, Some(USED[0])).await?;
                for thing in held {
                    self.client.hold(&id, &thing).await?;
                }
            }
            Operation::DeleteLease { id, sync } => {
                self.client.delete_lease(&id, sync).await?;
                self.model.leases.remove(&id);
            }
            Operation::Hold { lease, thing } => {
                ensure!(self.client.hold(&lease, &thing).await?, "the lease was lost");
                self.model.leases.entry(lease).or_default().insert(thing.clone());
                referred.insert(thing);
            }
            Operation::Release { lease, thing } => {
                self.client.release(&lease, &thing).await?;
                self.model.leases.entry(lease).or_default().remove(&thing);
            }
            Operation::Share { blob, way, number } => {
                self.second.share(&self.client, &blob, way, number).await?;
            }
            Operation::Unshare { blob, end } => self.second.drop(&blob, end).await?,
            Operation::Nothing => {}
            other => bail!("{other:?} is of a thing"),
        }
        Ok(referred)
    }

    /// Pulls until it is acknowledged.
    fn pull(&mut self, reference: &str) -> Result<()> {
        self.fetch(reference, &format!("pull {reference}"))
    }

    /// The same from an archive.
    fn import(&mut self, reference: &str) -> Result<()> {
        let archive = self.setting.archive(reference)?;
        self.fetch(reference, &format!("import {}", archive.display()))
    }

    fn fetch(&mut self, reference: &str, command: &str) -> Result<()> {
        let mut told = String::new();
        let pulled = || match self.node.berth(command).output() {
            Ok(out) => {
                told = out.to_string();
                out.code == 0
            }
            Err(error) => {
                told = error.to_string();
                false
            }
        };
        let pulled = until("it is there", PULLED, pulled);
        ensure!(pulled.is_ok(), "{told}");
        let image = self.setting.image(reference)?;
        // All of it is there, also what had gone below what a flat lease kept.
        self.flat.retain(|thing| !image.made.contains_key(thing));
        self.model.made.extend(image.made.clone());
        self.model.images.insert(image.reference.clone(), image.manifest.clone());
        Ok(())
    }

    fn made(&mut self, lease: &str, thing: Thing, structure: Option<Thing>, named: Named) {
        let mut made = Made { structure, own: true, ..Made::default() };
        named.write(&mut made);
        self.model.made.insert(thing.clone(), made);
        self.model.leases.entry(lease.to_owned()).or_default().insert(thing);
    }

    /// A snapshot has another name, and can be a parent.
    fn committed(&mut self, lease: &str, key: &Thing, name: Thing, refs: &BTreeSet<Thing>) {
        let parent = self.model.made.get(key).and_then(|made| made.structure.clone());
        self.model.gone(key);
        let named = Named { refs: refs.clone(), ..Named::default() };
        self.made(lease, name.clone(), parent, named);
        if let Some(made) = self.model.made.get_mut(&name) {
            made.committed = true;
        }
    }

    /// What such labels refer to now.
    fn named(&self, named: &Named) -> BTreeSet<Thing> {
        let recent = |thing: &&Thing| self.model.made.get(*thing).is_some_and(|made| made.recent);
        let met = named.conditions.iter().filter(recent);
        named.refs.iter().chain(met).cloned().collect()
    }
}

/// The snapshot that a container with these references has for its root, if one is among them, and
/// what is left for its labels.
fn rootfs(refs: &BTreeSet<Thing>) -> (&str, BTreeSet<Thing>) {
    let root = refs.iter().find(|thing| matches!(thing, Thing::Snapshot(_)));
    let named = refs.iter().filter(|thing| Some(*thing) != root).cloned().collect();
    (root.map(Thing::name).unwrap_or_default(), named)
}

impl Named {
    fn labels(&self, of: &Thing) -> BTreeMap<String, String> {
        let mut labels = labels(&self.refs);
        labels.extend(labelled("bref", &self.keepers));
        for (number, thing) in self.conditions.iter().enumerate() {
            let key = format!("containerd.io/gc.cond.snapshot.{SNAPSHOTTER}/{number}");
            labels.insert(key, format!("usedat<1h|{}", thing.name()));
        }
        if matches!(of, Thing::Snapshot(_)) {
            let used = USED[usize::from(self.recent)].to_owned();
            labels.insert("containerd.io/gc.cond.value-usedat".to_owned(), used);
        }
        labels
    }

    /// In place of what was there.
    fn write(self, made: &mut Made) {
        let Self { refs, conditions, keepers, recent } = self;
        (made.refs, made.conditions) = (refs, conditions);
        (made.keepers, made.recent) = (keepers, recent);
    }
}

fn labels(refs: &BTreeSet<Thing>) -> BTreeMap<String, String> {
    labelled("ref", refs)
}

/// Labels that refer to things, or name them as keepers.
fn labelled(how: &str, things: &BTreeSet<Thing>) -> BTreeMap<String, String> {
    let label = |(number, thing): (usize, &Thing)| {
        let kind = match thing {
            Thing::Blob(_) => format!("content.{number}"),
            Thing::Snapshot(_) => format!("snapshot.{SNAPSHOTTER}/{number}"),
            Thing::Image(_) => format!("image/{number}"),
            Thing::Mount(_) => format!("mount.{number}"),
            Thing::Ingest(_) => format!("ingest.{number}"),
        };
        (format!("containerd.io/gc.{how}.{kind}"), thing.name().to_owned())
    };
    things.iter().enumerate().map(label).collect()
}
