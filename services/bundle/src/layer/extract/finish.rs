//! What is done once all entries are there: attributes and times of directories.

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Extraction;
use crate::Error;

impl Extraction<'_> {
    /// Gives directories their attributes.
    pub(in crate::layer) fn finish(mut self) -> Result<(u64, Vec<Vec<u8>>), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directories = std::mem::take(&mut self.directories);
        let mut implied = std::mem::take(&mut self.root.implied);
        implied.push(Vec::new());
        implied.retain(|path| !directories.contains_key(path));
        implied.sort();
        implied.dedup();
        // Before attributes are set: a directory's own mode may forbid to enter it.
        for (path, times) in self.root.take_times() {
            if directories.contains_key(&path) || is_new(&implied, &path) {
                continue;
            }
            let directory = self.root.open_by_name(&path, flags);
            let set = directory.and_then(|directory| rustix::fs::futimens(directory, &times));
            match set {
                // Removed or replaced by this layer since.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => {
                    self.current = String::from_utf8_lossy(&path).into_owned();
                    return Err(self.failed(("set the directory's times back", errno)));
                }
            }
        }
        // Deepest first.
        for (path, attributes) in directories.iter().rev() {
            let directory = self.root.open_by_name(path, flags);
            if let Err(errno) = directory.and_then(|fd| attributes.apply(fd, None)) {
                self.current = String::from_utf8_lossy(path).into_owned();
                return Err(self.failed(("set the directory's attributes", errno)));
            }
        }
        Ok((self.entries, implied))
    }
}

/// Whether this layer has made the directory. The root it has not, implied as it is.
fn is_new(implied: &[Vec<u8>], path: &Vec<u8>) -> bool {
    !path.is_empty() && implied.binary_search(path).is_ok()
}
