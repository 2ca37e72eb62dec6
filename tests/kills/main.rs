//! kill -9 of services at seeded random moments while pulls, runs, execs and removals go on.
//!
//! After each kill a model is held against the node: what was acknowledged is there, running
//! containers run on with the same process, exits are told, nothing half-done shows, nothing that
//! nobody owns is left. Needs root.
//!
//! `BERTH_SEED` repeats a run (it is printed), `BERTH_KILLS` changes how often each of the five
//! processes is killed.

mod check;
mod events;
mod leftovers;
mod model;
mod random;
mod work;

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Image, Layer, Node, Registry};

use crate::events::Events;
use crate::model::Model;
use crate::random::{Random, setting};
use crate::work::Work;

const VICTIMS: [&str; 5] =
    ["berth-gateway", "berth-distribution", "berth-bundle", "berth-runtime", "berthd"];
/// How often each of them is killed: a hundred and twenty-five kills in all.
const KILLS: u64 = 25;
/// The longest that the clients work before the kill, in milliseconds.
const LATEST: u64 = 400;
/// Between two collections, in kills.
const COLLECTED: u64 = 20;

#[test]
fn nothing_acknowledged_is_lost_when_services_are_killed() -> Result<()> {
    let seed = setting("BERTH_SEED").unwrap_or_else(random::seed);
    let kills = setting("BERTH_KILLS").unwrap_or(KILLS);
    eprintln!("BERTH_SEED={seed} BERTH_KILLS={kills}");
    let mut story = Story::begin(seed)?;
    let told = story.tell(kills);
    if told.is_err() {
        eprintln!("the node's log:\n{}", story.node.log()?);
    }
    told.with_context(|| format!("BERTH_SEED={seed} BERTH_KILLS={kills}"))
}

struct Story {
    random: Random,
    registry: Registry,
    node: Node,
    model: Model,
    events: Events,
    /// The image that containers are made of.
    base: String,
}

impl Story {
    fn begin(seed: u64) -> Result<Self> {
        let registry = Registry::start()?;
        let node = Node::start()?;
        let base = Image::busybox()?.push(&registry, "busybox:1")?;
        node.berth(&format!("pull {base}")).output()?.ok()?;
        let events = Events::follow(&node)?;
        let mut model = Model::default();
        model.images.insert(base.clone());
        Ok(Self { random: Random::new(seed), registry, node, model, events, base })
    }

    fn tell(&mut self, kills: u64) -> Result<()> {
        for round in 0..kills {
            for (turn, victim) in VICTIMS.into_iter().enumerate() {
                let number = round * VICTIMS.len() as u64 + turn as u64;
                let wait = Duration::from_millis(self.random.below(LATEST));
                self.kill(victim, number, wait)
                    .and_then(|()| self.compare(number))
                    .with_context(|| format!("kill {number}: {victim} after {wait:?}"))?;
            }
        }
        self.end()
    }

    /// Lets clients work, kills the victim meanwhile and notes what was acknowledged.
    fn kill(&mut self, victim: &str, number: u64, wait: Duration) -> Result<()> {
        let image = self.image(number)?;
        let work = Work::choose(&mut self.random, &mut self.model, &self.base, image, number);
        let running = work.start(&self.node);
        // The moment of the kill is the random choice that the test is about.
        std::thread::sleep(wait);
        if victim == "berthd" {
            self.node.kill_berthd()?;
            self.node.start_berthd()?;
        } else {
            self.node.kill_service(victim)?;
        }
        work.settle(running.join()?, &self.node, &mut self.model)?;
        if ["berthd", "berth-gateway"].contains(&victim) {
            self.events.interrupted(&mut self.model, &self.node)?;
        }
        Ok(())
    }

    /// A small image of its own on top of the base's layer.
    fn image(&self, number: u64) -> Result<String> {
        let marker = Layer::default().file("marker", 0o644, number.to_string().as_bytes())?;
        let image = Image::build(vec![Layer::busybox()?, marker], serde_json::json!({}))?;
        image.push(&self.registry, &format!("image-{number}:1"))
    }

    fn compare(&mut self, number: u64) -> Result<()> {
        check::all(&self.node, &mut self.model)?;
        self.events.compare(&self.model)?;
        if number % COLLECTED == COLLECTED - 1 {
            work::forget_some(&self.node, &mut self.model)?;
            leftovers::collect(&self.node, &self.model)?;
            check::content(&self.node, &self.model)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        work::forget_all(&self.node, &mut self.model)?;
        check::all(&self.node, &mut self.model)?;
        leftovers::collect(&self.node, &self.model)?;
        leftovers::nothing(&mut self.node)
    }
}
