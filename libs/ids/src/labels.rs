//! containerd's `labels` package: free key and value pairs of bounded size.

use std::collections::BTreeMap;

use crate::Error;

/// Labels of an object. Sorted, so that two equal sets print alike.
pub type Labels = BTreeMap<String, String>;

/// The most that a label's key and value may take together, in bytes.
pub const MAX_LABEL: usize = 4096;
/// The most of a key that an error shows, in bytes.
const SHOWN: usize = 64;

/// Checks one label's size.
///
/// # Errors
/// [`Error::LongLabel`].
pub fn validate_label(key: &str, value: &str) -> Result<(), Error> {
    let length = key.len() + value.len();
    if length <= MAX_LABEL {
        return Ok(());
    }
    let shown = &key[..key.floor_char_boundary(SHOWN)];
    Err(Error::LongLabel { key: shown.to_owned(), length })
}

/// Checks every label of a set.
///
/// # Errors
/// [`Error::LongLabel`] for the first that is too long.
pub fn validate_labels(labels: &Labels) -> Result<(), Error> {
    labels.iter().try_for_each(|(key, value)| validate_label(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_on_key_and_value_together() {
        assert_eq!(validate_label("k", &"v".repeat(4095)), Ok(()));
        let long = Error::LongLabel { key: "k".into(), length: 4097 };
        assert_eq!(validate_label("k", &"v".repeat(4096)), Err(long));
        let cut = Error::LongLabel { key: "k".repeat(64), length: 4097 };
        assert_eq!(validate_label(&"k".repeat(4097), ""), Err(cut));
    }
}
