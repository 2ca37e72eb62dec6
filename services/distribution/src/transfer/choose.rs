//! Which of an index's entries are wanted.

use std::collections::HashSet;

use super::error::Error;
use super::platform;
use super::request::ImageStore;
use crate::registry::{Descriptor, Index, Platform};

/// The entries to transfer, most wanted first: for each machine wanted those that fit it best, then
/// those that are for no machine in particular. Without a machine wanted, all.
pub fn choose(
    want: &ImageStore,
    own: &Descriptor,
    index: &Index,
) -> Result<Vec<Descriptor>, Error> {
    let limit = if want.manifest_limit == 0 { usize::MAX } else { want.manifest_limit };
    if want.platforms.is_empty() {
        return Ok(index.manifests.iter().take(limit).cloned().collect());
    }
    let entries = || index.manifests.iter().enumerate();
    let mut chosen: Vec<usize> = Vec::new();
    for wanted in &want.platforms {
        let rank = |entry: &Descriptor| platform::rank(wanted, entry.platform.as_ref()?);
        let ranked: Vec<_> = entries().filter_map(|(at, entry)| Some((rank(entry)?, at))).collect();
        let best = ranked.iter().map(|(rank, _)| *rank).min();
        chosen.extend(ranked.iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, at)| *at));
    }
    chosen.extend(entries().filter(|(_, entry)| entry.platform.is_none()).map(|(at, _)| at));
    let mut seen = HashSet::new();
    chosen.retain(|at| seen.insert(*at));
    chosen.truncate(limit);
    if chosen.is_empty() && !index.manifests.is_empty() {
        return Err(Error::NoPlatform {
            index: own.digest.clone(),
            wanted: list(want.platforms.iter()),
            offered: list(index.manifests.iter().filter_map(|entry| entry.platform.as_ref())),
        });
    }
    Ok(chosen.into_iter().map(|at| index.manifests[at].clone()).collect())
}

fn list<'a>(platforms: impl Iterator<Item = &'a Platform>) -> String {
    platforms.map(platform::format).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::hash::sha256;
    use crate::registry::media;

    fn entry(architecture: &str, variant: &str) -> Descriptor {
        let name = format!("{architecture}{variant}");
        let mut entry = Descriptor::new(media::OCI_MANIFEST, sha256(name.as_bytes()), 1);
        entry.platform = (!architecture.is_empty()).then(|| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: (!variant.is_empty()).then(|| variant.to_owned()),
            ..Platform::default()
        });
        entry
    }

    fn chosen(wanted: &str, entries: &[Descriptor]) -> Result<Vec<Descriptor>, Error> {
        limited(wanted, entries, 0)
    }

    fn limited(
        wanted: &str,
        entries: &[Descriptor],
        manifest_limit: usize,
    ) -> Result<Vec<Descriptor>, Error> {
        let index = Index { schema_version: 2, media_type: None, manifests: entries.to_vec() };
        let platforms = wanted.split(' ').filter(|w| !w.is_empty());
        let platforms = platforms.map(|w| entry(w, "").platform.unwrap()).collect();
        let want = ImageStore { platforms, manifest_limit, ..ImageStore::default() };
        choose(&want, &entry("", ""), &index)
    }

    #[test]
    fn the_best_entry_of_each_machine_is_chosen() {
        let entries =
            [entry("386", ""), entry("amd64", "v3"), entry("amd64", ""), entry("arm64", "v8")];
        assert_eq!(chosen("amd64", &entries).unwrap(), entries[2..3]);
        assert_eq!(chosen("amd64 arm64", &entries).unwrap(), entries[2..4]);
        assert_eq!(chosen("", &entries).unwrap(), entries);
        assert_eq!(chosen("amd64", &entries[..2]).unwrap(), entries[..1]);
        let error = chosen("s390x", &entries).unwrap_err().to_string();
        assert!(error.contains("linux/s390x, only for linux/386, linux/amd64/v3"), "{error}");
        assert_eq!(chosen("s390x", &[entry("", "")]).unwrap().len(), 1);
    }

    #[test]
    fn all_that_fit_alike_are_chosen_the_most_wanted_first() {
        let twice = [entry("amd64", ""), entry("arm64", ""), entry("", ""), entry("amd64", "v1")];
        let (amd64, arm64, general, again) = (&twice[0], &twice[1], &twice[2], &twice[3]);
        let all =
            |found: Vec<Descriptor>| found.iter().map(|d| d.digest.clone()).collect::<Vec<_>>();
        let of =
            |wanted: &[&Descriptor]| wanted.iter().map(|d| d.digest.clone()).collect::<Vec<_>>();
        let amd = all(chosen("amd64", &twice).unwrap());
        assert_eq!(amd, of(&[amd64, again, general]));
        let both = chosen("arm64 amd64", &twice).unwrap();
        assert_eq!(all(both), of(&[arm64, amd64, again, general]));
        assert_eq!(all(limited("arm64 amd64", &twice, 1).unwrap()), of(&[arm64]));
        assert_eq!(all(limited("", &twice, 2).unwrap()), of(&[amd64, arm64]));
    }
}
