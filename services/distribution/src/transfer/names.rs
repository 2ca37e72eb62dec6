//! The names that a transferred object gets: containerd's rules for its image store.

use std::time::SystemTime;

use berth_ids::Labels;

use super::annotations::{IMAGE_NAME, REF_NAME};
use super::error::Error;
use super::request::{ExtraReference, ImageStore};
use crate::registry::Descriptor;

/// Names and labels of the images to make of the object that was transferred.
pub fn of_target(want: &ImageStore, target: &Descriptor) -> Result<Vec<(String, Labels)>, Error> {
    let mut names = Vec::new();
    if !want.name.is_empty() {
        names.push((want.name.clone(), want.labels.clone()));
    }
    for extra in &want.extra {
        match (extra.is_prefix, extra.add_digest) {
            // A prefix alone is no name.
            (true, false) => {}
            (_, true) => {
                names.push((format!("{}@{}", extra.name, target.digest), extra_labels(want)));
            }
            (false, false) => names.push((extra.name.clone(), extra_labels(want))),
        }
    }
    if names.is_empty() { Err(Error::NoName) } else { Ok(names) }
}

/// Names and labels of the images to make of one entry of an archive's index.
pub fn of_entry(want: &ImageStore, entry: &Descriptor) -> Vec<(String, Labels)> {
    let mut names = Vec::new();
    for extra in want.extra.iter().filter(|extra| extra.is_prefix) {
        let found = annotated(entry, extra);
        let digested = extra.add_digest && (found.is_none() || !extra.skip_named_digest);
        names.extend(found.map(|name| (name, extra_labels(want))));
        if digested {
            names.push((format!("{}@{}", extra.name, entry.digest), extra_labels(want)));
        }
    }
    names
}

/// The name that the entry's annotations give under this prefix.
fn annotated(entry: &Descriptor, extra: &ExtraReference) -> Option<String> {
    let get = |key: &str| entry.annotations.get(key).filter(|name| !name.is_empty());
    match get(IMAGE_NAME) {
        // A whole name is taken as it is or not at all.
        Some(name) => translate(name, extra).filter(|same| same == name),
        None => translate(get(REF_NAME)?, extra),
    }
}

fn translate(name: &str, extra: &ExtraReference) -> Option<String> {
    if extra.name.is_empty() {
        return None;
    }
    if !name.contains(['/', ':', '@']) {
        return Some(format!("{}:{name}", extra.name));
    }
    let below = |rest: &str| rest.is_empty() || rest.starts_with(['/', ':', '@']);
    let prefixed = name.strip_prefix(&extra.name).is_some_and(below);
    (extra.allow_overwrite || prefixed).then(|| name.to_owned())
}

/// Further names go when the first one does.
fn extra_labels(want: &ImageStore) -> Labels {
    let mut labels = want.labels.clone();
    if !want.name.is_empty() {
        let now = time::OffsetDateTime::from(SystemTime::now());
        let now = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        labels.insert("containerd.io/gc.bref.image".to_owned(), want.name.clone());
        labels.insert("containerd.io/gc.expire".to_owned(), now);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::hash::sha256;

    fn entry(annotations: &[(&str, &str)]) -> Descriptor {
        let mut entry = Descriptor::new("m", sha256(b"m"), 1);
        entry.annotations =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        entry
    }

    fn prefix(name: &str, allow_overwrite: bool, add_digest: bool) -> ImageStore {
        let extra = ExtraReference {
            name: name.into(),
            is_prefix: true,
            allow_overwrite,
            add_digest,
            ..ExtraReference::default()
        };
        ImageStore { extra: vec![extra], ..ImageStore::default() }
    }

    fn names(want: &ImageStore, entry: &Descriptor) -> Vec<String> {
        of_entry(want, entry).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn entries_are_named_by_their_annotations() {
        let whole = entry(&[(IMAGE_NAME, "h/other:1"), (REF_NAME, "1")]);
        assert_eq!(names(&prefix("h/x", true, false), &whole), ["h/other:1"]);
        assert_eq!(names(&prefix("h/x", false, false), &whole), [""; 0]);
        let tag = entry(&[(REF_NAME, "v1")]);
        assert_eq!(names(&prefix("h/x", false, false), &tag), ["h/x:v1"]);
        assert_eq!(names(&prefix("h/x", false, true), &tag).len(), 2);
        let bare = entry(&[]);
        assert_eq!(names(&prefix("h/x", false, true), &bare), [format!("h/x@{}", bare.digest)]);
        let near = entry(&[(IMAGE_NAME, "h/xy:1")]);
        assert_eq!(names(&prefix("h/x", false, false), &near), [""; 0]);
    }

    #[test]
    fn a_target_needs_a_name() {
        assert!(matches!(of_target(&ImageStore::default(), &entry(&[])), Err(Error::NoName)));
        let mut want = prefix("h/x", false, true);
        want.name = "h/x:1".into();
        let names = of_target(&want, &entry(&[])).unwrap();
        assert_eq!(names[0].0, "h/x:1");
        assert_eq!(names[1].1["containerd.io/gc.bref.image"], "h/x:1");
    }
}
