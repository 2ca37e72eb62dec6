//! The CRI's tables of containerd's file as our `[cri]`, `[network]` and `[distribution.registry]`.
//!
//! Owns: which of its keys are taken over, which mean nothing here, and which are refused. Must not know: where the
//! file came from, and what becomes of what was taken over.
//!
//! | module | what it does |
//! |---|---|
//! | `divide` | the one table of before version 3 as the three of now |
//! | `keys` | what becomes of each key |
//! | `values` | how a value is read |
//! | `handlers`, `registry`, `server` | what is no key by itself |
//! | `named` | what a key was called where it was written |

mod divide;
mod handlers;
mod keys;
mod named;
mod registry;
mod server;
#[cfg(test)]
mod tests;
mod values;

use std::path::Path;

use toml::Value;

use super::merge::says_nothing;
use crate::tree::{Node, Origin, Tree};
use keys::{Fate, KEYS};

pub(super) use divide::divide;

/// containerd's own values of these tables, in its newest version.
pub(super) const DEFAULTS: &str = include_str!("defaults.toml");

const PLUGIN: &str = "io.containerd.grpc.v1.cri";
const IMAGES: &str = "io.containerd.cri.v1.images";
const RUNTIME: &str = "io.containerd.cri.v1.runtime";
/// The tables, by their names since version 3.
pub(crate) const TABLES: [&str; 3] = [PLUGIN, IMAGES, RUNTIME];

/// What is to be said of a key, where it was written.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) origin: Origin,
    pub(super) key: String,
    pub(super) what: String,
}

/// What these tables are here.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// A tree of ours.
    pub(super) ours: Tree,
    /// What has no effect.
    pub(super) remarks: Vec<Said>,
    /// What a node is not started with.
    pub(super) refused: Vec<Said>,
    /// The version of the file, whose names of keys are the ones to speak of.
    version: i64,
}

/// Takes the CRI's tables out. None if there are none, or if the CRI is left out: then nothing is said of them.
pub(super) fn take(theirs: &mut Tree, version: i64) -> Option<Carried> {
    let is_out = match theirs.get(&["disabled_plugins"]) {
        Some(Node::Value(Value::Array(names), _)) => {
            TABLES.iter().any(|table| names.iter().any(|name| name.as_str() == Some(table)))
        }
        _ => false,
    };
    divide(theirs);
    let mut tables = Tree::default();
    let (mut first, mut is_there) = (None, false);
    for table in TABLES {
        if let Some(Node::Table(inner)) = theirs.take(&["plugins", table]) {
            is_there = true;
            let origin = inner.values().first().map(|(_, _, origin)| (*origin).clone());
            first = first.or(origin);
            tables.put(&[table], Node::Table(inner));
        }
    }
    if !is_there || is_out {
        return None;
    }
    let mut carried = Carried { version, ..Carried::default() };
    // Of tables without a key nobody knows where they were written.
    let origin = first.unwrap_or_else(|| Origin { file: Path::new("").into(), line: 0 });
    carried.ours.put(&["cri", "enabled"], Node::Value(Value::Boolean(true), origin));
    carried.all(tables);
    Some(carried)
}

impl Carried {
    fn all(&mut self, mut tables: Tree) {
        handlers::take(self, &mut tables);
        registry::take(self, &mut tables);
        server::take(self, &mut tables);
        self.pinned(&mut tables);
        for key in KEYS {
            let path = [&[key.table], key.path].concat();
            let Some(node) = tables.take(&path) else { continue };
            match node {
                Node::Value(value, origin) => self.meet(&key.fate, &path, value, origin),
                Node::Table(inner) => self.meet_all(&key.fate, &path, &inner),
            }
        }
        let known = tables_of_containerd();
        for (keys, value, origin) in tables.values() {
            let path: Vec<&str> = keys.iter().map(String::as_str).collect();
            if !(says_nothing(value) && known.get(&path).is_some()) {
                let what = "is no key that is known: it is ignored".to_owned();
                self.remark(&path, origin.clone(), what);
            }
        }
    }

    /// A table of which all has the same fate; or one where a value belongs.
    fn meet_all(&mut self, fate: &Fate, path: &[&str], inner: &Tree) {
        for (keys, value, origin) in inner.values() {
            if let Fate::To(..) = fate {
                return self.refuse(path, origin.clone(), "it is a table, not a value".to_owned());
            }
            let keys = keys.iter().map(String::as_str);
            let path: Vec<&str> = path.iter().copied().chain(keys).collect();
            self.meet(fate, &path, value.clone(), origin.clone());
        }
    }

    fn meet(&mut self, fate: &Fate, path: &[&str], value: Value, origin: Origin) {
        if is_default(path, &value) {
            return;
        }
        match fate {
            Fate::To(keys, kind) => match kind.read(value) {
                Ok(Some(value)) => self.ours.put(keys, Node::Value(value, origin)),
                Ok(None) => {}
                Err(what) => self.refuse(path, origin, what),
            },
            Fate::Nothing(_) | Fate::Refused(_) if says_nothing(&value) && !has_default(path) => {}
            Fate::Nothing(reason) => {
                self.remark(path, origin, format!("has no effect here: {reason}"));
            }
            Fate::Refused(reason) => self.refuse(path, origin, (*reason).to_owned()),
        }
    }

    /// Names of images that are kept, and the one of pods' own processes.
    fn pinned(&mut self, tables: &mut Tree) {
        let Some(Node::Table(mut pinned)) = tables.take(&[IMAGES, "pinned_images"]) else { return };
        let path = [IMAGES, "pinned_images", "sandbox"];
        match pinned.take(&["sandbox"]) {
            Some(Node::Value(Value::String(name), _)) if name.is_empty() || is_usual(&name) => {}
            Some(Node::Value(name @ Value::String(_), origin)) => {
                self.ours.put(&["cri", "sandbox_image"], Node::Value(name, origin));
            }
            Some(Node::Value(other, origin)) => {
                self.refuse(&path, origin, format!("{other} is no text"));
            }
            // A table is looked at with the other names.
            Some(table) => pinned.put(&["sandbox"], table),
            None => {}
        }
        let mut names = Vec::new();
        let mut at = None;
        for (keys, value, origin) in pinned.values() {
            match value {
                Value::String(name) if !name.is_empty() => {
                    names.push(Value::String(name.clone()));
                    at.get_or_insert(origin.clone());
                }
                Value::String(_) => {}
                other => {
                    let what = format!("{other} is no text");
                    let keys = keys.iter().map(String::as_str);
                    let path: Vec<&str> = path[..2].iter().copied().chain(keys).collect();
                    self.refuse(&path, origin.clone(), what);
                }
            }
        }
        if let Some(origin) = at {
            self.ours.put(&["cri", "pinned_images"], Node::Value(Value::Array(names), origin));
        }
    }

    fn remark(&mut self, path: &[&str], origin: Origin, what: String) {
        let key = named::as_written(path, self.version);
        self.remarks.push(Said { origin, key, what });
    }

    fn refuse(&mut self, path: &[&str], origin: Origin, what: String) {
        let key = named::as_written(path, self.version);
        self.refused.push(Said { origin, key, what });
    }
}

/// Images that containerd has for pods' own processes unless it is told of another.
const USUAL: [&str; 2] = ["registry.k8s.io/pause", "k8s.gcr.io/pause"];

/// Whether an image is one of these, of whichever version: then what berth has counts.
fn is_usual(name: &str) -> bool {
    let versions = |usual| name.strip_prefix(usual).is_some_and(|rest| rest.starts_with(':'));
    USUAL.iter().any(versions)
}

/// Whether containerd has it anyway: then what berth has counts.
fn is_default(path: &[&str], value: &Value) -> bool {
    matches!(tables_of_containerd().get(path), Some(Node::Value(default, _)) if default == value)
}

/// Whether containerd has another value there: then also one that looks as if it was not set says something.
fn has_default(path: &[&str]) -> bool {
    matches!(tables_of_containerd().get(path), Some(Node::Value(..)))
}

/// containerd's own values, by table and key.
fn tables_of_containerd() -> &'static Tree {
    static READ: std::sync::OnceLock<Tree> = std::sync::OnceLock::new();
    READ.get_or_init(|| {
        let mut whole =
            Tree::read(DEFAULTS, Path::new("containerd's defaults")).unwrap_or_default();
        match whole.take(&["plugins"]) {
            Some(Node::Table(plugins)) => plugins,
            _ => Tree::default(),
        }
    })
}
