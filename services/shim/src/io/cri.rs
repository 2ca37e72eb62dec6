//! Logs in the format of CRI: `TIME STREAM TAG TEXT`, rotated by size.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Error;
use crate::clock::Rfc3339;

/// A line that is longer goes out in parts, tagged P; its last part is tagged F.
const MAX_LINE: usize = 16 << 10;

/// One log file with its predecessors.
pub(crate) struct CriLog {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_files: u32,
    /// Records that wait to be written together.
    batch: Vec<u8>,
}

/// The beginning of a line of one stream.
#[derive(Default)]
pub(crate) struct Partial(Vec<u8>);

impl CriLog {
    pub(crate) fn open(path: &Path, max_size: u64, max_files: u32) -> Result<CriLog, Error> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let file = open(path).map_err(Error::io(format!("open log {}", path.display())))?;
        let size = file.metadata().map_err(Error::io("look at log"))?.len();
        Ok(CriLog { path: path.to_owned(), file, size, max_size, max_files, batch: Vec::new() })
    }

    /// Adds what a stream wrote.
    pub(crate) fn write(
        &mut self,
        stream: &str,
        partial: &mut Partial,
        bytes: &[u8],
    ) -> std::io::Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.piece(stream, partial, text, whole)?;
        }
        self.flush()
    }

    /// Adds what remains when the stream has ended.
    pub(crate) fn finish(&mut self, stream: &str, partial: &mut Partial) -> std::io::Result<()> {
        if !partial.0.is_empty() {
            self.piece(stream, partial, &[], true)?;
        }
        self.flush()
    }

    fn piece(
        &mut self,
        stream: &str,
        partial: &mut Partial,
        mut text: &[u8],
        whole: bool,
    ) -> std::io::Result<()> {
        while partial.0.len() + text.len() > MAX_LINE {
            let (now, rest) = text.split_at(MAX_LINE - partial.0.len());
            self.record(stream, 'P', &partial.0, now)?;
            partial.0.clear();
            text = rest;
        }
        if whole {
            self.record(stream, 'F', &partial.0, text)?;
            partial.0 = Vec::new();
        } else {
            partial.0.extend_from_slice(text);
        }
        Ok(())
    }

    fn record(&mut self, stream: &str, tag: char, head: &[u8], rest: &[u8]) -> std::io::Result<()> {
        let mut prefix = String::with_capacity(48);
        // Writing to a string does not fail.
        let _ = write!(prefix, "{} {stream} {tag} ", Rfc3339(SystemTime::now()));
        let length = (prefix.len() + head.len() + rest.len() + 1) as u64;
        let size = self.size + self.batch.len() as u64;
        if self.max_size > 0 && size > 0 && size + length > self.max_size {
            self.flush()?;
            self.rotate()?;
        }
        self.batch.extend_from_slice(prefix.as_bytes());
        self.batch.extend_from_slice(head);
        self.batch.extend_from_slice(rest);
        self.batch.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.file.write_all(&batch)?;
        self.size += batch.len() as u64;
        Ok(())
    }

    /// Renames `x.log` to `x.log.1`, that to `x.log.2` and so on, and begins a new file.
    fn rotate(&mut self) -> std::io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        if self.max_files == 1 {
            std::fs::remove_file(&self.path)?;
        }
        for number in (1..self.max_files).rev() {
            match std::fs::rename(numbered(number - 1), numbered(number)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| {
            let mut words = line.splitn(4, ' ');
            let (time, stream) = (words.next().unwrap(), words.next().unwrap());
            assert!(time.ends_with('Z') && time.len() == 30, "{time}");
            (format!("{stream} {}", words.next().unwrap()), words.next().unwrap().to_owned())
        });
        lines.collect()
    }

    #[test]
    fn lines_are_whole_or_in_tagged_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/x.log");
        let mut log = CriLog::open(&path, 0, 5).unwrap();
        let (mut out, mut err) = (Partial::default(), Partial::default());
        log.write("stdout", &mut out, b"one\ntw").unwrap();
        log.write("stderr", &mut err, b"bad\n").unwrap();
        log.write("stdout", &mut out, b"o\n\n").unwrap();
        log.write("stdout", &mut out, &vec![b'x'; MAX_LINE + 3]).unwrap();
        log.finish("stdout", &mut out).unwrap();
        log.finish("stderr", &mut err).unwrap();
        let lines = texts(&path);
        let short: Vec<_> = lines[..4].iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let expected =
            [("stdout F", "one"), ("stderr F", "bad"), ("stdout F", "two"), ("stdout F", "")];
        assert_eq!(short, expected);
        assert_eq!((lines[4].0.as_str(), lines[4].1.len()), ("stdout P", MAX_LINE));
        assert_eq!((lines[5].0.as_str(), lines[5].1.as_str()), ("stdout F", "xxx"));
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn files_are_rotated_and_none_is_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = CriLog::open(&path, 200, 3).unwrap();
        let mut out = Partial::default();
        for number in 0..20 {
            log.write("stdout", &mut out, format!("line {number}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|name| name.metadata().unwrap().len() <= 200));
        assert_eq!(texts(&path).last().unwrap().1, "line 19");
        let older = texts(&dir.path().join("x.log.1"));
        let first = texts(&path)[0].1[5..].parse::<u32>().unwrap();
        assert_eq!(older.last().unwrap().1, format!("line {}", first - 1));
    }
}
