//! What an object of this service refers to in another's.

use berth_ids::Labels;

use crate::records::Container;

const REF: &str = "containerd.io/gc.ref.";

/// A reference: the kind of the object (`content`, `images`, `snapshots/NAME`) and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// The kind.
    pub kind: String,
    /// The name in that kind.
    pub key: String,
}

/// All that a container refers to: its snapshot and what its labels name. Its image is but a name, as
/// with containerd: an image that expires goes.
#[must_use]
pub fn of_container(container: &Container) -> Vec<Ref> {
    let mut refs = own(container);
    refs.extend(of_labels(&container.labels));
    refs
}

/// What a container refers to by its own fields.
#[must_use]
pub fn own(container: &Container) -> Vec<Ref> {
    let Container { snapshotter, snapshot_key, .. } = container;
    let mut refs = Vec::new();
    if !snapshot_key.is_empty() {
        refs.push(Ref { kind: format!("snapshots/{snapshotter}"), key: snapshot_key.clone() });
    }
    refs
}

/// What labels name, by containerd's rule: `containerd.io/gc.ref.KIND[.or/more]`.
#[must_use]
pub fn of_labels(labels: &Labels) -> Vec<Ref> {
    let named = labels.range(REF.to_owned()..).take_while(|(key, _)| key.starts_with(REF));
    let refs = named.filter_map(|(key, value)| {
        Some(Ref { kind: kind(&key[REF.len()..])?, key: value.clone() })
    });
    refs.collect()
}

fn kind(rest: &str) -> Option<String> {
    if let Some(name) = rest.strip_prefix("snapshot.") {
        return Some(format!("snapshots/{}", name.split('/').next().unwrap_or(name)));
    }
    match rest.split(['.', '/']).next()? {
        "content" => Some("content".into()),
        "image" => Some("images".into()),
        "mount" => Some("mounts".into()),
        "stream" => Some("streams".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_kinds_with_free_ends() {
        let labels: Labels = [
            ("containerd.io/gc.ref.content", "sha256:a"),
            ("containerd.io/gc.ref.content.l.0", "sha256:b"),
            ("containerd.io/gc.ref.snapshot.overlayfs/x", "key"),
            ("containerd.io/gc.ref.image.a", "docker.io/a"),
            ("containerd.io/gc.reference", "no"),
            ("other", "no"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let found: Vec<_> = of_labels(&labels).into_iter().map(|r| (r.kind, r.key)).collect();
        let expected = [
            ("content", "sha256:a"),
            ("content", "sha256:b"),
            ("images", "docker.io/a"),
            ("snapshots/overlayfs", "key"),
        ];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
