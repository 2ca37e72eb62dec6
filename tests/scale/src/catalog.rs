//! The images that there are in a simulated cluster, out of which each node holds some.

use std::collections::BTreeSet;

use berth_cluster::keys::{Held, Kind};
use berth_cluster::objects::Image;
use berth_ids::{Algorithm, Digest};

use crate::chance::Chance;

/// The namespace of everything.
pub const NAMESPACE: &str = "k8s.io";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const HOSTS: [&str; 5] = [
    "docker.io/library",
    "registry.k8s.io",
    "quay.io/platform",
    "ghcr.io/example-org",
    "registry.example.com:5000/team-payments",
];
const WORDS: [&str; 16] = [
    "api", "gateway", "billing", "checkout", "search", "indexer", "worker", "cache", "proxy",
    "metrics", "agent", "frontend", "ledger", "mailer", "reports", "session",
];

/// An image by its name.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub held: Held,
    /// As a node holds it that has all of it.
    pub image: Image,
}

/// All images.
#[derive(Clone, Debug)]
pub struct Catalog {
    images: Vec<Named>,
}

impl Catalog {
    /// So many images, of 5 to 12 layers each; the lower ones are those of a few bases.
    ///
    /// # Errors
    /// When a name cannot be a key.
    pub fn new(seed: u64, count: usize) -> anyhow::Result<Self> {
        let mut chance = Chance::new(seed, u64::MAX);
        let bases = (0..24).map(|_| {
            let layers = 1 + chance.below(4);
            layer_digests(&mut chance, layers)
        });
        let bases = bases.collect::<anyhow::Result<Vec<_>>>()?;
        let images = (0..count).map(|number| named(&mut chance, number, &bases));
        Ok(Self { images: images.collect::<anyhow::Result<_>>()? })
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: usize) -> &Named {
        &self.images[index]
    }

    /// The index of a name.
    #[must_use]
    pub fn find(&self, held: &Held) -> Option<usize> {
        // The number of an image is the last part of its name's path.
        let number = held.name.split_once(":v").and_then(|(path, _)| path.rsplit_once('-'));
        let index: usize = number?.1.parse().ok()?;
        self.images.get(index).filter(|named| named.held == *held).map(|_| index)
    }

    /// One that `held` has not, if there is any.
    pub fn other(&self, chance: &mut Chance, held: &BTreeSet<usize>) -> Option<usize> {
        if held.len() >= self.images.len() {
            return None;
        }
        loop {
            let index = chance.below(self.images.len());
            if !held.contains(&index) {
                return Some(index);
            }
        }
    }
}

fn layer_digests(chance: &mut Chance, count: usize) -> anyhow::Result<Vec<Digest>> {
    let digest = |_| Digest::of_hash(Algorithm::Sha256, &chance.bytes::<32>());
    Ok((0..count).map(digest).collect::<Result<_, _>>()?)
}

fn named(chance: &mut Chance, number: usize, bases: &[Vec<Digest>]) -> anyhow::Result<Named> {
    let (host, first, second) =
        (chance.one_of(&HOSTS), chance.one_of(&WORDS), chance.one_of(&WORDS));
    let (minor, patch) = (chance.below(40), chance.below(20));
    let name = format!("{host}/{first}-{second}-{number}:v1.{minor}.{patch}");
    let mut layers = chance.one_of(bases).clone();
    let count = 5 + chance.below(8);
    let own = layer_digests(chance, count - layers.len())?;
    layers.extend(own);
    let media_type = if chance.below(3) == 0 { MANIFEST } else { INDEX };
    let image = Image {
        digest: Digest::of_hash(Algorithm::Sha256, &chance.bytes::<32>())?,
        media_type: media_type.into(),
        size: (20 << 20) + chance.below(900 << 20) as u64,
        complete: true,
        layers,
        missing: Vec::new(),
    };
    Ok(Named { held: Held::new(Kind::Images, NAMESPACE, &name)?, image })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_their_names_and_have_the_layers_of_images() {
        let catalog = Catalog::new(1, 400).unwrap();
        for index in 0..400 {
            let Named { held, image } = catalog.get(index);
            assert_eq!(catalog.find(held), Some(index), "{held:?}");
            assert!((5..=12).contains(&image.layers.len()), "{image:?}");
        }
        let stranger = Held::new(Kind::Images, NAMESPACE, "docker.io/library/a-b-3:v0").unwrap();
        assert_eq!(catalog.find(&stranger), None);
    }
}
