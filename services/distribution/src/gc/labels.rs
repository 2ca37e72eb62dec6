//! The labels that make references, roots and expiries.

use std::time::SystemTime;

use berth_ids::{Labels, Namespace};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::condition::Condition;
use super::id::{CONTAINERS, CONTENT, IMAGES, Id, MOUNTS, SNAPSHOTS, STREAMS};
use super::node::Node;

const ROOT: &str = "containerd.io/gc.root";
const EXPIRE: &str = "containerd.io/gc.expire";
const FLAT: &str = "containerd.io/gc.flat";
const REF: &str = "containerd.io/gc.ref.";
const BACK: &str = "containerd.io/gc.bref.";
const CONDITION: &str = "containerd.io/gc.cond.snapshot";

/// What a set of labels refers to, or may refer to under a condition.
#[must_use]
pub fn may_refer(namespace: &Namespace, labels: &Labels) -> Vec<Id> {
    let conditions = conditions(namespace, labels).map(|condition| condition.on);
    refs(namespace, labels).into_iter().chain(conditions).collect()
}

/// What a set of labels refers to.
#[must_use]
pub fn refs(namespace: &Namespace, labels: &Labels) -> Vec<Id> {
    targets(namespace, labels, REF, forward)
}

/// Adds what an object's labels say to its node.
pub fn apply(node: &mut Node, labels: &Labels) {
    let namespace = &node.id.namespace;
    node.refs.extend(refs(namespace, labels));
    node.kept_by.extend(targets(namespace, labels, BACK, backward));
    node.conditions.extend(conditions(namespace, labels));
    // Whatever follows: containerd looks at the key's beginning.
    node.root |= below(labels, ROOT).next().is_some();
}

fn conditions(namespace: &Namespace, labels: &Labels) -> impl Iterator<Item = Condition> {
    let named = below(labels, CONDITION);
    named.flat_map(|(rest, value)| Condition::parse(namespace, rest, value))
}

/// The times that a label of a snapshot says; none if it says no time.
#[must_use]
pub fn used_at(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// Whether an expiry is named.
#[must_use]
pub fn may_expire(labels: &Labels) -> bool {
    labels.contains_key(EXPIRE)
}

/// Whether an expiry is named and has passed. One that cannot be read never passes.
#[must_use]
pub fn expired(labels: &Labels, now: SystemTime) -> bool {
    expiry(labels).is_some_and(|at| at <= now)
}

/// Whether a lease holds things without what they refer to.
#[must_use]
pub fn flat(labels: &Labels) -> bool {
    labels.contains_key(FLAT)
}

fn expiry(labels: &Labels) -> Option<SystemTime> {
    used_at(labels.get(EXPIRE)?)
}

/// The labels whose keys begin so: the rest of each key, and its value.
fn below<'a>(labels: &'a Labels, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let own = labels.range(prefix.to_owned()..);
    own.map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
}

fn targets(
    namespace: &Namespace,
    labels: &Labels,
    prefix: &str,
    kind: fn(&str) -> Option<&'static str>,
) -> Vec<Id> {
    let target = |(rest, value): (&str, &str)| {
        if let Some(name) = rest.strip_prefix("snapshot.") {
            let name = name.split('/').next().unwrap_or(name);
            return Some(Id::new(namespace, format!("{SNAPSHOTS}{name}"), value));
        }
        // What follows a dot or slash only tells labels apart.
        Some(Id::new(namespace, kind(rest.split(['.', '/']).next()?)?, value))
    };
    below(labels, prefix).filter_map(target).collect()
}

/// What may be referred to besides snapshots.
fn forward(name: &str) -> Option<&'static str> {
    match name {
        "content" => Some(CONTENT),
        "image" => Some(IMAGES),
        "mount" => Some(MOUNTS),
        "stream" => Some(STREAMS),
        _ => None,
    }
}

/// What may keep a thing that names it, besides snapshots.
fn backward(name: &str) -> Option<&'static str> {
    match name {
        "content" => Some(CONTENT),
        "image" => Some(IMAGES),
        "container" => Some(CONTAINERS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn references_have_names_that_are_ignored() {
        let namespace: Namespace = "n".parse().unwrap();
        let found = refs(
            &namespace,
            &labels(&[
                ("containerd.io/gc.ref.content.l.0", "a"),
                ("containerd.io/gc.ref.content/x", "b"),
                ("containerd.io/gc.ref.contents", "no"),
                ("containerd.io/gc.ref.snapshot.overlayfs/why", "s"),
                ("containerd.io/gc.ref.image", "i"),
                ("containerd.io/gc.ref.stream.x", "stream"),
                ("containerd.io/gc.bref.content", "back"),
            ]),
        );
        let mut names: Vec<_> = found.iter().map(|id| format!("{} {}", id.kind, id.key)).collect();
        names.sort();
        let expected =
            ["content a", "content b", "images i", "snapshots/overlayfs s", "streams stream"];
        assert_eq!(names, expected);
    }

    #[test]
    fn roots_and_back_references_go_by_the_beginning_of_a_key() {
        let mut node = Node::new(Id::new(&"n".parse().unwrap(), CONTENT, "x"));
        apply(&mut node, &labels(&[("containerd.io/gc.roo", "1"), ("containerd.io/gc.s", "1")]));
        assert!(!node.root);
        apply(&mut node, &labels(&[("containerd.io/gc.root.why", "2026")]));
        assert!(node.root);
        let back = labels(&[
            ("containerd.io/gc.bref.container", "c"),
            ("containerd.io/gc.bref.content/1", "b"),
            ("containerd.io/gc.bref.image.x", "i"),
            ("containerd.io/gc.bref.mount", "no"),
            ("containerd.io/gc.bref.stream", "no"),
            ("containerd.io/gc.bref.snapshot.y/z", "s"),
            ("containerd.io/gc.ref.container", "no"),
        ]);
        apply(&mut node, &back);
        let names: Vec<_> =
            node.kept_by.iter().map(|id| format!("{} {}", id.kind, id.key)).collect();
        assert_eq!(names, ["containers c", "content b", "images i", "snapshots/y s"]);
        assert_eq!(node.refs, []);
    }

    #[test]
    fn an_expiry_passes() {
        let now = SystemTime::now();
        let past = labels(&[(EXPIRE, "2020-01-01T00:00:00Z")]);
        let later = labels(&[(EXPIRE, "2999-01-01T00:00:00+02:00")]);
        assert!(expired(&past, now) && !expired(&later, now));
        assert!(!expired(&labels(&[(EXPIRE, "soon")]), now));
    }
}
