//! Manifests and indexes as far as holdings need them, remembered: a digest always names the same.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use berth_ids::Digest;

use crate::registry::{Descriptor, Document, Index, Manifest, media};
use crate::transfer::choose::choose;
use crate::transfer::{ImageStore, platform};

/// The most layers of an image: overlayfs takes no more, either.
pub const MAX_LAYERS: usize = 256;
/// The most entries of an index that are looked at, those for this machine before the others.
const MAX_ENTRIES: usize = 256;
/// How many digests are remembered, of all documents together: some 3 MB.
const REMEMBERED: usize = 32 << 10;

/// What a document says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A configuration and layers.
    Manifest {
        /// The configuration.
        config: Digest,
        /// The lowest first.
        layers: Vec<Digest>,
    },
    /// Documents, those for this machine first.
    Index {
        /// All of them.
        entries: Vec<Part>,
        /// So many are for this machine.
        ours: usize,
    },
    /// It is none, or has more than an image can have.
    Unreadable,
}

/// What an index or an image names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) digest: Digest,
    pub(super) kind: Kind,
}

/// What something is, as whoever names it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Manifest,
    Index,
    Other,
}

impl Kind {
    pub(super) fn of(media_type: &str) -> Self {
        if media::is_index(media_type) {
            Kind::Index
        } else if media::is_manifest(media_type) {
            Kind::Manifest
        } else {
            Kind::Other
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Kind::Index => media::OCI_INDEX,
            Kind::Manifest | Kind::Other => media::OCI_MANIFEST,
        }
    }
}

impl Parsed {
    /// Reads a document.
    pub(super) fn read(part: &Part, bytes: &[u8]) -> Self {
        let own = Descriptor::new(part.kind.media_type(), part.digest.clone(), bytes.len() as u64);
        match Document::parse(&own, bytes) {
            Ok(Document::Manifest(manifest)) => Self::manifest(*manifest),
            Ok(Document::Index(index)) => Self::index(&own, &index),
            Err(_) => Self::Unreadable,
        }
    }

    fn manifest(manifest: Manifest) -> Self {
        if manifest.layers.len() > MAX_LAYERS {
            return Self::Unreadable;
        }
        let layers = manifest.layers.into_iter().map(|layer| layer.digest).collect();
        Self::Manifest { config: manifest.config.digest, layers }
    }

    fn index(own: &Descriptor, index: &Index) -> Self {
        let (platforms, manifest_limit) = (vec![platform::host()], MAX_ENTRIES);
        let want = ImageStore { platforms, manifest_limit, ..ImageStore::default() };
        // An error says that none is for this machine.
        let chosen = choose(&want, own, index).unwrap_or_default();
        let part = |entry: &Descriptor| Part {
            digest: entry.digest.clone(),
            kind: Kind::of(&entry.media_type),
        };
        let documents = |part: &Part| part.kind != Kind::Other;
        let mut entries: Vec<Part> = chosen.iter().map(part).filter(documents).collect();
        let ours = entries.len();
        let seen: HashSet<&Digest> = chosen.iter().map(|entry| &entry.digest).collect();
        let others = index.manifests.iter().filter(|entry| !seen.contains(&entry.digest));
        entries.extend(others.map(part).take(MAX_ENTRIES.saturating_sub(ours)));
        Self::Index { entries, ours }
    }

    /// How many digests it keeps, its own among them.
    fn weight(&self) -> usize {
        match self {
            Parsed::Manifest { layers, .. } => layers.len() + 2,
            Parsed::Index { entries, .. } => entries.len() + 1,
            Parsed::Unreadable => 1,
        }
    }
}

type Key = (Digest, Kind);

/// What was read of late. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Documents(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    parsed: HashMap<Key, Arc<Parsed>>,
    /// The oldest first.
    order: VecDeque<Key>,
    weight: usize,
}

impl Documents {
    /// What a document says, if it was read before.
    pub(super) fn get(&self, part: &Part) -> Option<Arc<Parsed>> {
        let key = (part.digest.clone(), part.kind);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).parsed.get(&key).cloned()
    }

    /// Remembers what a document says, and forgets what was read first when that is too much.
    pub(super) fn put(&self, part: &Part, parsed: Arc<Parsed>) {
        self.put_within(REMEMBERED, part, parsed);
    }

    fn put_within(&self, most: usize, part: &Part, parsed: Arc<Parsed>) {
        let key = (part.digest.clone(), part.kind);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = parsed.weight();
        if kept.parsed.insert(key.clone(), parsed).is_some() {
            // Two looked at once, and read the same.
            return;
        }
        kept.order.push_back(key);
        kept.weight += weight;
        while kept.weight > most {
            let Some(oldest) = kept.order.pop_front() else { return };
            let gone = kept.parsed.remove(&oldest).map_or(0, |parsed| parsed.weight());
            kept.weight = kept.weight.saturating_sub(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::content::hash::sha256;

    fn part(name: &str, kind: Kind) -> Part {
        Part { digest: sha256(name.as_bytes()), kind }
    }

    fn entry(name: &str, architecture: &str) -> serde_json::Value {
        let platform = json!({"os": "linux", "architecture": architecture});
        let digest = sha256(name.as_bytes());
        json!({"mediaType": media::OCI_MANIFEST, "digest": digest, "size": 1, "platform": platform})
    }

    fn read(kind: Kind, document: &serde_json::Value) -> Parsed {
        Parsed::read(&part("own", kind), document.to_string().as_bytes())
    }

    #[test]
    fn entries_for_this_machine_come_first() {
        let ours = platform::host().architecture;
        let index = json!({"manifests": [entry("a", "s390x"), entry("b", &ours)]});
        let expected = [part("b", Kind::Manifest), part("a", Kind::Manifest)].to_vec();
        assert_eq!(read(Kind::Index, &index), Parsed::Index { entries: expected, ours: 1 });
        let strange = json!({"manifests": [entry("a", "s390x")]});
        let expected = [part("a", Kind::Manifest)].to_vec();
        assert_eq!(read(Kind::Index, &strange), Parsed::Index { entries: expected, ours: 0 });
    }

    #[test]
    fn documents_are_bounded() {
        let ours = platform::host().architecture;
        let many: Vec<_> = (0..1000).map(|n| entry(&n.to_string(), &ours)).collect();
        let parsed = read(Kind::Index, &json!({"manifests": many}));
        let Parsed::Index { entries, ours } = parsed else { panic!("an index") };
        assert_eq!((entries.len(), ours), (MAX_ENTRIES, MAX_ENTRIES));
        let layers = |n: usize| {
            let layers: Vec<_> = (0..n).map(|n| entry(&n.to_string(), "")).collect();
            read(Kind::Manifest, &json!({"config": entry("c", ""), "layers": layers}))
        };
        assert_eq!(layers(MAX_LAYERS).weight(), MAX_LAYERS + 2);
        assert_eq!(layers(MAX_LAYERS + 1), Parsed::Unreadable);
        for text in ["", "{", "[]", "null", "{\"manifests\":3}", "{\"config\":{}}"] {
            for kind in [Kind::Index, Kind::Manifest, Kind::Other] {
                let parsed = Parsed::read(&part("own", kind), text.as_bytes());
                assert_eq!(parsed, Parsed::Unreadable, "{text} as {kind:?}");
            }
        }
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let documents = Documents::default();
        let put = |name: &str| {
            let entries = vec![part("x", Kind::Manifest); 3];
            let parsed = Arc::new(Parsed::Index { entries, ours: 0 });
            documents.put_within(10, &part(name, Kind::Index), parsed);
        };
        let there = |name: &str| documents.get(&part(name, Kind::Index)).is_some();
        put("a");
        put("b");
        put("b");
        assert!(there("a") && there("b"));
        put("c");
        assert!(!there("a") && there("b") && there("c"));
        assert!(documents.get(&part("b", Kind::Manifest)).is_none(), "it may say another thing");
    }
}
