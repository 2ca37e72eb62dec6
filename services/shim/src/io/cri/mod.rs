//! Logs in the format of CRI: `TIME STREAM TAG TEXT`, rotated by size or by others.

mod file;

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use super::losses::Lost;
use crate::Error;
use crate::clock::Rfc3339;
use file::{LogFile, Unwritten};

pub(crate) use file::Rotation;

/// A line that is longer goes out in parts, unless the address says otherwise. In bytes.
pub(crate) const DEFAULT_LINE: usize = 16 << 10;
/// The most bytes of a part where there is no limit.
pub(crate) const MAX_LINE: usize = 1 << 20;
/// The bytes before a record's text.
const PREFIX: usize = "2026-11-24T17:06:40.000000005Z stdout F ".len();

/// One log with its predecessors, for both outputs.
pub(crate) struct CriLog {
    file: LogFile,
    /// In bytes. Of a longer line all parts but the last are tagged P, and have so many.
    max_line: usize,
    /// Records that wait to be written together.
    batch: Vec<u8>,
    /// Whether something was written, and what could not be, since that was answered last.
    written: bool,
    lost: Option<Lost>,
}

/// The beginning of a line of one stream. A `\r` at its end, which may be the line's, is in it
/// beyond the limit.
#[derive(Default)]
pub(crate) struct Partial(Vec<u8>);

impl CriLog {
    /// A log whose lines have at most `max_line` bytes, which is at least 1.
    pub(crate) fn open(path: &Path, rotation: Rotation, max_line: usize) -> Result<CriLog, Error> {
        let file = LogFile::open(path, rotation)?;
        Ok(CriLog { file, max_line, batch: Vec::new(), written: false, lost: None })
    }

    /// Adds what a stream wrote; answers whether anything of it, or of what was there before, had
    /// to be written.
    pub(crate) fn write(
        &mut self,
        stream: &str,
        partial: &mut Partial,
        bytes: &[u8],
    ) -> Result<bool, Lost> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', text)) => self.line(stream, partial, text),
                _ => self.beginning(stream, partial, piece),
            }
        }
        self.settle()
    }

    /// Adds what remains when the stream has ended: a line without its end.
    pub(crate) fn finish(&mut self, stream: &str, partial: &mut Partial) -> Result<bool, Lost> {
        let rest = std::mem::take(&mut partial.0);
        for part in rest.chunks(self.max_line) {
            self.record(stream, 'P', part, &[]);
        }
        self.settle()
    }

    /// The end of a line.
    fn line(&mut self, stream: &str, partial: &mut Partial, mut text: &[u8]) {
        match text.split_last() {
            Some((b'\r', before)) => text = before,
            None if partial.0.last() == Some(&b'\r') => drop(partial.0.pop()),
            _ => {}
        }
        let text = self.parts(stream, partial, text, self.max_line);
        self.record(stream, 'F', &partial.0, text);
        partial.0 = Vec::new();
    }

    /// Text of a line that may go on.
    fn beginning(&mut self, stream: &str, partial: &mut Partial, text: &[u8]) {
        let held = usize::from(text.last() == Some(&b'\r'));
        let rest = self.parts(stream, partial, text, self.max_line + held);
        partial.0.extend_from_slice(rest);
    }

    /// Records parts until no more than `most` is left, some of it perhaps in `partial`.
    fn parts<'a>(
        &mut self,
        stream: &str,
        partial: &mut Partial,
        mut text: &'a [u8],
        most: usize,
    ) -> &'a [u8] {
        while partial.0.len() + text.len() > most {
            if let Some((part, held)) = partial.0.split_at_checked(self.max_line)
                && !held.is_empty()
            {
                self.record(stream, 'P', part, &[]);
                partial.0.drain(..self.max_line);
                continue;
            }
            let (now, rest) = text.split_at(self.max_line - partial.0.len());
            self.record(stream, 'P', &partial.0, now);
            partial.0.clear();
            text = rest;
        }
        text
    }

    fn record(&mut self, stream: &str, tag: char, head: &[u8], rest: &[u8]) {
        let length = PREFIX + head.len() + rest.len() + 1;
        if self.file.is_full(self.batch.len() + length) {
            self.flush();
            if !self.file.is_empty() {
                self.file.rotate(length);
            }
        }
        let mut prefix = String::with_capacity(PREFIX);
        // Writing to a string does not fail.
        let _ = write!(prefix, "{} {stream} {tag} ", Rfc3339(SystemTime::now()));
        self.batch.extend_from_slice(prefix.as_bytes());
        self.batch.extend_from_slice(head);
        self.batch.extend_from_slice(rest);
        self.batch.push(b'\n');
    }

    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return;
        }
        match self.file.append(&batch) {
            Ok(()) => self.written = true,
            Err(Unwritten { kept, error }) => {
                let before = self.lost.take().map_or(0, |lost| lost.bytes);
                self.lost = Some(Lost { bytes: before + texts(&batch[kept..]), error });
            }
        }
    }

    /// Writes what waits, and answers for all since the last time.
    fn settle(&mut self) -> Result<bool, Lost> {
        self.flush();
        let written = std::mem::take(&mut self.written);
        self.lost.take().map_or(Ok(written), Err)
    }
}

/// How much of a stream is in records, each with the end of its line.
fn texts(records: &[u8]) -> u64 {
    let each = records.split_inclusive(|byte| *byte == b'\n');
    each.map(|record| record.len().saturating_sub(PREFIX) as u64).sum()
}

#[cfg(test)]
mod tests;
