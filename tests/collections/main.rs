//! Collections on a whole node, against a model: clients make, name, refer and let go at random while
//! collections run one after the other and services are killed with SIGKILL. Whatever the model can
//! reach is there after each step; at the end, after one more collection, nothing else is. A second
//! namespace has some of the blobs too, and keeps them whatever becomes of the first one's. Needs root.
//!
//! `BERTH_SEED` repeats the choices of a run (it is printed), `BERTH_STEPS` makes it shorter or longer.

mod choice;
mod client;
mod disturbance;
mod images;
mod model;
mod operation;
mod passing;
#[path = "../kills/random.rs"]
mod random;
mod sandboxes;
mod second;
mod setting;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Node, until};

use crate::client::Client;
use crate::disturbance::{Collections, Kills};
use crate::model::{Model, Thing};
use crate::operation::PASSING;
use crate::random::{Random, seed, setting};
use crate::second::{End, Second};
use crate::setting::Setting;

/// How many steps are taken.
const STEPS: u64 = 250;
/// How long what is deleted in the background may take.
const DELETED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_referred_to_stays_and_the_rest_goes() -> Result<()> {
    let seed = setting("BERTH_SEED").unwrap_or_else(seed);
    let steps = setting("BERTH_STEPS").unwrap_or(STEPS);
    eprintln!("BERTH_SEED={seed} BERTH_STEPS={steps}");
    let mut story = Story::begin(seed).await?;
    let told = story.tell(steps).await;
    if told.is_err() {
        eprintln!("the node's log:\n{}", story.node.log()?);
    }
    told.with_context(|| format!("BERTH_SEED={seed} BERTH_STEPS={steps}"))
}

struct Story {
    setting: Setting,
    node: Node,
    client: Client,
    second: Second,
    model: Model,
    random: Random,
    kills: Kills,
    /// What could be reached before the present step.
    reached: BTreeSet<Thing>,
    /// What flat leases alone have kept since it was last whole: what is below it may be gone, also
    /// when they keep it no more and it was not collected yet.
    flat: BTreeSet<Thing>,
    /// What of it was reached by more than flat leases.
    whole: BTreeSet<Thing>,
    /// Numbers what is made.
    next: u64,
}

impl Story {
    async fn begin(seed: u64) -> Result<Self> {
        // So that a node collects only as it is told: what is not collected is there to be adopted.
        let quiet = "[distribution.gc]\nmutation_threshold = 0\npause_threshold = 0.000001\n";
        let node = Node::start_with(quiet)?;
        let client = Client::new(&node.address())?;
        let second = Second::beside(&client)?;
        let mut model = Model::default();
        let setting = Setting::make(&node, &client, &mut model).await?;
        let (random, kills) = (Random::new(seed), Kills::default());
        let (reached, whole) = (model.reachable(), model.whole());
        let flat = BTreeSet::new();
        let next = 0;
        Ok(Self { setting, node, client, second, model, random, kills, reached, flat, whole, next })
    }

    async fn tell(&mut self, steps: u64) -> Result<()> {
        let collections = Collections::begin(&self.node.address());
        for step in 0..steps {
            self.kills.perhaps(&mut self.random, &mut self.node)?;
            let operation = self.choose();
            let told = format!("{operation:?}");
            eprintln!("step {step}: {told}");
            let done = self.perform(operation).await;
            let kept = match done {
                Ok(referred) => self.compare(&referred).await,
                Err(error) => Err(error),
            };
            kept.with_context(|| format!("step {step}: {told}"))?;
        }
        self.kills.settle()?;
        let counts = collections.end().await?;
        eprintln!("{} kills, {counts:?}", self.kills.count);
        ensure!(counts.done > 0, "no collection came to its end");
        self.client.collect().await?;
        self.compare(&BTreeSet::new()).await?;
        let there = self.client.there().await?;
        let left: Vec<_> = there.difference(&self.reached).collect();
        ensure!(left.is_empty(), "nothing refers to {left:?}");
        self.second.has_no_more().await?;
        self.node.fsck()?;
        let mut leases = self.client.leases().await?;
        leases.retain(|id| !self.model.leases.contains_key(id));
        ensure!(leases.is_empty(), "the time of {leases:?} is over");
        self.end().await
    }

    /// Holds the node against the model. What has just been referred to may have been collected
    /// before, if nothing else kept it; what is there now stays.
    async fn compare(&mut self, referred: &BTreeSet<Thing>) -> Result<()> {
        let there = self.client.there().await?;
        for thing in referred.difference(&self.reached).filter(|thing| !there.contains(*thing)) {
            self.model.gone(thing);
        }
        let reachable = self.model.reachable();
        let again: BTreeSet<_> = reachable.difference(&self.reached).cloned().collect();
        let below_flat = self.model.made_whole(&self.flat);
        let kept_alone = self.model.kept_alone(again.iter());
        let passing = kept_alone.iter().chain(again.intersection(&below_flat));
        for thing in passing.filter(|thing| !there.contains(*thing)) {
            self.model.gone(thing);
        }
        (self.reached, self.whole) = (self.model.reachable(), self.model.whole());
        self.flat.retain(|thing| !self.whole.contains(thing));
        self.flat.extend(self.reached.difference(&self.whole).cloned());
        let lost: Vec<_> = self.reached.difference(&there).collect();
        ensure!(lost.is_empty(), "lost {lost:?}");
        let images: BTreeSet<_> = self.model.images.keys().cloned().collect();
        ensure!(self.client.images().await? == images, "images are not {images:?}");
        let containers: BTreeSet<_> = self.model.containers.keys().cloned().collect();
        ensure!(self.client.containers().await? == containers, "containers: not {containers:?}");
        let sandboxes: BTreeSet<_> = self.model.sandboxes.keys().cloned().collect();
        ensure!(self.client.sandboxes().await? == sandboxes, "sandboxes are not {sandboxes:?}");
        let leases: BTreeSet<_> = self.model.leases.keys().cloned().collect();
        let mut found = self.client.leases().await?;
        found.retain(|id| !id.starts_with(PASSING));
        ensure!(found == leases, "leases are not {leases:?}");
        self.second.compare(&self.client, &self.reached).await
    }

    /// Lets go of all: nothing is left, in records or on disk.
    async fn end(&mut self) -> Result<()> {
        for name in std::mem::take(&mut self.model.images).into_keys() {
            self.client.delete_image(&name, false).await?;
        }
        for id in std::mem::take(&mut self.model.containers).into_keys() {
            self.client.delete_container(&id).await?;
        }
        for id in std::mem::take(&mut self.model.sandboxes).into_keys() {
            self.client.delete_sandbox(&id).await?;
        }
        for id in std::mem::take(&mut self.model.leases).into_keys() {
            self.client.delete_lease(&id, false).await?;
        }
        self.client.collect().await?;
        self.second.compare(&self.client, &BTreeSet::new()).await?;
        for blob in self.second.blobs() {
            self.second.drop(&blob, End::Lease { sync: false }).await?;
        }
        self.client.collect().await?;
        self.second.has_no_more().await?;
        let left = self.client.there().await?;
        ensure!(left.is_empty(), "nothing is referred to, and there are {left:?}");
        let active = self.node.ctr("content active").output()?.ok()?;
        ensure!(active.lines().count() <= 1, "ingests are left:\n{active}");
        for folder in ["distribution/blobs/sha256", "bundle/overlayfs/snapshots"] {
            let folder = self.node.path("root").join(folder);
            let count = || fs_err::read_dir(&folder).map_or(0, Iterator::count);
            until("files are deleted", DELETED, || count() == 0)
                .with_context(|| format!("{} in {}", count(), folder.display()))?;
        }
        self.node.fsck()
    }
}
