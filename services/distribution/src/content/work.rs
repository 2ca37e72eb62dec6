//! An ingest's bytes and their hash, moved between the writer and its blocking thread.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use berth_ids::{Algorithm, Digest};
use berth_store::failpoint;
use bytes::Bytes;

use super::files::write_at;
use super::hash::Hasher;
use super::ingests::Ingest;
use crate::error::{Error, Result};

/// An open data file. Hash and offset are of the bytes that were written without an error.
pub struct Work {
    /// The file.
    pub file: File,
    /// The hash of its first `offset` bytes.
    pub hasher: Hasher,
    /// Where the next byte goes.
    pub offset: u64,
}

impl Work {
    /// Opens the data of an ingest, making its folder if it is new, and hashes what is there.
    /// `regrouped`: other leases hold it than its file says.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(ingest: &Ingest, algorithm: Algorithm, regrouped: bool) -> Result<Self> {
        let data = ingest.data();
        let mut file = match open_file(&data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(ingest)?;
                open_file(&data).map_err(Error::io("create ingest", &data))?
            }
            other => {
                let file = other.map_err(Error::io("open ingest", &data))?;
                if regrouped {
                    describe(ingest)?;
                }
                file
            }
        };
        let mut hasher = Hasher::new(algorithm);
        let offset = hasher.drain(&mut file).map_err(Error::io("read ingest", &data))?;
        Ok(Self { file, hasher, offset })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Those of the system; the offset stays where it was.
    pub fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        write_at(&self.file, self.offset, bytes)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Begins again.
    ///
    /// # Errors
    /// Those of the system.
    pub fn reset(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.hasher = Hasher::new(self.hasher.algorithm());
        self.offset = 0;
        Ok(())
    }

    /// Cuts off what a failed write left, and gives the digest in the algorithm wanted.
    ///
    /// # Errors
    /// Those of the system.
    pub fn finish(&mut self, algorithm: Algorithm) -> io::Result<Digest> {
        if self.file.metadata()?.len() != self.offset {
            self.file.set_len(self.offset)?;
        }
        if self.hasher.algorithm() != algorithm {
            let mut hasher = Hasher::new(algorithm);
            self.file.seek(SeekFrom::Start(0))?;
            hasher.drain(&mut self.file)?;
            self.hasher = hasher;
        }
        Ok(self.hasher.digest())
    }
}

fn open_file(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn create(ingest: &Ingest) -> Result<()> {
    let folder = &ingest.folder;
    fs_err::create_dir_all(folder).map_err(Error::io("create ingest", folder))?;
    failpoint::file("ingest", "made");
    let data = ingest.data();
    let made = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&data);
    made.map_err(Error::io("create ingest", &data))?;
    failpoint::file("ingest", "opened");
    describe(ingest)
}

/// Writes what the ingest is beside its bytes.
fn describe(ingest: &Ingest) -> Result<()> {
    let card = ingest.folder.join("ingest.json");
    let new = ingest.folder.join("ingest.json.new");
    let text = serde_json::to_vec(&ingest.card()).map_err(|error| Error::Io {
        step: "describe ingest",
        path: card.clone(),
        source: error.into(),
    })?;
    // Whole at any time: without it the ingest is nothing.
    fs_err::write(&new, text).map_err(Error::io("describe ingest", &new))?;
    failpoint::file("ingest's card", "written");
    fs_err::rename(&new, &card).map_err(Error::io("describe ingest", &card))?;
    failpoint::file("ingest's card", "named");
    Ok(())
}
