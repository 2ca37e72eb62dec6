//! The labels that make references, roots and expiries.

use std::time::SystemTime;

use berth_ids::{Labels, Namespace};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::node::{CONTAINERS, CONTENT, IMAGES, Id, MOUNTS, Node, SNAPSHOTS};

const ROOT: &str = "containerd.io/gc.root";
const EXPIRE: &str = "containerd.io/gc.expire";
const FLAT: &str = "containerd.io/gc.flat";
const REF: &str = "containerd.io/gc.ref.";
const BACK: &str = "containerd.io/gc.bref.";

/// What a set of labels refers to.
#[must_use]
pub fn refs(namespace: &Namespace, labels: &Labels) -> Vec<Id> {
    targets(namespace, labels, REF)
}

/// Adds what an object's labels say to its node.
pub fn apply(node: &mut Node, labels: &Labels, now: SystemTime) {
    node.refs.extend(refs(&node.id.namespace, labels));
    node.kept_by.extend(targets(&node.id.namespace, labels, BACK));
    let waiting = expiry(labels).is_some_and(|at| at > now);
    node.root |= waiting || labels.contains_key(ROOT);
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
    let text = labels.get(EXPIRE)?;
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

fn targets(namespace: &Namespace, labels: &Labels, prefix: &str) -> Vec<Id> {
    let own = labels.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
    own.filter_map(|(key, value)| {
        kind(&key[prefix.len()..]).map(|kind| Id::new(namespace, kind, value))
    })
    .collect()
}

/// The kind that the rest of a label's key names: `content`, `content.1`, `snapshot.overlayfs/x`.
fn kind(rest: &str) -> Option<String> {
    if let Some(name) = rest.strip_prefix("snapshot.") {
        let name = name.split('/').next().unwrap_or(name);
        return Some(format!("{SNAPSHOTS}{name}"));
    }
    match rest.split(['.', '/']).next()? {
        "content" => Some(CONTENT.to_owned()),
        "image" => Some(IMAGES.to_owned()),
        "container" => Some(CONTAINERS.to_owned()),
        "mount" => Some(MOUNTS.to_owned()),
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
                ("containerd.io/gc.bref.content", "back"),
            ]),
        );
        let mut names: Vec<_> = found.iter().map(|id| format!("{} {}", id.kind, id.key)).collect();
        names.sort();
        assert_eq!(names, ["content a", "content b", "images i", "snapshots/overlayfs s"]);
    }

    #[test]
    fn an_expiry_is_a_root_until_it_passes() {
        let now = SystemTime::now();
        let past = labels(&[(EXPIRE, "2020-01-01T00:00:00Z")]);
        let later = labels(&[(EXPIRE, "2999-01-01T00:00:00+02:00")]);
        assert!(expired(&past, now) && !expired(&later, now));
        assert!(!expired(&labels(&[(EXPIRE, "soon")]), now));
        let namespace: Namespace = "n".parse().unwrap();
        let mut node = Node::new(Id::new(&namespace, CONTENT, "x"));
        apply(&mut node, &past, now);
        assert!(!node.root);
        apply(&mut node, &later, now);
        assert!(node.root);
    }
}
