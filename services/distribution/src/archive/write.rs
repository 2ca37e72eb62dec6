//! Writes an archive: an OCI layout, with docker's list beside it.

use std::fs::File;
use std::io::{self, Read, Write};

use berth_ids::Digest;
use bytes::Bytes;
use serde::Serialize;

use super::Error;
use crate::content::hash::Hasher;

/// Where an entry's bytes are.
pub enum Source {
    /// At hand.
    Bytes(Bytes),
    /// In a blob.
    Blob(Digest, File),
    /// It is a folder.
    Folder,
}

/// One entry.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its permissions.
    pub mode: u32,
    /// Its size.
    pub size: u64,
    /// Its bytes.
    pub source: Source,
}

/// Writes the entries sorted by name, each name once.
///
/// # Errors
/// [`Error::Write`]; [`Error::Damaged`] when a blob is not what its name says.
pub fn write(mut entries: Vec<Entry>, to: impl Write) -> Result<(), Error> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.dedup_by(|a, b| a.name == b.name);
    let mut builder = tar::Builder::new(to);
    for entry in entries {
        append(&mut builder, entry)?;
    }
    builder.into_inner().and_then(|mut to| to.flush()).map_err(Error::Write)
}

/// Passes an archive on as it is, whatever is in it.
///
/// # Errors
/// [`Error::Read`], [`Error::Write`].
pub fn copy(mut from: impl Read, mut to: impl Write) -> Result<(), Error> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).map_err(Error::Read)?;
        if count == 0 {
            return to.flush().map_err(Error::Write);
        }
        to.write_all(&buffer[..count]).map_err(Error::Write)?;
    }
}

/// A document as text, its keys in the order in which the specification has them: equal images make equal
/// archives, here and with containerd.
///
/// # Errors
/// [`Error::Write`].
pub fn json(document: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(document).map_err(|error| Error::Write(error.into()))
}

fn append(builder: &mut tar::Builder<impl Write>, entry: Entry) -> Result<(), Error> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_size(entry.size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let name = entry.name;
    let done = match entry.source {
        Source::Bytes(bytes) => builder.append_data(&mut header, name, &bytes[..]),
        Source::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, name, io::empty())
        }
        Source::Blob(expected, file) => {
            let hasher = Hasher::new(expected.algorithm());
            let mut reader = Hashing { inner: file.take(entry.size), hasher };
            builder.append_data(&mut header, name, &mut reader).map_err(Error::Write)?;
            let actual = reader.hasher.digest();
            if actual != expected {
                return Err(Error::Damaged { expected, actual });
            }
            Ok(())
        }
    };
    done.map_err(Error::Write)
}

struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::hash::sha256;

    fn blob(named: &[u8], bytes: &[u8]) -> Entry {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let source = Source::Blob(sha256(named), file);
        Entry { name: "blobs/sha256/x".into(), mode: 0o444, size: bytes.len() as u64, source }
    }

    #[test]
    fn entries_are_sorted_and_checked() {
        let bytes = |name: &str| Entry {
            name: name.into(),
            mode: 0o644,
            size: 2,
            source: Source::Bytes("hi".into()),
        };
        let folder = Entry { name: "blobs/".into(), mode: 0o755, size: 0, source: Source::Folder };
        let (layout, index) = (bytes("oci-layout"), bytes("index.json"));
        let mut out = Vec::new();
        write(vec![layout, index, folder, blob(b"x", b"x"), blob(b"x", b"x")], &mut out).unwrap();
        let mut archive = tar::Archive::new(&out[..]);
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["blobs/", "blobs/sha256/x", "index.json", "oci-layout"]);
        assert!(matches!(write(vec![blob(b"y", b"x")], Vec::new()), Err(Error::Damaged { .. })));
    }
}
