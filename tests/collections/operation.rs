//! One step of a client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use berth_testkit::{sha256, until};

use crate::Story;
use crate::client::SNAPSHOTTER;
use crate::model::{Made, Thing};

/// How long a pull may take, kills included.
const PULLED: Duration = Duration::from_secs(60);
/// The most leases at a time.
const LEASES: usize = 4;
/// One reference in so many is to something that perhaps nothing keeps.
const ADOPTION: u64 = 3;

#[derive(Debug)]
pub enum Operation {
    Pull { reference: String },
    Tag { name: String, manifest: Thing },
    RemoveImage { name: String, sync: bool },
    Write { lease: String, text: String, refs: BTreeSet<Thing>, keepers: BTreeSet<Thing> },
    Prepare { lease: String, key: String, parent: Option<Thing>, refs: BTreeSet<Thing> },
    Commit { lease: String, key: Thing, name: String, refs: BTreeSet<Thing> },
    Relabel { thing: Thing, refs: BTreeSet<Thing> },
    CreateContainer { id: String, refs: BTreeSet<Thing> },
    UpdateContainer { id: String, refs: BTreeSet<Thing> },
    DeleteContainer { id: String },
    CreateSandbox { id: String, refs: BTreeSet<Thing> },
    UpdateSandbox { id: String, refs: BTreeSet<Thing> },
    DeleteSandbox { id: String },
    Remove { thing: Thing },
    Expire { lease: String, name: String, manifest: Thing },
    CreateLease { id: String, flat: bool },
    DeleteLease { id: String, sync: bool },
    Hold { lease: String, thing: Thing },
    Release { lease: String, thing: Thing },
    Nothing,
}

impl Story {
    pub fn choose(&mut self) -> Operation {
        let number = self.next;
        self.next += 1;
        let kind = self.random.below(27);
        self.operation(kind, number).unwrap_or(Operation::Nothing)
    }

    /// `None` if there is nothing that it could be done with.
    fn operation(&mut self, kind: u64, number: u64) -> Option<Operation> {
        use Operation::*;
        Some(match kind {
            0 | 1 => {
                let all: Vec<_> = self.setting.images.iter().map(|i| i.reference.clone()).collect();
                Pull { reference: self.any(all)? }
            }
            2 => {
                let all: Vec<_> = self.setting.images.iter().map(|i| i.manifest.clone()).collect();
                Tag { name: format!("tag-{number}"), manifest: self.any(all)? }
            }
            3..=5 => {
                let name = self.any(self.model.images.keys().cloned().collect())?;
                RemoveImage { name, sync: self.random.below(4) == 0 }
            }
            6 | 7 => {
                let (lease, text) = (self.lease()?, format!("blob {number}"));
                let (refs, mut keepers) = (self.references(2), self.references(1));
                keepers.retain(|keeper| !self.model.leads_to(&refs, keeper));
                Write { lease, text, refs, keepers }
            }
            8 | 9 => Prepare {
                lease: self.lease()?,
                key: format!("own-{number}"),
                parent: self.parent(),
                refs: self.references(1),
            },
            10 => {
                let made = &self.model.made;
                let labelled = |thing: &&Thing| !matches!(thing, Thing::Image(_));
                let own = self.reached.iter().filter(labelled);
                let own = own.filter(|thing| made[*thing].own).cloned();
                let thing = self.any(own.collect())?;
                let mut refs = self.references(2);
                refs.retain(|to| !self.model.is_circle(&thing, to));
                Relabel { thing, refs }
            }
            11 | 12 => {
                CreateContainer { id: format!("container-{number}"), refs: self.references(3) }
            }
            13 => UpdateContainer { id: self.container()?, refs: self.references(3) },
            14 => DeleteContainer { id: self.container()? },
            15 if self.model.leases.len() < LEASES => {
                let flat = self.random.below(3) == 0;
                CreateLease { id: format!("lease-{number}"), flat }
            }
            15 | 16 => DeleteLease { id: self.lease()?, sync: self.random.below(4) == 0 },
            20 => CreateSandbox { id: format!("sandbox-{number}"), refs: self.references(3) },
            21 => UpdateSandbox { id: self.sandbox()?, refs: self.references(3) },
            22 => DeleteSandbox { id: self.sandbox()? },
            24 | 25 => {
                let all: Vec<_> = self.setting.images.iter().map(|i| i.manifest.clone()).collect();
                let (lease, name) = (self.lease()?, format!("expired-{number}"));
                Expire { lease, name, manifest: self.any(all)? }
            }
            26 => {
                let open = |thing: &&Thing| {
                    let made = &self.model.made[*thing];
                    matches!(thing, Thing::Snapshot(_)) && made.own && !made.committed
                };
                let open = self.reached.iter().filter(open).cloned().collect();
                let (lease, key) = (self.lease()?, self.any(open)?);
                Commit { lease, key, name: format!("committed-{number}"), refs: self.references(1) }
            }
            // Whatever refers to it, also if nothing does and it may be gone.
            23 => {
                let own = self.model.made.iter().filter(|(_, made)| made.own && !made.committed);
                Remove { thing: self.any(own.map(|(thing, _)| thing.clone()).collect())? }
            }
            17 | 18 => Hold { lease: self.lease()?, thing: self.thing()? },
            _ => {
                let lease = self.lease()?;
                let held = self.model.leases[&lease].iter().cloned().collect();
                Release { lease, thing: self.any(held)? }
            }
        })
    }

    /// Does it, and answers what was newly referred to.
    pub async fn perform(&mut self, operation: Operation) -> Result<BTreeSet<Thing>> {
        let mut referred = BTreeSet::new();
        match operation {
            Operation::Pull { reference } => self.pull(&reference)?,
            Operation::Tag { name, manifest } => {
                self.client.create_image(&name, manifest.name()).await?;
                referred.insert(manifest.clone());
                self.model.images.insert(name, manifest);
            }
            Operation::RemoveImage { name, sync } => {
                self.client.delete_image(&name, sync).await?;
                self.model.images.remove(&name);
            }
            Operation::Write { lease, text, refs, keepers } => {
                let digest = sha256(text.as_bytes());
                let mut labels = labels(&refs);
                labels.extend(labelled("bref", &keepers));
                self.client.write(&lease, &digest, text.as_bytes(), &labels).await?;
                let thing = Thing::Blob(digest);
                self.made(&lease, thing.clone(), None, &refs);
                if let Some(made) = self.model.made.get_mut(&thing) {
                    made.keepers = keepers;
                }
                referred = refs;
            }
            Operation::Prepare { lease, key, parent, refs } => {
                let on = parent.as_ref().map(Thing::name).unwrap_or_default();
                if self.client.prepare(&lease, &key, on, &labels(&refs)).await? {
                    self.made(&lease, Thing::Snapshot(key), parent, &refs);
                    referred = refs;
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
            Operation::Relabel { thing, refs } => {
                let there = match &thing {
                    Thing::Blob(digest) => self.client.label_blob(digest, &labels(&refs)).await?,
                    Thing::Snapshot(key) => self.client.label_snapshot(key, &labels(&refs)).await?,
                    Thing::Image(_) => false,
                };
                ensure!(there, "it was lost");
                if let Some(made) = self.model.made.get_mut(&thing) {
                    made.refs.clone_from(&refs);
                    made.keepers.clear();
                }
                referred = refs;
            }
            Operation::Expire { lease, name, manifest } => {
                self.client.create_expired(&lease, &name, manifest.name()).await?;
                self.made(&lease, Thing::Image(name), Some(manifest.clone()), &referred);
                referred.insert(manifest);
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
            Operation::CreateLease { id, flat } => {
                self.client.create_lease(&id, flat).await?;
                self.model.flat.extend(flat.then(|| id.clone()));
                self.model.leases.insert(id, BTreeSet::new());
            }
            Operation::DeleteLease { id, sync } => {
                self.client.delete_lease(&id, sync).await?;
                self.model.leases.remove(&id);
            }
            Operation::Hold { lease, thing } => {
                self.client.hold(&lease, &thing).await?;
                self.model.leases.entry(lease).or_default().insert(thing.clone());
                referred.insert(thing);
            }
            Operation::Release { lease, thing } => {
                self.client.release(&lease, &thing).await?;
                self.model.leases.entry(lease).or_default().remove(&thing);
            }
            Operation::Nothing => {}
            other => bail!("{other:?} is of a thing"),
        }
        Ok(referred)
    }

    /// Pulls until it is acknowledged.
    fn pull(&mut self, reference: &str) -> Result<()> {
        let mut told = String::new();
        let pulled = || match self.node.berth(&format!("pull {reference}")).output() {
            Ok(out) => {
                told = out.to_string();
                out.code == 0
            }
            Err(error) => {
                told = error.to_string();
                false
            }
        };
        let pulled = until("it is pulled", PULLED, pulled);
        ensure!(pulled.is_ok(), "{told}");
        let image = self.setting.image(reference)?;
        // All of it is there, also what had gone below what a flat lease kept.
        self.flat.retain(|thing| !image.made.contains_key(thing));
        self.model.made.extend(image.made.clone());
        self.model.images.insert(image.reference.clone(), image.manifest.clone());
        Ok(())
    }

    fn made(
        &mut self,
        lease: &str,
        thing: Thing,
        structure: Option<Thing>,
        refs: &BTreeSet<Thing>,
    ) {
        let made = Made { structure, refs: refs.clone(), own: true, ..Made::default() };
        self.model.made.insert(thing.clone(), made);
        self.model.leases.entry(lease.to_owned()).or_default().insert(thing);
    }

    /// A snapshot has another name, and can be a parent.
    fn committed(&mut self, lease: &str, key: &Thing, name: Thing, refs: &BTreeSet<Thing>) {
        let parent = self.model.made.get(key).and_then(|made| made.structure.clone());
        self.model.gone(key);
        self.made(lease, name.clone(), parent, refs);
        if let Some(made) = self.model.made.get_mut(&name) {
            made.committed = true;
        }
    }

    fn any<T>(&mut self, mut all: Vec<T>) -> Option<T> {
        let count = all.len() as u64;
        (count > 0).then(|| all.swap_remove(self.random.below(count) as usize))
    }

    fn lease(&mut self) -> Option<String> {
        self.any(self.model.leases.keys().cloned().collect())
    }

    fn sandbox(&mut self) -> Option<String> {
        self.any(self.model.sandboxes.keys().cloned().collect())
    }

    fn container(&mut self) -> Option<String> {
        self.any(self.model.containers.keys().cloned().collect())
    }

    /// Something to refer to.
    fn thing(&mut self) -> Option<Thing> {
        if self.random.below(ADOPTION) > 0 {
            return self.any(self.reached.iter().cloned().collect());
        }
        self.any(self.model.made.keys().cloned().collect())
    }

    fn references(&mut self, most: u64) -> BTreeSet<Thing> {
        let count = self.random.below(most + 1);
        (0..count).filter_map(|_| self.thing()).collect()
    }

    fn parent(&mut self) -> Option<Thing> {
        if self.random.below(2) == 0 {
            return None;
        }
        let made = self.model.made.iter();
        self.any(made.filter(|(_, made)| made.committed).map(|(thing, _)| thing.clone()).collect())
    }
}

/// The snapshot that a container with these references has for its root, if one is among them, and
/// what is left for its labels.
fn rootfs(refs: &BTreeSet<Thing>) -> (&str, BTreeSet<Thing>) {
    let root = refs.iter().find(|thing| matches!(thing, Thing::Snapshot(_)));
    let named = refs.iter().filter(|thing| Some(*thing) != root).cloned().collect();
    (root.map(Thing::name).unwrap_or_default(), named)
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
        };
        (format!("containerd.io/gc.{how}.{kind}"), thing.name().to_owned())
    };
    things.iter().enumerate().map(label).collect()
}
