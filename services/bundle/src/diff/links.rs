//! Files with several names, in a layer that is being written.

use std::collections::{HashMap, HashSet};

use rustix::fs::{FileType, Stat};

type Identity = (u64, u64);

/// Which names belong to one file, before and now.
#[derive(Default)]
pub(super) struct Links {
    /// The first name written of each file with several.
    first: HashMap<Identity, Vec<u8>>,
    /// Names with nothing changed, by file.
    unchanged: HashMap<Identity, Vec<Vec<u8>>>,
    /// Which file was which before, of those that seemed unchanged.
    now_of: HashMap<Identity, Identity>,
    before_of: HashMap<Identity, Identity>,
    /// Directories that are written.
    directories: HashSet<Vec<u8>>,
}

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

impl Links {
    /// Whether two names of which nothing else has changed belong to the same file before and
    /// now, as far as other names have shown.
    pub(super) fn agree(&mut self, before: &Stat, now: &Stat) -> bool {
        if is_directory(now) || (before.st_nlink < 2 && now.st_nlink < 2) {
            return true;
        }
        let (before, now) = (identity(before), identity(now));
        match (self.now_of.get(&before), self.before_of.get(&now)) {
            (None, None) => {
                self.now_of.insert(before, now);
                self.before_of.insert(now, before);
                true
            }
            (known_now, known_before) => known_now == Some(&now) && known_before == Some(&before),
        }
    }

    /// Remembers an unchanged name.
    pub(super) fn unchanged(&mut self, stat: &Stat, path: &[u8]) {
        if stat.st_nlink > 1 {
            self.unchanged.entry(identity(stat)).or_default().push(path.to_vec());
        }
    }

    /// Notes that a name is being written. Answers the file's name that is written already.
    pub(super) fn write(&mut self, stat: &Stat, path: &[u8]) -> Option<Vec<u8>> {
        if is_directory(stat) {
            self.directories.insert(path.to_vec());
        } else if stat.st_nlink > 1 {
            match self.first.get(&identity(stat)) {
                Some(first) => return Some(first.clone()),
                None => drop(self.first.insert(identity(stat), path.to_vec())),
            }
        }
        None
    }

    /// Whether a directory is written.
    pub(super) fn is_written(&self, directory: &[u8]) -> bool {
        self.directories.contains(directory)
    }

    /// Unchanged names of files that are written under another name, in order.
    pub(super) fn missing(&mut self) -> Vec<Vec<u8>> {
        let unchanged = std::mem::take(&mut self.unchanged).into_iter();
        let written = unchanged.filter(|(file, _)| self.first.contains_key(file));
        let mut names: Vec<_> = written.flat_map(|(_, names)| names).collect();
        names.sort();
        names
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
