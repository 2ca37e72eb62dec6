//! The calls that sequences are made of.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::client::Labels;

/// One call, or one look at or change of what a snapshot shows.
#[derive(Clone, Debug)]
pub enum Operation {
    Prepare { key: String, parent: String, labels: Labels },
    View { key: String, parent: String, labels: Labels },
    Commit { name: String, key: String, labels: Labels },
    Remove { key: String },
    Stat { key: String },
    Update { key: String, labels: Labels, paths: Vec<String> },
    Walk { filters: Vec<String> },
    Usage { key: String },
    Mounts { key: String },
    Write { key: String, file: String, text: String },
    Delete { key: String, file: String },
    Look { key: String },
}

/// Few names, so that sequences meet themselves.
fn key() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d", "e"]).prop_map(str::to_owned)
}

fn parent() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 3 => key()]
}

fn labels() -> impl Strategy<Value = Labels> {
    let name = select(vec!["x", "y"]).prop_map(str::to_owned);
    let value = select(vec!["", "1", "2"]).prop_map(str::to_owned);
    btree_map(name, value, 0..3)
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    let path = select(vec!["labels", "labels.x", "labels.y"]).prop_map(str::to_owned);
    prop_oneof![8 => vec(path, 0..3), 1 => Just(vec!["kind".to_owned()])]
}

fn filters() -> impl Strategy<Value = Vec<String>> {
    let filter = select(vec![
        "kind==active",
        "kind==view",
        "kind==committed",
        "name==a",
        "parent==a",
        "labels.x==1",
        "labels.y",
        "kind!=committed,labels.x==2",
    ]);
    vec(filter.prop_map(str::to_owned), 0..3)
}

fn file() -> impl Strategy<Value = String> {
    select(vec!["f", "g", "dir/f", "dir/deep/g"]).prop_map(str::to_owned)
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        4 => (key(), parent(), labels())
            .prop_map(|(key, parent, labels)| Prepare { key, parent, labels }),
        2 => (key(), parent(), labels())
            .prop_map(|(key, parent, labels)| View { key, parent, labels }),
        4 => (key(), key(), labels()).prop_map(|(name, key, labels)| Commit { name, key, labels }),
        2 => key().prop_map(|key| Remove { key }),
        1 => key().prop_map(|key| Stat { key }),
        2 => (key(), labels(), paths())
            .prop_map(|(key, labels, paths)| Update { key, labels, paths }),
        1 => filters().prop_map(|filters| Walk { filters }),
        1 => key().prop_map(|key| Usage { key }),
        1 => key().prop_map(|key| Mounts { key }),
        4 => (key(), file(), select(vec!["one", "two"]))
            .prop_map(|(key, file, text)| Write { key, file, text: text.to_owned() }),
        1 => (key(), file()).prop_map(|(key, file)| Delete { key, file }),
        2 => key().prop_map(|key| Look { key }),
    ]
}

/// A sequence of calls on an empty namespace.
pub fn sequence() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..50)
}
