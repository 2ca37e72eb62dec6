//! What the calls mean.

use std::collections::BTreeMap;

use tonic::Code;

use crate::client::{Answer, Labels};

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    View,
    Active,
    Committed,
}

/// One snapshot, with all that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub kind: Kind,
    pub parent: String,
    pub labels: Labels,
    pub files: BTreeMap<String, String>,
}

/// All snapshots of a namespace.
#[derive(Debug, Default)]
pub struct Model(pub BTreeMap<String, Snapshot>);

/// Labels without those that have no value: those are not kept.
fn kept(labels: &Labels) -> Labels {
    labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

impl Model {
    fn get(&self, key: &str) -> Answer<&Snapshot> {
        self.0.get(key).ok_or(Code::NotFound)
    }

    pub fn create(&mut self, kind: Kind, key: &str, parent: &str, labels: &Labels) -> Answer<()> {
        if self.0.contains_key(key) {
            return Err(Code::AlreadyExists);
        }
        let mut files = BTreeMap::new();
        if !parent.is_empty() {
            let below = self.get(parent)?;
            if below.kind != Kind::Committed {
                return Err(Code::InvalidArgument);
            }
            files.clone_from(&below.files);
        }
        let (parent, labels) = (parent.to_owned(), kept(labels));
        self.0.insert(key.to_owned(), Snapshot { kind, parent, labels, files });
        Ok(())
    }

    pub fn commit(&mut self, name: &str, key: &str, labels: &Labels) -> Answer<()> {
        if self.0.contains_key(name) {
            return Err(Code::AlreadyExists);
        }
        if self.get(key)?.kind != Kind::Active {
            return Err(Code::FailedPrecondition);
        }
        if let Some(mut snapshot) = self.0.remove(key) {
            snapshot.kind = Kind::Committed;
            snapshot.labels = kept(labels);
            self.0.insert(name.to_owned(), snapshot);
        }
        Ok(())
    }

    pub fn remove(&mut self, key: &str) -> Answer<()> {
        self.get(key)?;
        if self.0.values().any(|other| other.parent == key) {
            return Err(Code::FailedPrecondition);
        }
        self.0.remove(key);
        Ok(())
    }

    pub fn stat(&self, key: &str) -> Answer<Snapshot> {
        self.get(key).cloned()
    }

    pub fn update(&mut self, key: &str, labels: &Labels, paths: &[String]) -> Answer<Snapshot> {
        let snapshot = self.0.get_mut(key).ok_or(Code::NotFound)?;
        let mut updated = snapshot.labels.clone();
        if paths.is_empty() {
            updated.clone_from(labels);
        }
        for path in paths {
            match path.strip_prefix("labels.") {
                Some(label) => {
                    let value = labels.get(label).cloned().unwrap_or_default();
                    updated.insert(label.to_owned(), value);
                }
                None if path == "labels" => updated.clone_from(labels),
                None => return Err(Code::InvalidArgument),
            }
        }
        snapshot.labels = kept(&updated);
        Ok(snapshot.clone())
    }

    /// Names that one of the filters accepts, or all.
    pub fn walk(&self, filters: &[String]) -> Vec<String> {
        let wanted = |name: &str, snapshot: &Snapshot| {
            filters.is_empty() || filters.iter().any(|filter| accepts(filter, name, snapshot))
        };
        let found = self.0.iter().filter(|(name, snapshot)| wanted(name, snapshot));
        found.map(|(name, _)| name.clone()).collect()
    }

    pub fn mounts(&self, key: &str) -> Answer<&Snapshot> {
        match self.get(key)? {
            snapshot if snapshot.kind == Kind::Committed => Err(Code::FailedPrecondition),
            snapshot => Ok(snapshot),
        }
    }
}

/// The few filters that are asked for, each in its own words.
fn accepts(filter: &str, name: &str, snapshot: &Snapshot) -> bool {
    let label = |name: &str| snapshot.labels.get(name).map(String::as_str);
    match filter {
        "kind==active" => snapshot.kind == Kind::Active,
        "kind==view" => snapshot.kind == Kind::View,
        "kind==committed" => snapshot.kind == Kind::Committed,
        "name==a" => name == "a",
        "parent==a" => snapshot.parent == "a",
        "labels.x==1" => label("x") == Some("1"),
        "labels.y" => label("y").is_some(),
        "kind!=committed,labels.x==2" => {
            snapshot.kind != Kind::Committed && label("x") == Some("2")
        }
        other => panic!("no meaning for the filter {other}"),
    }
}
