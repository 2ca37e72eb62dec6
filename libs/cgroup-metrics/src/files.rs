//! Values in the files of a control group. A file that is not there, because the kernel or the
//! controller is not, counts as empty.

use std::path::Path;

/// A file's text.
pub(super) fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// A number; the largest one for `max`.
pub(super) fn number(folder: &Path, name: &str) -> u64 {
    parse(text(folder, name).trim())
}

/// A number that may be `max`.
pub(super) fn parse(word: &str) -> u64 {
    match word {
        "max" => u64::MAX,
        word => word.parse().unwrap_or(0),
    }
}

/// Lines of `key value`.
#[derive(Debug)]
pub struct Pairs(String);

impl Pairs {
    /// Those of a file; none where there is no such file.
    #[must_use]
    pub fn read(folder: &Path, name: &str) -> Pairs {
        Pairs(text(folder, name))
    }

    /// A value; 0 for a key that is not there.
    #[must_use]
    pub fn get(&self, key: &str) -> u64 {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(known, _)| *known == key).map_or(0, |(_, value)| parse(value.trim()))
    }
}

/// `major:minor`.
pub(super) fn device(word: &str) -> Option<(u64, u64)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
