//! Changes on a node, one after the other, while something else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use berth_testkit::{Node, program, until};

use crate::archive::IMAGE;
use crate::cluster::{SOON, soon};
use crate::member::Member;

/// So many images of it are there at once.
const KEPT: u64 = 4;
/// Among so many changes of images is one of a container.
const CONTAINERS: u64 = 8;

/// Ends with its owner.
pub struct Load {
    told: Arc<Told>,
    worker: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Told {
    stop: AtomicBool,
    made: AtomicU64,
    ended: AtomicBool,
}

impl Load {
    /// Begins, and goes on until it is ended.
    pub fn on(member: &Member) -> Result<Self> {
        let (berth, address, prefix) =
            (Node::binary("berth")?, member.node.address(), member.id("load"));
        let do_it = move |line: String| {
            let berth = program(&berth).args(["--address"]).args([&address]);
            berth.args(line.split_whitespace()).output()?.ok().map(drop)
        };
        let told = Arc::new(Told::default());
        let of_worker = told.clone();
        let worker = std::thread::spawn(move || {
            let end = changes(&of_worker, &prefix, &do_it);
            of_worker.ended.store(true, Ordering::Relaxed);
            end
        });
        Ok(Self { told, worker: Some(worker) })
    }

    /// Waits for so many more changes.
    pub fn goes_on(&mut self, changes: u64) -> Result<()> {
        let told = &self.told;
        let wanted = told.made.load(Ordering::Relaxed) + changes;
        let mut enough = false;
        until("changes go on", SOON, || {
            enough = told.made.load(Ordering::Relaxed) >= wanted;
            enough || told.ended.load(Ordering::Relaxed)
        })?;
        if enough { Ok(()) } else { self.finish().and(Err(anyhow::anyhow!("the load has ended"))) }
    }

    /// Ends it: none of its changes has failed.
    pub fn end(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        self.told.stop.store(true, Ordering::Relaxed);
        let Some(worker) = self.worker.take() else { return Ok(()) };
        worker.join().expect("no panic").context("a change on a node")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Images and containers that come and go.
fn changes(told: &Told, prefix: &str, do_it: &dyn Fn(String) -> Result<()>) -> Result<()> {
    let image = |turn: u64| format!("localhost/{prefix}-{turn}:1");
    let container = |turn: u64| format!("{prefix}-{turn}");
    let mut turn = 0;
    while !told.stop.load(Ordering::Relaxed) {
        do_it(format!("tag {IMAGE} {}", image(turn)))?;
        if turn >= KEPT {
            do_it(format!("rmi {}", image(turn - KEPT)))?;
        }
        if turn % CONTAINERS == 0 {
            do_it(format!("run -d --pull never --name {} {IMAGE} sleep 3600", container(turn)))?;
        }
        if turn % CONTAINERS == 0 && turn >= CONTAINERS {
            do_it(format!("rm -f {}", container(turn - CONTAINERS)))?;
        }
        turn += 1;
        told.made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Changes on each node, which have begun.
pub fn on_all(members: &[Member]) -> Result<Vec<Load>> {
    let mut loads = members.iter().map(Load::on).collect::<Result<Vec<_>>>()?;
    loads.iter_mut().try_for_each(|load| load.goes_on(1))?;
    Ok(loads)
}

/// A change on each node is seen by the last of them.
pub fn changes_are_seen(members: &[Member], name: &str) -> Result<()> {
    let observer = members.last().context("a node")?;
    for member in members {
        let image = member.tag(&format!("{name}-{}", member.name))?;
        let filter = format!("cluster images --filter node=={},name=={image:?}", member.name);
        let what = format!("{} shows {image} of {}", observer.name, member.name);
        soon(&what, || Ok(observer.lines(&filter)?.len() == 1))?;
    }
    Ok(())
}
