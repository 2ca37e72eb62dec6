//! A neighbour that keeps snapshots in memory and obeys the collector's contract.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard};

use berth_distribution::gc::node::{Id, Node};
use berth_distribution::neighbour::{Answer, LeaseName, Neighbour};
use berth_distribution::records::Hold;
use berth_distribution::{Error, Result};
use berth_errors::Code;
use berth_ids::Namespace;

pub const KIND: &str = "snapshots/x";

#[derive(Default)]
pub struct Snapshots(Mutex<State>);

#[derive(Default)]
struct State {
    there: HashSet<Id>,
    touched: HashSet<Id>,
    open: Option<u64>,
    incarnation: u64,
    failing: bool,
}

impl Snapshots {
    pub fn create(&self, namespace: &Namespace, name: &str) {
        let id = Id::new(namespace, KIND, name);
        let mut state = self.state();
        state.touched.insert(id.clone());
        state.there.insert(id);
    }

    pub fn has(&self, namespace: &Namespace, name: &str) -> bool {
        self.state().there.contains(&Id::new(namespace, KIND, name))
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.state().there.iter().map(|id| id.key.clone()).collect()
    }

    /// What is in memory alone is lost.
    pub fn restart(&self) {
        let mut state = self.state();
        state.touched.clear();
        state.open = None;
        state.incarnation += 1;
    }

    pub fn fail(&self, failing: bool) {
        self.state().failing = failing;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
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

    fn forget<'a>(&'a self, _: &'a Namespace, _: &'a str) -> Answer<'a, ()> {
        done(Ok(()))
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
        let state = self.state();
        if state.open != Some(epoch) {
            return done(Err(refused("read references")));
        }
        let nodes = state
            .there
            .iter()
            .map(|id| Node { touched: state.touched.contains(id), ..Node::new(id.clone()) });
        let nodes = nodes.collect();
        drop(state);
        done(Ok(nodes))
    }

    fn sweep(&self, epoch: u64, incarnation: u64, dead: Vec<Id>) -> Answer<'_, Vec<Id>> {
        let mut state = self.state();
        if state.open != Some(epoch) || state.incarnation != incarnation {
            return done(Err(refused("sweep")));
        }
        let mut dropped = Vec::new();
        for id in dead {
            if !state.touched.contains(&id) && state.there.remove(&id) {
                dropped.push(id);
            }
        }
        drop(state);
        done(Ok(dropped))
    }

    fn end(&self, _: u64) -> Answer<'_, ()> {
        self.state().open = None;
        done(Ok(()))
    }

    fn pin<'a>(&'a self, id: &'a Id) -> Answer<'a, ()> {
        self.state().touched.insert(id.clone());
        done(Ok(()))
    }
}
