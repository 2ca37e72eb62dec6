//! A neighbour that keeps snapshots in memory and obeys the collector's contract.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use berth_distribution::gc::collect::Collector;
use berth_distribution::gc::id::Id;
use berth_distribution::gc::node::Node;
use berth_distribution::neighbour::{Answer, LeaseName, Neighbour};
use berth_distribution::records::Hold;
use berth_distribution::{Error, Result};
use berth_epochs::Flat;
use berth_errors::Code;
use berth_ids::Namespace;
use futures::future::BoxFuture;

pub const KIND: &str = "snapshots/x";

#[derive(Default)]
pub struct Snapshots(Mutex<State>);

#[derive(Default)]
struct State {
    /// What is there, and when it was used.
    there: HashMap<Id, SystemTime>,
    /// What refers to others' things, and is never dropped.
    holders: Vec<(Id, Id)>,
    touched: HashSet<Id>,
    open: Option<u64>,
    incarnation: u64,
    failing: bool,
    /// It restarts at this moment, and refers to this afterwards.
    restart: Option<(Moment, Id)>,
    /// What happens while a sweep with something in it is on its way.
    meanwhile: Option<BoxFuture<'static, ()>>,
}

/// A moment of a collection.
pub enum Moment {
    /// Its things were read. It announces nothing afterwards, as if it knew that nobody sweeps.
    Read,
    /// It has said that it is in the epoch. It announces afterwards, to this collector.
    Asked(Collector),
}

impl Snapshots {
    pub fn create(&self, namespace: &Namespace, name: &str, used: SystemTime) {
        let id = Id::new(namespace, KIND, name);
        let mut state = self.state();
        state.touched.insert(id.clone());
        state.there.insert(id, used);
    }

    pub fn has(&self, namespace: &Namespace, name: &str) -> bool {
        self.state().there.contains_key(&Id::new(namespace, KIND, name))
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.state().there.keys().map(|id| id.key.clone()).collect()
    }

    /// What is in memory alone is lost.
    pub fn restart(&self) {
        self.state().restart();
    }

    /// Restarts in the next collection and refers to `to` then.
    pub fn restart_at(&self, moment: Moment, to: Id) {
        self.state().restart = Some((moment, to));
    }

    /// Something happens while the next sweep that drops anything is on its way.
    pub fn meanwhile(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.state().meanwhile = Some(Box::pin(work));
    }

    /// Has restarted when it was to.
    pub fn has_restarted(&self) -> bool {
        self.state().restart.is_none()
    }

    /// Whether a collection has begun here and not ended.
    pub fn in_epoch(&self) -> bool {
        self.state().open.is_some()
    }

    pub fn fail(&self, failing: bool) {
        self.state().failing = failing;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn restart(&mut self) {
        self.touched.clear();
        self.open = None;
        self.incarnation += 1;
    }

    fn refer(&mut self, to: Id) {
        let holder = Id::new(&to.namespace, KIND, format!("holder-{}", self.holders.len()));
        self.holders.push((holder, to));
    }
}

fn refused(step: &'static str) -> Error {
    let message = "no such epoch: aborted".to_owned();
    Error::Neighbour { service: "snapshots", step, code: Code::Aborted, message }
}

fn done<'a, T: Send + 'a>(result: Result<T>) -> Answer<'a, T> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        result
    })
}

impl Neighbour for Snapshots {
    fn name(&self) -> &'static str {
        "snapshots"
    }

    fn owns(&self, kind: &str) -> bool {
        kind == KIND
    }

    fn fence<'a>(&'a self, _: &'a Namespace, _: bool) -> Answer<'a, ()> {
        done(Ok(()))
    }

    fn usage<'a>(&'a self, _: &'a Namespace) -> Answer<'a, Vec<String>> {
        done(Ok(vec![]))
    }

    fn hold<'a>(&'a self, _: &'a LeaseName, _: &'a Hold) -> Answer<'a, ()> {
        done(Ok(()))
    }

    fn release<'a>(&'a self, _: &'a LeaseName, _: &'a Hold) -> Answer<'a, ()> {
        done(Ok(()))
    }

    fn holds<'a>(&'a self, _: &'a LeaseName) -> Answer<'a, Vec<Hold>> {
        done(Ok(vec![]))
    }

    fn begin(&self, epoch: u64) -> Answer<'_, u64> {
        let mut state = self.state();
        if state.failing {
            return done(Err(refused("begin collection")));
        }
        state.touched.clear();
        state.open = Some(epoch);
        let incarnation = state.incarnation;
        drop(state);
        done(Ok(incarnation))
    }

    fn nodes(&self, epoch: u64) -> Answer<'_, Vec<Node>> {
        let mut state = self.state();
        if state.open != Some(epoch) {
            return done(Err(refused("read references")));
        }
        let nodes = state.there.iter().map(|(id, used)| Node {
            touched: state.touched.contains(id),
            used: vec![*used],
            ..Node::new(id.clone())
        });
        let holders = state.holders.iter();
        let holders = holders.map(|(id, to)| Node {
            root: true,
            refs: vec![to.clone()],
            ..Node::new(id.clone())
        });
        let nodes = nodes.chain(holders).collect();
        if let Some((_, to)) = state.restart.take_if(|(at, _)| matches!(at, Moment::Read)) {
            state.restart();
            state.refer(to);
        }
        drop(state);
        done(Ok(nodes))
    }

    fn sweep(&self, epoch: u64, incarnation: u64, dead: Vec<Id>) -> Answer<'_, Vec<Id>> {
        let mut state = self.state();
        if let Some(work) = state.meanwhile.take_if(|_| !dead.is_empty()) {
            drop(state);
            return Box::pin(async move {
                work.await;
                self.sweep(epoch, incarnation, dead).await
            });
        }
        if state.open != Some(epoch) || state.incarnation != incarnation {
            return done(Err(refused("sweep")));
        }
        let mut dropped = Vec::new();
        for id in dead {
            if !state.touched.contains(&id) && state.there.remove(&id).is_some() {
                dropped.push(id);
            }
        }
        let Some((Moment::Asked(collector), to)) = state.restart.take() else {
            return done(Ok(dropped));
        };
        state.restart();
        drop(state);
        Box::pin(async move {
            collector.pin(to.clone(), false).await?;
            self.state().refer(to);
            Ok(dropped)
        })
    }

    fn watch(&self, epoch: u64, incarnation: u64, flat: Flat<Id>) -> Answer<'_, Vec<Id>> {
        let state = self.state();
        if state.open != Some(epoch) || state.incarnation != incarnation {
            return done(Err(refused("watch flat leases")));
        }
        let touched = flat.things.into_iter().filter(|id| state.touched.contains(id)).collect();
        drop(state);
        done(Ok(touched))
    }

    fn clear(&self) -> Answer<'_, ()> {
        done(Ok(()))
    }

    fn end(&self, _: u64) -> Answer<'_, ()> {
        let mut state = self.state();
        if state.failing {
            return done(Err(refused("end collection")));
        }
        state.open = None;
        drop(state);
        done(Ok(()))
    }

    fn pin<'a>(&'a self, id: &'a Id, _: bool) -> Answer<'a, ()> {
        let mut state = self.state();
        if state.failing {
            return done(Err(refused("pin reference")));
        }
        state.touched.insert(id.clone());
        drop(state);
        done(Ok(()))
    }
}
