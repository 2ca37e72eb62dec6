//! The files of blobs and ingests, and when they are durable.
//!
//! Layout below the service's root: `blobs/ALGORITHM/HEX`, `ingest/ID/data`, `ingest/ID/ingest.json`.
//! Every function here blocks; callers are on blocking threads.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use berth_ids::{Algorithm, Digest};
use berth_store::failpoint;
use bytes::Bytes;

use crate::error::{Error, Result};

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Makes the folders that are missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self> {
        let files = Self { root: root.to_owned() };
        let ingests = files.ingests();
        if ingests.exists() {
            return Ok(files);
        }
        for folder in Self::folders(root) {
            fs_err::create_dir_all(&folder).map_err(Error::io("create folder", &folder))?;
        }
        sync_folder(&root.join("blobs"))?;
        sync_folder(root)?;
        failpoint::file("content folders", "made");
        // Last: where it is, the others are durable.
        fs_err::create_dir_all(&ingests).map_err(Error::io("create folder", &ingests))?;
        Ok(files)
    }

    /// The folders of blobs below the service's `root`.
    pub fn folders(root: &Path) -> impl Iterator<Item = PathBuf> {
        let blobs = root.join("blobs");
        [Algorithm::Sha256, Algorithm::Sha512].map(|one| blobs.join(one.name())).into_iter()
    }

    /// The folder of ingests.
    #[must_use]
    pub fn ingests(&self) -> PathBuf {
        self.root.join("ingest")
    }

    /// The folder of the blobs of an algorithm.
    pub(crate) fn folder(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    /// The file of a blob.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder(digest.algorithm()).join(digest.hex())
    }

    /// Opens a blob and checks that it is as long as recorded.
    ///
    /// # Errors
    /// [`Error::ShortBlob`] when it is missing or has another size, [`Error::Io`].
    pub fn open_blob(&self, digest: &Digest, size: u64) -> Result<File> {
        let path = self.blob(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::ShortBlob { digest: digest.clone(), at: 0, size });
            }
            Err(error) => return Err(Error::io("open blob", &path)(error)),
        };
        let at = file.metadata().map_err(Error::io("stat blob", &path))?.len();
        if at == size {
            Ok(file)
        } else {
            Err(Error::ShortBlob { digest: digest.clone(), at, size })
        }
    }

    /// Makes a finished data file the blob's file. Durable when this returns. The caller holds the
    /// blob's lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn promote(&self, data: &Path, file: &File, digest: &Digest) -> Result<()> {
        let blob = self.blob(digest);
        let rename = || fs_err::rename(data, &blob).map_err(Error::io("commit blob", &blob));
        let sync = || file.sync_all().map_err(Error::io("sync ingest", data));
        if blob.exists() {
            // Another namespace's: only bytes that are durable too may take its place.
            sync()?;
            failpoint::file("blob again", "flushed");
            rename()?;
            failpoint::file("blob again", "named");
        } else {
            // The name first: journals then take it along when the bytes are flushed, and what is
            // left to do for the folder is little. A crash in between leaves a file that no record
            // names.
            rename()?;
            failpoint::file("blob", "named");
            if let Err(error) = sync() {
                fs_err::rename(&blob, data).map_err(Error::io("take back blob", &blob))?;
                return Err(error);
            }
            failpoint::file("blob", "flushed");
        }
        sync_folder(&self.folder(digest.algorithm()))?;
        failpoint::file("blob", "placed");
        Ok(())
    }

    /// Deletes a blob's file; it is harmless when there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("delete blob", &path)(error))
            }
            _ => {
                failpoint::file("blob", "removed");
                Ok(())
            }
        }
    }

    /// Every blob that has a file. Names that are no digest are left alone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list_blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.folder(algorithm);
            let entries = fs_err::read_dir(&folder).map_err(Error::io("list blobs in", &folder))?;
            for entry in entries {
                let entry = entry.map_err(Error::io("list blobs in", &folder))?;
                let name = entry.file_name();
                let text = format!("{}:{}", algorithm.name(), name.to_string_lossy());
                found.extend(text.parse::<Digest>());
            }
        }
        Ok(found)
    }
}

/// Reads `length` bytes at `offset`, without moving the file's position.
///
/// # Errors
/// Those of the system; `UnexpectedEof` when the file is shorter.
pub fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let at = offset + buffer.len() as u64;
        let count =
            rustix::io::pread(file.as_fd(), rustix::buffer::spare_capacity(&mut buffer), at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // The vector may have room for more than was asked for.
    buffer.truncate(length);
    Ok(buffer.into())
}

/// Writes all bytes at `offset`.
///
/// # Errors
/// Those of the system.
pub fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_folder(path: &Path) -> Result<()> {
    let folder = File::open(path).map_err(Error::io("open folder", path))?;
    folder.sync_all().map_err(Error::io("sync folder", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::hash::sha256;

    #[test]
    fn a_promoted_file_is_listed_read_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::open(root.path()).unwrap();
        let digest = sha256(b"hello");
        let data = files.ingests().join("data");
        fs_err::write(&data, b"hello").unwrap();
        files.promote(&data, &File::open(&data).unwrap(), &digest).unwrap();
        assert_eq!(files.list_blobs().unwrap(), std::slice::from_ref(&digest));
        let file = files.open_blob(&digest, 5).unwrap();
        assert_eq!(read_at(&file, 1, 3).unwrap(), "ell");
        assert!(read_at(&file, 3, 3).is_err());
        assert!(matches!(files.open_blob(&digest, 6), Err(Error::ShortBlob { at: 5, .. })));
        files.remove_blob(&digest).unwrap();
        files.remove_blob(&digest).unwrap();
        assert!(matches!(files.open_blob(&digest, 5), Err(Error::ShortBlob { at: 0, .. })));
    }

    #[test]
    fn a_failed_flush_leaves_both_files_where_they_were() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::open(root.path()).unwrap();
        let digest = sha256(b"hello");
        let data = files.ingests().join("data");
        // The kernel flushes no device of this kind: as a disk that fails.
        let unwilling = File::open("/dev/null").unwrap();
        for others in [false, true] {
            if others {
                fs_err::write(files.blob(&digest), b"hello").unwrap();
            }
            fs_err::write(&data, b"hello").unwrap();
            files.promote(&data, &unwilling, &digest).unwrap_err();
            assert!(data.exists());
            assert_eq!(files.blob(&digest).exists(), others);
        }
        files.promote(&data, &File::open(&data).unwrap(), &digest).unwrap();
        assert!(!data.exists() && files.blob(&digest).exists());
    }
}
