//! Field masks of update calls, with containerd's rules.
//!
//! No mask, or an empty one, means every field that can be updated. `labels` replaces all labels,
//! `labels.KEY` (the key may contain dots) only one. A label with an empty value is removed.

use berth_ids::Labels;
use prost_types::FieldMask;

use crate::Error;

/// What an update call may touch.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    paths: Vec<String>,
}

impl Mask {
    /// The mask of a call, checked: each path is one of `fields`, or below one of `maps`.
    ///
    /// # Errors
    /// [`Error::Mask`] for the first path that is neither; `object` says what was to be updated,
    /// for instance `image "x"`.
    pub fn new(
        mask: Option<FieldMask>,
        fields: &[&str],
        maps: &[&str],
        object: impl FnOnce() -> String,
    ) -> Result<Self, Error> {
        let paths = mask.unwrap_or_default().paths;
        let known = |path: &str| {
            fields.contains(&path)
                || maps.iter().any(|map| path == *map || key_below(path, map).is_some())
        };
        match paths.iter().find(|path| !known(path)) {
            Some(field) => Err(Error::Mask { field: field.clone(), object: object() }),
            None => Ok(Self { paths }),
        }
    }

    /// Whether no path was given, so that everything is to be updated.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether the whole field is to be updated.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.is_all() || self.paths.iter().any(|path| path == field)
    }

    /// Brings a map of text up to date: `field` names the map, `new` holds the call's values.
    pub fn merge(&self, field: &str, current: &mut Labels, new: &Labels) {
        if self.has(field) {
            current.clone_from(new);
        } else {
            for key in self.keys(field) {
                current.insert(key.to_owned(), new.get(key).cloned().unwrap_or_default());
            }
        }
        current.retain(|_, value| !value.is_empty());
    }

    /// The keys of a map field that the mask names one by one.
    pub fn keys(&self, field: &str) -> impl Iterator<Item = &str> {
        self.paths.iter().filter_map(move |path| key_below(path, field))
    }
}

fn key_below<'a>(path: &'a str, map: &str) -> Option<&'a str> {
    path.strip_prefix(map)?.strip_prefix('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn mask(paths: &[&str]) -> Result<Mask, Error> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Mask::new(Some(FieldMask { paths }), &["target"], &["labels"], || "image \"x\"".into())
    }

    #[test]
    fn one_label_is_set_and_another_removed() {
        let mask = mask(&["labels.a.b/c", "labels.gone"]).unwrap();
        let mut current = labels(&[("gone", "1"), ("kept", "1"), ("a.b/c", "old")]);
        mask.merge("labels", &mut current, &labels(&[("a.b/c", "new"), ("kept", "2")]));
        assert_eq!(current, labels(&[("a.b/c", "new"), ("kept", "1")]));
        assert!(!mask.has("target") && !mask.has("labels"));
    }

    #[test]
    fn a_path_without_a_key_is_of_the_label_without_one() {
        let mask = mask(&["labels."]).unwrap();
        let mut current = labels(&[("", "old"), ("kept", "1")]);
        mask.merge("labels", &mut current, &labels(&[("", "new"), ("kept", "2")]));
        assert_eq!(current, labels(&[("", "new"), ("kept", "1")]));
        mask.merge("labels", &mut current, &labels(&[]));
        assert_eq!(current, labels(&[("kept", "1")]));
    }

    #[test]
    fn no_mask_replaces_everything() {
        let mask = Mask::new(None, &["target"], &["labels"], String::new).unwrap();
        let mut current = labels(&[("old", "1")]);
        mask.merge("labels", &mut current, &labels(&[("new", "1"), ("empty", "")]));
        assert_eq!(current, labels(&[("new", "1")]));
        assert!(mask.has("target"));
    }

    #[test]
    fn a_field_that_cannot_be_updated_is_named() {
        let error = mask(&["target", "name"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot update \"name\" field on image \"x\": invalid argument"
        );
        assert!(mask(&["labels"]).is_ok() && mask(&["labelsx"]).is_err());
    }
}
