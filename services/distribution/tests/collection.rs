//! The collector against a model: random operations go on while collections run, with a neighbour
//! that keeps snapshots, restarts and fails at random. Nothing reachable is ever lost; once all is
//! quiet everything unreachable goes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

#[path = "collection/model.rs"]
mod model;
#[path = "collection/neighbour.rs"]
mod neighbour;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_distribution::content::{Expected, hash};
use berth_distribution::gc::id::{CONTENT, Id};
use berth_distribution::leases::resources::Resource;
use berth_distribution::neighbour::{Neighbour, Peers};
use berth_distribution::records::Descriptor;
use berth_distribution::shared::LabelChange;
use berth_distribution::{Distribution, Error, Scope, events};
use berth_ids::{Labels, Namespace};
use berth_lifecycle::Tasks;
use bytes::Bytes;
use futures::FutureExt;
use model::{Blob, Model, Thing};
use neighbour::{KIND, Moment, Snapshots};
use support::Dice;

struct Quiet;

impl events::Sink for Quiet {
    fn publish(&self, _: &Namespace, _: &events::Event) {}
}

struct World {
    node: Distribution,
    snapshots: Arc<Snapshots>,
    scope: Scope,
    model: Model,
    dice: Dice,
    next: u32,
    _folder: tempfile::TempDir,
}

fn bytes(number: u32) -> Bytes {
    Bytes::from(format!("blob {number}"))
}

const HOUR: Duration = Duration::from_secs(3600);

/// When a snapshot was used, as its labels say: just now, or long ago.
fn used(number: u32) -> SystemTime {
    let now = SystemTime::now();
    if number.is_multiple_of(2) { now } else { now - 2 * HOUR }
}

fn digest(number: u32) -> berth_ids::Digest {
    hash::sha256(&bytes(number))
}

impl World {
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = support::config(folder.path());
        let snapshots = Arc::new(Snapshots::default());
        let peers: Peers = Arc::new([snapshots.clone() as Arc<dyn Neighbour>]);
        let node = Distribution::open(config, Arc::new(Quiet), peers, &Tasks::new()).await.unwrap();
        let namespace: Namespace = "n".parse().unwrap();
        node.leases.create(&namespace, "l", Labels::new()).await.unwrap();
        let flat = Labels::from([("containerd.io/gc.flat".to_owned(), "yes".to_owned())]);
        node.leases.create(&namespace, "flat", flat).await.unwrap();
        let dice = Dice::new(seed + 1);
        let (scope, model) = (Scope::new(namespace), Model::default());
        Self { node, snapshots, scope, model, dice, next: 0, _folder: folder }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.dice.below(bound)
    }

    /// One that can be reached now: what a client may rely on.
    fn any_live(&mut self) -> Option<u32> {
        let live: Vec<u32> = self.model.whole().0.into_iter().collect();
        let at = self.below(live.len());
        live.get(at).copied()
    }

    async fn step(&mut self) {
        match self.below(12) {
            0..=3 => self.write().await,
            4 | 5 => self.image().await,
            6 | 7 => self.unimage().await,
            8 => self.relabel().await,
            9 => self.hold_flat().await,
            _ => self.unlease().await,
        }
    }

    /// A blob under the lease that refers to some that are there, and perhaps to a snapshot.
    async fn write(&mut self) {
        let number = self.next;
        self.next += 1;
        let mut labels = Labels::new();
        let mut refs = Vec::new();
        for at in 0..self.below(3) {
            let Some(target) = self.any_live() else { break };
            labels.insert(format!("containerd.io/gc.ref.content.{at}"), digest(target).to_string());
            refs.push(target);
        }
        let mut blob = self.blob(refs, &mut labels);
        let snapshot = (self.below(3) == 0).then_some(number);
        if let Some(snapshot) = snapshot {
            self.snapshots.create(&self.scope.namespace, &snapshot.to_string(), used(snapshot));
            labels.insert("containerd.io/gc.ref.snapshot.x".into(), snapshot.to_string());
        }
        let leased = self.scope.clone().leased("l");
        let name = number.to_string();
        let mut writer =
            self.node.content.writer(&leased, &name, Expected::default()).await.unwrap();
        writer.write(bytes(number)).await.unwrap();
        writer.commit(0, None, labels).await.unwrap();
        // A snapshot that was collected before it was referred to is the client's loss.
        let kept = snapshot.filter(|s| self.snapshots.has(&self.scope.namespace, &s.to_string()));
        blob.snapshots.extend(kept);
        self.model.blobs.insert(number, blob);
        self.model.leased.insert(number);
    }

    /// A new blob that refers to these, and perhaps to a snapshot under a condition. Most of the time
    /// nothing keeps it besides those that refer to it.
    fn blob(&mut self, refs: Vec<u32>, labels: &mut Labels) -> Blob {
        let plain = Blob { refs, ..Blob::default() };
        let refs = &plain.refs;
        let chosen = self.below(10);
        if chosen == 0 {
            labels.insert("containerd.io/gc.root/of-a-kind".into(), "any".into());
            return Blob { root: true, ..plain };
        }
        if chosen == 1 {
            let keeper = self.any_live();
            let keeper = keeper.filter(|k| !self.model.leads_to(refs, Thing::Blob(*k)));
            let label = "containerd.io/gc.bref.content.why";
            labels.extend(keeper.map(|keeper| (label.to_owned(), digest(keeper).to_string())));
            return Blob { keeper: keeper.map(Thing::Blob), ..plain };
        }
        let live: Vec<u32> = self.model.whole().1.into_iter().collect();
        let at = self.below(live.len());
        let Some(snapshot) = live.get(at).copied() else { return plain };
        match chosen {
            2 if !self.model.leads_to(refs, Thing::Snapshot(snapshot)) => {
                let label = "containerd.io/gc.bref.snapshot.x/why".to_owned();
                labels.insert(label, snapshot.to_string());
                Blob { keeper: Some(Thing::Snapshot(snapshot)), ..plain }
            }
            3 | 4 => {
                let label = "containerd.io/gc.cond.snapshot.x".to_owned();
                labels.insert(label, format!("usedat<1h|{snapshot}"));
                let met = used(snapshot) > SystemTime::now() - HOUR;
                Blob { snapshots: met.then_some(snapshot).into_iter().collect(), ..plain }
            }
            _ => plain,
        }
    }

    async fn image(&mut self) {
        let Some(target) = self.any_live() else { return };
        let descriptor = Descriptor {
            media_type: "m".into(),
            digest: digest(target),
            size: 1,
            annotations: Labels::new(),
        };
        let number = self.next;
        self.next += 1;
        let name = number.to_string();
        let expires = match self.below(6) {
            0 => Some("2020-01-01T00:00:00Z"),
            1 => Some("2999-01-01T00:00:00Z"),
            _ => None,
        };
        let label = |at: &str| ("containerd.io/gc.expire".to_owned(), at.to_owned());
        let labels = expires.map(label).into_iter().collect();
        let made = self.node.images.create(&self.scope, &name, descriptor, labels, None);
        made.await.unwrap();
        // One that has expired keeps nothing, and goes.
        if expires.is_none_or(|at| at.starts_with("29")) {
            self.model.images.insert(number, target);
        }
    }

    async fn unimage(&mut self) {
        let all: Vec<u32> = self.model.images.keys().copied().collect();
        let at = self.below(all.len());
        let Some(number) = all.get(at) else { return };
        let name = number.to_string();
        self.node.images.delete(&self.scope, &name, None, false).await.unwrap();
        self.model.images.remove(number);
    }

    /// Moves a reference: the blob lets go of all and refers to one other.
    async fn relabel(&mut self) {
        let (Some(from), Some(to)) = (self.any_live(), self.any_live()) else { return };
        if self.model.is_circle(from, to) {
            return;
        }
        let label = ("containerd.io/gc.ref.content".to_owned(), digest(to).to_string());
        let change = LabelChange::Replace([label].into());
        self.node.content.update(&self.scope, &digest(from), change).await.unwrap();
        self.model.blobs.insert(from, Blob { refs: vec![to], ..Blob::default() });
    }

    /// Lets the flat lease hold a blob, or hold it no more.
    async fn hold_flat(&mut self) {
        let held: Vec<u32> = self.model.flat.iter().copied().collect();
        let at = self.below(2 * held.len());
        let resource = |number| Resource::new(CONTENT, digest(number).as_str()).unwrap();
        let (leases, namespace) = (self.node.leases.clone(), self.scope.namespace.clone());
        if let Some(number) = held.get(at) {
            leases.remove(&namespace, "flat", &resource(*number)).await.unwrap();
            self.model.flat.remove(number);
        } else if let Some(number) = self.any_live() {
            leases.add(&namespace, "flat", &resource(number)).await.unwrap();
            self.model.flat.insert(number);
        }
    }

    async fn unlease(&mut self) {
        let all: Vec<u32> = self.model.leased.iter().copied().collect();
        for _ in 0..self.below(3) {
            let at = self.below(all.len());
            let Some(number) = all.get(at) else { return };
            let resource = Resource::new(CONTENT, digest(*number).as_str()).unwrap();
            self.node.leases.remove(&self.scope.namespace, "l", &resource).await.unwrap();
            self.model.leased.remove(number);
        }
    }

    async fn check_reachable(&self, when: &str) {
        let (blobs, snapshots) = self.model.reachable();
        for number in blobs {
            let found = self.node.content.open(&self.scope.namespace, &digest(number)).await;
            assert!(found.is_ok(), "{when}: blob {number}: {:?}", found.err());
        }
        for number in snapshots {
            let there = self.snapshots.has(&self.scope.namespace, &number.to_string());
            assert!(there, "{when}: snapshot {number}");
        }
    }

    async fn check_exact(&self) {
        let (blobs, snapshots) = self.model.reachable();
        let namespace = &self.scope.namespace;
        let found = self.node.content.list(namespace, Default::default()).await.unwrap();
        let found: BTreeSet<_> = found.into_iter().map(|info| info.digest).collect();
        assert_eq!(found, blobs.iter().map(|number| digest(*number)).collect());
        let named = self.node.images.list(namespace, Default::default()).await.unwrap();
        let named: BTreeSet<String> = named.into_iter().map(|named| named.name).collect();
        assert_eq!(named, self.model.images.keys().map(u32::to_string).collect());
        let left: BTreeSet<String> = snapshots.iter().map(u32::to_string).collect();
        assert_eq!(self.snapshots.names(), left);
    }
}

async fn run(seed: u64) {
    let mut world = World::new(seed).await;
    let collector = world.node.collector.clone();
    for round in 0..12 {
        let running = collector.clone();
        let tasks = Tasks::new();
        let collection = tasks.spawn("collection", async move { running.collect().await });
        for _ in 0..world.below(12) {
            world.step().await;
        }
        if world.below(6) == 0 {
            world.snapshots.restart();
        }
        match collection.await.unwrap() {
            Ok(_) | Err(Error::CollectionAborted { .. } | Error::Neighbour { .. }) => {}
            Err(error) => panic!("seed {seed}, round {round}: {error}"),
        }
        world.check_reachable(&format!("seed {seed}, round {round}")).await;
    }
    collector.collect().await.unwrap();
    world.check_reachable(&format!("seed {seed}, end")).await;
    world.check_exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_reachable_is_lost_and_everything_else_goes() {
    for seed in 0..20 {
        run(seed).await;
    }
}

#[tokio::test]
async fn a_missing_neighbour_ends_the_collection_and_nothing_is_dropped() {
    let mut world = World::new(1).await;
    world.garbage().await;
    world.snapshots.fail(true);
    let error = world.node.collector.collect().await.unwrap_err();
    assert!(error.to_string().starts_with("snapshots: begin"), "{error}");
    assert!(world.node.content.info(&world.scope.namespace, &digest(0)).is_ok());
    world.snapshots.fail(false);
    world.node.collector.collect().await.unwrap();
    assert!(world.node.content.info(&world.scope.namespace, &digest(0)).is_err());
    assert!(!world.snapshots.owns(CONTENT) && world.snapshots.owns(KIND));
    let _ = Id::new(&world.scope.namespace, KIND, "0");
}

impl World {
    /// A blob that nothing refers to.
    async fn garbage(&mut self) -> Id {
        let number = self.next;
        self.next += 1;
        let name = number.to_string();
        let writer = self.node.content.writer(&self.scope, &name, Expected::default()).await;
        let mut writer = writer.unwrap();
        writer.write(bytes(number)).await.unwrap();
        writer.commit(0, None, Labels::new()).await.unwrap();
        Id::new(&self.scope.namespace, CONTENT, digest(number).as_str())
    }

    fn has(&self, id: &Id) -> bool {
        self.node.content.info(&self.scope.namespace, &id.key.parse().unwrap()).is_ok()
    }
}

/// A collection that has begun comes to its end though who asked for it has left: otherwise its
/// neighbours would be left in its epoch, and what was deleted half gone.
#[tokio::test]
async fn a_collection_outlives_who_asked_for_it() {
    let mut world = World::new(1).await;
    let blob = world.garbage().await;
    let collector = world.node.collector.clone();
    assert!(collector.collect().now_or_never().is_none(), "it is under way");
    let ended = async {
        while world.has(&blob) || world.snapshots.in_epoch() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
}

/// A collection asks everybody before it sweeps: one that has restarted since its things were read
/// may have come to refer to others.
#[tokio::test]
async fn a_referrer_that_has_restarted_ends_the_collection() {
    let mut world = World::new(1).await;
    let blob = world.garbage().await;
    world.snapshots.restart_at(Moment::Read, blob.clone());
    let error = world.node.collector.collect().await.unwrap_err();
    assert!(error.to_string().starts_with("snapshots: sweep"), "{error}");
    assert!(world.snapshots.has_restarted() && world.has(&blob));
    world.node.collector.collect().await.unwrap();
    assert!(world.has(&blob), "it is referred to");
}

/// One that restarts after it was asked announces what it comes to refer to.
#[tokio::test]
async fn a_reference_of_a_referrer_that_restarts_during_the_sweep_is_heeded() {
    let mut world = World::new(1).await;
    let (blob, other) = (world.garbage().await, world.garbage().await);
    let collector = world.node.collector.clone();
    world.snapshots.restart_at(Moment::Asked(collector.clone()), blob.clone());
    collector.collect().await.unwrap();
    assert!(world.snapshots.has_restarted() && world.has(&blob) && !world.has(&other));
    collector.collect().await.unwrap();
    assert!(world.has(&blob), "it is referred to");
}

/// This service refers to others as well: it may have restarted in the midst of a collection whose
/// last sweep is still under way there.
#[tokio::test]
async fn a_reference_is_recorded_only_if_its_owner_knows_or_nobody_sweeps() {
    let mut world = World::new(1).await;
    let blob = world.garbage().await;
    let refer = async |world: &World| {
        let label = ("containerd.io/gc.ref.snapshot.x".to_owned(), "s".to_owned());
        let change = LabelChange::Replace([label].into());
        world.node.content.update(&world.scope, &blob.key.parse().unwrap(), change).await
    };
    let refused = |done: berth_distribution::Result<_>| {
        let error = done.map(drop).unwrap_err();
        assert!(error.to_string().starts_with("snapshots: pin reference"), "{error}");
    };
    world.snapshots.fail(true);
    refused(refer(&world).await);
    // A collection that could not begin everywhere says nothing of a sweep of an earlier one.
    world.node.collector.collect().await.unwrap_err();
    refused(refer(&world).await);
    world.snapshots.fail(false);
    refer(&world).await.unwrap();
    let root = ("containerd.io/gc.root".to_owned(), "1".to_owned());
    let keep = LabelChange::Replace([root].into());
    world.node.content.update(&world.scope, &blob.key.parse().unwrap(), keep).await.unwrap();
    world.node.collector.collect().await.unwrap();
    world.snapshots.fail(true);
    refer(&world).await.unwrap();
}

/// What a flat lease keeps is relied on as a whole from the moment that another lease holds it, also
/// while what it refers to is about to be dropped elsewhere.
#[tokio::test]
async fn what_becomes_whole_during_a_sweep_keeps_what_it_refers_to() {
    let world = World::new(1).await;
    let namespace = world.scope.namespace.clone();
    for snapshot in ["s", "other"] {
        world.snapshots.create(&namespace, snapshot, SystemTime::now());
    }
    let flat = world.scope.clone().leased("flat");
    let mut writer = world.node.content.writer(&flat, "w", Expected::default()).await.unwrap();
    writer.write(bytes(7)).await.unwrap();
    let label = |key: &str, value: &str| (format!("containerd.io/gc.ref.{key}"), value.to_owned());
    let named = Labels::from([label("snapshot.x", "s")]);
    writer.commit(0, None, named).await.unwrap();
    // Begun anew: what was touched while it was made counts no more.
    let (leases, space) = (world.node.leases.clone(), namespace.clone());
    world.snapshots.meanwhile(async move {
        let resource = Resource::new(CONTENT, digest(7).as_str()).unwrap();
        leases.add(&space, "l", &resource).await.unwrap();
    });
    world.node.collector.collect().await.unwrap();
    assert!(!world.snapshots.has(&namespace, "other"), "nothing keeps it");
    assert!(world.snapshots.has(&namespace, "s"), "the blob refers to it");
    let unhold = Resource::new(CONTENT, digest(7).as_str()).unwrap();
    world.node.leases.remove(&namespace, "l", &unhold).await.unwrap();
    world.node.collector.collect().await.unwrap();
    assert!(!world.snapshots.has(&namespace, "s"), "the flat lease keeps the blob alone");
    assert!(world.has(&Id::new(&namespace, CONTENT, digest(7).as_str())));
}
