//! The labels that keep an image together: what refers to what, and where it came from.

use std::collections::{BTreeMap, BTreeSet};

use berth_ids::{Labels, MAX_LABEL};

use crate::registry::{Descriptor, Document, Reference, media};

/// On a layer's blob: the digest of its plain tar.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
const CONTENT: &str = "containerd.io/gc.ref.content";
const SOURCE: &str = "containerd.io/distribution.source.";

/// The references of a document to what it lists, in its order.
pub fn references(document: &Document) -> Labels {
    let children: Vec<&Descriptor> = match document {
        Document::Index(index) => index.manifests.iter().collect(),
        Document::Manifest(manifest) => {
            std::iter::once(&manifest.config).chain(&manifest.layers).collect()
        }
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut labels = Labels::new();
    for child in children {
        let kind = kind(&child.media_type);
        let count = counts.entry(kind).or_default();
        let key = match (kind, *count) {
            (".config", 0) => format!("{CONTENT}{kind}"),
            (_, number) => format!("{CONTENT}{kind}{number}"),
        };
        *count += 1;
        labels.insert(key, child.digest.to_string());
    }
    labels
}

fn kind(media_type: &str) -> &'static str {
    if media::is_known_config(media_type) {
        ".config"
    } else if media::is_manifest(media_type) {
        ".m."
    } else if media::is_layer(media_type) {
        ".l."
    } else {
        "."
    }
}

/// On an image's configuration: the snapshot that was made of it.
pub fn snapshot(snapshotter: &str, chain_id: &str) -> (String, String) {
    (format!("containerd.io/gc.ref.snapshot.{snapshotter}"), chain_id.to_owned())
}

/// The label that says where a blob came from: of the host only its name.
pub fn source_key(reference: &Reference) -> String {
    let host = reference.host();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    format!("{SOURCE}{name}")
}

/// Its value with the reference's repository among those it has, sorted; `None` if nothing changes
/// or the label would be too long.
pub fn source_value(labels: &Labels, reference: &Reference) -> Option<String> {
    let key = source_key(reference);
    let before = labels.get(&key).map(String::as_str).unwrap_or_default();
    let mut repositories: BTreeSet<&str> = before.split(',').filter(|r| !r.is_empty()).collect();
    if !repositories.insert(reference.repository()) {
        return None;
    }
    let value = repositories.into_iter().collect::<Vec<_>>().join(",");
    (value.len() + key.len() <= MAX_LABEL).then_some(value)
}

/// Those of the labels that say where a blob came from.
pub fn sources(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    labels.iter().filter(|(key, _)| key.starts_with(SOURCE))
}

/// Another repository of the same registry that has the blob, by its own labels or those of what
/// lists it: the one whose name begins most like the reference's. Anybody may write such a label:
/// what is no name of a repository, and might widen a token's scope, is left out.
pub fn mountable(labels: &[&BTreeMap<String, String>], reference: &Reference) -> Option<String> {
    let (key, own) = (source_key(reference), reference.repository());
    let known = labels.iter().filter_map(|labels| labels.get(&key));
    // Sorted, as containerd has them: it decides between those that are alike.
    let others: BTreeSet<&str> = known
        .flat_map(|repositories| repositories.split(','))
        .filter(|repository| Reference::is_repository(repository) && *repository != own)
        .collect();
    let alike = |repository: &&str| {
        let pairs = own.split('/').zip(repository.split('/'));
        pairs.take_while(|(one, other)| one == other).count()
    };
    others.into_iter().max_by_key(alike).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::hash::sha256;
    use crate::registry::{Index, Manifest};

    fn descriptor(media_type: &str, bytes: &str) -> Descriptor {
        Descriptor::new(media_type, sha256(bytes.as_bytes()), 1)
    }

    #[test]
    fn references_are_counted_by_kind() {
        let layer = |name: &str| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", name);
        let labels = references(&Document::Manifest(Box::new(Manifest {
            schema_version: 2,
            media_type: None,
            config: descriptor(media::OCI_CONFIG, "c"),
            layers: vec![layer("a"), layer("b"), descriptor("x/y", "z")],
        })));
        let keys: Vec<_> = labels.keys().map(|key| &key[CONTENT.len()..]).collect();
        assert_eq!(keys, [".0", ".config", ".l.0", ".l.1"]);
        let labels = references(&Document::Index(Index {
            schema_version: 2,
            media_type: None,
            manifests: vec![
                descriptor(media::OCI_MANIFEST, "m"),
                descriptor(media::OCI_INDEX, "i"),
            ],
        }));
        let keys: Vec<_> = labels.keys().map(|key| &key[CONTENT.len()..]).collect();
        assert_eq!(keys, [".0", ".m.0"]);
    }

    #[test]
    fn sources_add_up() {
        let reference = |text| Reference::parse(text).unwrap();
        let mut labels = Labels::new();
        let first = reference("h:1/b:1");
        assert_eq!(source_key(&first), "containerd.io/distribution.source.h");
        assert_eq!(source_key(&reference("[::1]:5/b:1")), "containerd.io/distribution.source.::1");
        labels.insert(source_key(&first), source_value(&labels, &first).unwrap());
        assert_eq!(source_value(&labels, &first), None);
        assert_eq!(mountable(&[&labels], &first), None);
        let second = reference("h:1/a:1");
        assert_eq!(source_value(&labels, &second).unwrap(), "a,b");
        assert_eq!(mountable(&[&labels], &second).unwrap(), "b");
        assert_eq!(mountable(&[&labels], &reference("i:1/b:1")), None);
        let own = |name: &str| [(source_key(&first), name.to_owned())].into();
        let (blob, manifest): (Labels, Labels) = (own("x/y,a/b/c,z"), own("a/c"));
        let third = reference("h/a/b/d:1");
        assert_eq!(mountable(&[&blob, &manifest], &third).unwrap(), "a/b/c");
        for hostile in ["a/b/c:pull repository:secret", "a/b/c:pull", "a/b/../c", "A/b", "a//b", ""]
        {
            assert_eq!(mountable(&[&own(hostile)], &third), None, "{hostile}");
        }
        let long = "x".repeat(MAX_LABEL - source_key(&third).len() - 3);
        assert_eq!(source_value(&own(&long), &third), None);
    }
}
