//! What of an output could not be written, and telling so.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use crate::log;

/// A part of an output that is gone: a container is not to wait for a full disk.
#[derive(Debug)]
pub(crate) struct Lost {
    pub bytes: u64,
    pub error: io::Error,
}

/// The losses of one output since it was written last.
#[derive(Default)]
pub(super) struct Losses(Option<u64>);

impl Losses {
    /// Tells of the first of several that follow each other, and of how much they were when it is
    /// written again. `written` says whether anything reached its end.
    pub(super) fn note(&mut self, written: Result<bool, Lost>, name: &str) {
        match (written, self.0) {
            (Ok(true), Some(bytes)) => {
                log::warn(format_args!(
                    "output of {name} is written again, {bytes} bytes of it are lost"
                ));
                self.0 = None;
            }
            (Ok(_), _) => {}
            (Err(lost), known) => {
                if known.is_none() {
                    let error = lost.error;
                    log::warn(format_args!("write output of {name}: {error}; it is lost"));
                }
                self.0 = Some(known.unwrap_or(0).saturating_add(lost.bytes));
            }
        }
    }

    /// Tells of those that nothing was written after.
    pub(super) fn end(self, name: &str) {
        if let Some(bytes) = self.0 {
            log::warn(format_args!("output of {name} has ended, {bytes} bytes of it are lost"));
        }
    }
}

/// Appends all that a file takes; answers with the error how many bytes that was.
pub(super) fn append(mut file: &File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return Err((done, ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_add_up_until_something_is_written() {
        let lost = |bytes| Err(Lost { bytes, error: ErrorKind::StorageFull.into() });
        let mut losses = Losses::default();
        losses.note(Ok(true), "x");
        losses.note(lost(3), "x");
        losses.note(Ok(false), "x");
        losses.note(lost(4), "x");
        assert_eq!(losses.0, Some(7));
        losses.note(Ok(true), "x");
        assert_eq!(losses.0, None);
    }

    #[test]
    fn what_a_full_disk_took_not_is_told() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (done, error) = append(&full, b"text").unwrap_err();
        assert_eq!((done, error.kind()), (0, ErrorKind::StorageFull));
    }
}
