//! Which entries are let in: the bounds of a layer, and names that stay in it.

use super::Extraction;
use crate::Error;
use crate::layer::path::EntryPath;
use crate::layer::tar::{Entry, Kind};

impl Extraction<'_> {
    /// Checks an entry's bounds and its name.
    pub(super) fn admit(&mut self, entry: &Entry) -> Result<EntryPath, Error> {
        let limits = self.target.limits;
        self.current = String::from_utf8_lossy(&entry.name).into_owned();
        self.entries += 1;
        if self.entries > limits.entries {
            return Err(self.beyond(limits.entries, "entries"));
        }
        if matches!(entry.kind, Kind::Character | Kind::Block) {
            self.devices += 1;
            if self.devices > limits.devices {
                return Err(self.beyond(limits.devices, "devices"));
            }
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > limits.bytes {
            return Err(self.beyond(limits.bytes, "bytes of files"));
        }
        if entry.name.contains(&0) {
            return Err(self.hostile("its name has a NUL byte"));
        }
        if self.memory + self.root.memory + self.unpacked.memory() > limits.memory {
            let what = "bytes of memory for names and attributes of directories";
            return Err(self.beyond(limits.memory, what));
        }
        let path = EntryPath::new(&entry.name)
            .ok_or_else(|| self.hostile("its name leads out of the layer"))?;
        self.check(&path)?;
        Ok(path)
    }

    /// Checks the length and depth of a path.
    pub(super) fn check(&self, path: &EntryPath) -> Result<(), Error> {
        let limits = self.target.limits;
        if path.as_bytes().len() > limits.path {
            return Err(self.beyond(limits.path as u64, "bytes of a path"));
        }
        if path.depth() > limits.depth {
            return Err(self.beyond(limits.depth as u64, "directories on a path"));
        }
        Ok(())
    }
}
