//! The labels of snapshots that are made of an image's layers.

use std::collections::BTreeMap;

use berth_ids::{Digest, Labels, MAX_LABEL};

use crate::registry::Descriptor;

/// The most labels that a snapshot takes from its layer.
const MAX_INHERITED: usize = 64;

/// What a snapshotter that fetches layers itself is told of their image. containerd's labels for that
/// have `cri` in their names, whoever sets them.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The image's reference.
    pub reference: String,
    /// Its manifest.
    pub manifest: Digest,
    /// The manifest's layers, lowest first.
    pub layers: Vec<Digest>,
}

impl Origin {
    /// The labels of a layer, which tell of those above it too, as many as fit.
    pub(super) fn labels(&self, layer: usize) -> Labels {
        let key = |name: &str| format!("containerd.io/snapshot/cri.{name}");
        let layers = key("image-layers");
        let mut above = String::new();
        for digest in &self.layers[layer..] {
            let comma = if above.is_empty() { "" } else { "," };
            if layers.len() + above.len() + comma.len() + digest.as_str().len() > MAX_LABEL {
                break;
            }
            above.push_str(comma);
            above.push_str(digest.as_str());
        }
        let all = [
            (key("image-ref"), self.reference.clone()),
            (key("manifest-digest"), self.manifest.to_string()),
            (key("layer-digest"), self.layers[layer].to_string()),
            (layers, above),
        ];
        all.into_iter().filter(|(key, value)| key.len() + value.len() <= MAX_LABEL).collect()
    }
}

/// The labels of the snapshot of a layer.
pub(super) fn of_snapshot(
    layer: &Descriptor,
    chain_id: &Digest,
    diff_id: &Digest,
    parent: Option<&Digest>,
) -> Labels {
    let mut labels = inherited(&layer.annotations);
    labels.extend([
        ("containerd.io/snapshot.ref".to_owned(), chain_id.to_string()),
        ("containerd.io/snapshot/diff-id".to_owned(), diff_id.to_string()),
    ]);
    if let Some(parent) = parent {
        labels.insert("containerd.io/snapshot/parent-chain-id".to_owned(), parent.to_string());
    }
    labels
}

/// The labels of a snapshot that its layer's annotations give. Whose files they are is not for an
/// image to say.
fn inherited(annotations: &BTreeMap<String, String>) -> Labels {
    let ours = |key: &str| {
        key.strip_prefix("containerd.io/snapshot/")
            .is_some_and(|name| !matches!(name, "uidmapping" | "gidmapping"))
    };
    let fit = |key: &str, value: &str| key.len() + value.len() <= MAX_LABEL;
    let kept = annotations.iter().filter(|(key, value)| ours(key) && fit(key, value));
    kept.take(MAX_INHERITED).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_above_are_named_as_far_as_they_fit() {
        let digest = |n: usize| crate::content::hash::sha256(&[n as u8]);
        let layers: Vec<Digest> = (0..100).map(digest).collect();
        let origin = Origin { reference: "h/x:1".into(), manifest: digest(200), layers };
        let told = |layer| origin.labels(layer)["containerd.io/snapshot/cri.image-layers"].clone();
        assert_eq!(told(98), format!("{},{}", digest(98), digest(99)));
        let all = told(0);
        assert!(all.starts_with(digest(0).as_str()) && all.len() < MAX_LABEL && all.len() > 3900);
        assert_eq!(all.split(',').count() * 72 - 1, all.len(), "whole digests");
        assert_eq!(origin.labels(0)["containerd.io/snapshot/cri.image-ref"], "h/x:1");
    }

    #[test]
    fn snapshots_inherit_what_is_meant_for_them() {
        let long = "x".repeat(MAX_LABEL);
        let annotations = [
            ("containerd.io/snapshot/overlay.x", "1"),
            ("containerd.io/snapshot/uidmapping", "0:1:1"),
            ("containerd.io/snapshot/long", &long),
            ("containerd.io/restart.status", "running"),
            ("org.example", "no"),
        ];
        let annotations = annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let labels: Vec<_> = inherited(&annotations).into_keys().collect();
        assert_eq!(labels, ["containerd.io/snapshot/overlay.x"]);
    }
}
