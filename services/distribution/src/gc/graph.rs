//! The graph of references: what is dead, and in which order it may be dropped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use berth_epochs::Flat;

use super::id::{Id, LEASES};
use super::node::Node;

/// Everything that was read, as numbers.
pub struct Graph {
    nodes: Vec<Entry>,
    index: HashMap<Id, usize>,
}

struct Entry {
    id: Id,
    owner: usize,
    root: bool,
    flat: bool,
    refs: Vec<usize>,
    /// Those of `refs` that are part of the thing itself.
    structure: Vec<usize>,
    used: Vec<SystemTime>,
}

/// How much a thing keeps alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    /// It is dead.
    None,
    /// Its structure alone: only flat leases reach it.
    Flat,
    /// All that it refers to.
    Whole,
}

/// What a mark found.
pub struct Marks {
    /// The things that neither a root nor a touched thing reaches.
    pub dead: HashSet<usize>,
    /// The things that only flat leases reach: what they refer to is dead until they are touched.
    pub flat: HashSet<usize>,
}

/// Of each dead thing, the dead things that it keeps alive, by name.
pub type Below = HashMap<Id, Vec<Id>>;

/// Dead things of one owner, in the order in which they may be dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose they are.
    pub owner: usize,
    /// They, in groups that refer to each other in circles: a group goes whole.
    pub groups: Vec<Vec<Id>>,
}

impl Graph {
    /// Builds the graph of what each owner read. The first that reports a thing owns it. What is
    /// referred to but reported by nobody is not there.
    #[must_use]
    pub fn new(read: Vec<Vec<Node>>) -> Self {
        let mut graph = Self { nodes: Vec::new(), index: HashMap::new() };
        for (owner, nodes) in read.iter().enumerate() {
            for node in nodes {
                graph.enter(owner, node);
            }
        }
        let now = SystemTime::now();
        for node in read.into_iter().flatten() {
            let at = graph.index[&node.id];
            let refs: Vec<usize> = graph.numbers(&node.refs);
            let structure = graph.numbers(&node.structure);
            graph.nodes[at].refs.extend(refs);
            graph.nodes[at].structure.extend(structure);
            let met = node.conditions.iter().filter(|condition| {
                let on = graph.index.get(&condition.on).map(|on| &graph.nodes[*on]);
                on.is_some_and(|on| on.used.iter().any(|used| condition.is_met(*used, now)))
            });
            let conditional = graph.numbers(met.map(|met| &met.on));
            graph.nodes[at].refs.extend(conditional);
            for far in graph.numbers(&node.kept_by) {
                graph.nodes[far].refs.push(at);
            }
        }
        graph
    }

    fn enter(&mut self, owner: usize, node: &Node) {
        let next = self.nodes.len();
        let at = *self.index.entry(node.id.clone()).or_insert(next);
        if at == next {
            self.nodes.push(Entry {
                id: node.id.clone(),
                owner,
                root: false,
                flat: false,
                refs: vec![],
                structure: vec![],
                used: vec![],
            });
        }
        let entry = &mut self.nodes[at];
        // What another says of a lease does not make it live.
        if entry.owner == owner {
            entry.root |= node.root || node.touched;
            entry.flat |= node.flat;
            entry.used.extend(&node.used);
        }
    }

    fn numbers<'a>(&self, ids: impl IntoIterator<Item = &'a Id>) -> Vec<usize> {
        ids.into_iter().filter_map(|id| self.index.get(id).copied()).collect()
    }

    /// Marks from the roots and the touched things.
    #[must_use]
    pub fn mark(&self, touched: &[Id]) -> Marks {
        let mut live = vec![Life::None; self.nodes.len()];
        let roots = (0..self.nodes.len()).filter(|at| self.nodes[*at].root);
        let mut queue: Vec<(usize, Life)> = roots.map(|at| (at, self.life_of(at))).collect();
        queue.extend(self.numbers(touched).into_iter().map(|at| (at, Life::Whole)));
        while let Some((at, life)) = queue.pop() {
            if live[at] >= life {
                continue;
            }
            live[at] = life;
            let entry = &self.nodes[at];
            // All that a flat lease holds, also in the rows that a neighbour has of it, is as flat.
            let whole = life == Life::Whole || entry.id.kind == LEASES;
            let next = if whole { &entry.refs } else { &entry.structure };
            queue.extend(next.iter().map(|to| (*to, life)));
        }
        let all = |life| (0..self.nodes.len()).filter(|at| live[*at] == life).collect();
        let mut marks = Marks { dead: all(Life::None), flat: all(Life::Flat) };
        // A lease is as flat when it is touched.
        marks.flat.retain(|at| self.nodes[*at].id.kind != LEASES);
        marks
    }

    fn life_of(&self, root: usize) -> Life {
        if self.nodes[root].flat { Life::Flat } else { Life::Whole }
    }

    /// Takes out of the dead all that these things reach.
    pub fn revive(&self, dead: &mut HashSet<usize>, spared: impl IntoIterator<Item = Id>) {
        let found = spared.into_iter().filter_map(|id| self.index.get(&id).copied());
        let mut queue: Vec<usize> = found.collect();
        let mut seen: HashSet<usize> = queue.iter().copied().collect();
        while let Some(at) = queue.pop() {
            dead.remove(&at);
            queue.extend(self.nodes[at].refs.iter().copied().filter(|to| seen.insert(*to)));
        }
    }

    /// Orders the dead: whatever refers to a thing is in an earlier batch or group. Circles through
    /// several owners are left out, with all that they refer to: no owner could drop them whole.
    #[must_use]
    pub fn order(&self, dead: &HashSet<usize>) -> Vec<Batch> {
        let groups = self.circles(dead);
        let mut blocked: HashSet<usize> = HashSet::new();
        let mut batches: Vec<Batch> = Vec::new();
        for group in groups {
            let owner = self.nodes[group[0]].owner;
            let mixed = group.iter().any(|at| self.nodes[*at].owner != owner);
            if mixed || group.iter().any(|at| blocked.contains(at)) {
                blocked.extend(group.iter().flat_map(|at| self.nodes[*at].refs.iter().copied()));
                continue;
            }
            let ids = group.iter().map(|at| self.nodes[*at].id.clone()).collect();
            match batches.last_mut().filter(|batch| batch.owner == owner) {
                Some(batch) => batch.groups.push(ids),
                None => batches.push(Batch { owner, groups: vec![ids] }),
            }
        }
        batches
    }

    /// What the dead refer to among themselves.
    #[must_use]
    pub fn below(&self, dead: &HashSet<usize>) -> Arc<Below> {
        let refs = |at: &usize| self.named_refs(*at, |to| dead.contains(to));
        Arc::new(dead.iter().map(refs).collect())
    }

    /// What only flat leases keep, if that leads to anything dead, and all that it leads to: of one owner
    /// or of all.
    #[must_use]
    pub fn flat(&self, marks: &Marks, owner: Option<usize>) -> Flat<Id> {
        let Marks { dead, flat } = marks;
        let spared = |to: &usize| dead.contains(to) || flat.contains(to);
        let wanted = |at: &usize| owner.is_none_or(|owner| self.nodes[*at].owner == owner);
        let own = flat.iter().copied().filter(wanted);
        let own = own.filter(|at| self.nodes[*at].refs.iter().any(spared));
        let mut queue: Vec<usize> = own.collect();
        let things = queue.iter().map(|at| self.nodes[*at].id.clone()).collect();
        let mut seen: HashSet<usize> = queue.iter().copied().collect();
        let mut below = Vec::new();
        while let Some(at) = queue.pop() {
            below.push(self.named_refs(at, spared));
            let next = self.nodes[at].refs.iter().copied().filter(spared);
            queue.extend(next.filter(|to| seen.insert(*to)));
        }
        Flat { things, below }
    }

    fn named_refs(&self, at: usize, wanted: impl Fn(&usize) -> bool) -> (Id, Vec<Id>) {
        let refs = self.nodes[at].refs.iter().filter(|to| wanted(to));
        (self.nodes[at].id.clone(), refs.map(|to| self.nodes[*to].id.clone()).collect())
    }

    /// Whether a thing is dead.
    #[must_use]
    pub fn contains(&self, dead: &HashSet<usize>, id: &Id) -> bool {
        self.index.get(id).is_some_and(|at| dead.contains(at))
    }

    /// Tarjan's strongly connected components of the dead, referrers first, without recursion.
    fn circles(&self, dead: &HashSet<usize>) -> Vec<Vec<usize>> {
        let mut walk = Walk::default();
        let mut starts: Vec<usize> = dead.iter().copied().collect();
        // By owner, so that the batches of one owner are few.
        starts.sort_by_key(|at| (std::cmp::Reverse(self.nodes[*at].owner), *at));
        for start in starts {
            walk.from(start, |at| self.nodes[at].refs.as_slice(), dead);
        }
        walk.found.reverse();
        walk.found
    }
}

/// The state of Tarjan's walk.
#[derive(Default)]
struct Walk {
    order: HashMap<usize, usize>,
    low: HashMap<usize, usize>,
    stack: Vec<usize>,
    on_stack: HashSet<usize>,
    found: Vec<Vec<usize>>,
}

impl Walk {
    fn from<'a>(
        &mut self,
        start: usize,
        refs: impl Fn(usize) -> &'a [usize],
        dead: &HashSet<usize>,
    ) {
        if self.order.contains_key(&start) {
            return;
        }
        let mut path = vec![(start, 0)];
        self.visit(start);
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some(to) = refs(at).get(*next).copied() else {
                path.pop();
                self.leave(at, path.last().map(|(parent, _)| *parent));
                continue;
            };
            *next += 1;
            if !dead.contains(&to) {
                continue;
            }
            if !self.order.contains_key(&to) {
                self.visit(to);
                path.push((to, 0));
            } else if self.on_stack.contains(&to) {
                self.lower(at, self.order[&to]);
            }
        }
    }

    fn visit(&mut self, at: usize) {
        let number = self.order.len();
        self.order.insert(at, number);
        self.low.insert(at, number);
        self.stack.push(at);
        self.on_stack.insert(at);
    }

    fn lower(&mut self, at: usize, to: usize) {
        let low = self.low.entry(at).or_insert(to);
        *low = (*low).min(to);
    }

    fn leave(&mut self, at: usize, parent: Option<usize>) {
        if self.low[&at] == self.order[&at] {
            let mut group = Vec::new();
            while let Some(top) = self.stack.pop() {
                self.on_stack.remove(&top);
                group.push(top);
                if top == at {
                    break;
                }
            }
            self.found.push(group);
        }
        if let Some(parent) = parent {
            self.lower(parent, self.low[&at]);
        }
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
