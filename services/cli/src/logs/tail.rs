//! Reading a log through its rotations: every record once, in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::record::Record;

/// The most rotated files that are looked for.
const MAX_ROTATED: u32 = 1000;

/// The files of a log from the one that is read to the newest, oldest first.
#[derive(Default)]
pub struct Tail(VecDeque<Part>);

struct Part {
    reader: BufReader<File>,
    inode: u64,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

/// The names that a log's files have, newest first.
pub fn names(path: &Path) -> impl Iterator<Item = PathBuf> {
    let mut gaps = 0;
    let name = move |number: u32| {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        PathBuf::from(name)
    };
    // While files are renamed one number is missing.
    let near = move |file: &PathBuf| {
        gaps = if file.exists() { 0 } else { gaps + 1 };
        gaps < 2
    };
    (0..MAX_ROTATED).map(name).take_while(near)
}

impl Tail {
    /// The next record; none when there is no more for now.
    pub fn next(&mut self, path: &Path) -> Result<Option<Record>> {
        loop {
            if let Some(part) = self.0.front_mut()
                && let Some(record) = part.record()?
            {
                return Ok(Some(record));
            }
            // What has a successor is not written to any more, and the successor was there before
            // this one was read to its end.
            if self.0.len() > 1 {
                self.0.pop_front();
                continue;
            }
            let newer = newer(path, self.0.front().map(|part| part.inode))?;
            if newer.is_empty() {
                let Some(part) = self.0.front_mut() else { return Ok(None) };
                if !part.was_cut_short()? {
                    return Ok(None);
                }
            }
            self.0.extend(newer);
        }
    }
}

/// The files that are newer than the one with this inode, oldest first. They are opened from the
/// newest on, so that a rotation meanwhile makes one turn up twice rather than not at all.
fn newer(path: &Path, than: Option<u64>) -> Result<VecDeque<Part>> {
    let mut found: VecDeque<Part> = VecDeque::new();
    for name in names(path) {
        let Some(part) = Part::open(&name)? else { continue };
        if Some(part.inode) == than {
            break;
        }
        if found.iter().all(|other| other.inode != part.inode) {
            found.push_front(part);
        }
    }
    Ok(found)
}

impl Part {
    fn open(file: &Path) -> Result<Option<Self>> {
        let opened = match fs_err::File::open(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.context("open the log")?,
        };
        let inode = opened.metadata().context("look at the log")?.ino();
        let reader = BufReader::new(opened.into_parts().0);
        Ok(Some(Self { reader, inode, begun: Vec::new() }))
    }

    /// The next whole record.
    fn record(&mut self) -> Result<Option<Record>> {
        loop {
            self.reader.read_until(b'\n', &mut self.begun).context("read the log")?;
            if self.begun.last() != Some(&b'\n') {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.begun);
            // A damaged line, as a full disk may leave one, hides no other.
            if let Some(record) = Record::parse(&line[..line.len() - 1]) {
                return Ok(Some(record));
            }
        }
    }

    /// Whether the file is shorter than what was read of it; it is read from its beginning then.
    fn was_cut_short(&mut self) -> Result<bool> {
        let at = self.reader.stream_position().context("read the log")?;
        let short = self.reader.get_ref().metadata().context("look at the log")?.len() < at;
        if short {
            self.begun.clear();
            self.reader.seek(SeekFrom::Start(0)).context("read the log")?;
        }
        Ok(short)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(path: &Path) {
        let mut files: Vec<_> = names(path).filter(|file| file.exists()).collect();
        files.insert(0, path.with_extension("new"));
        append(&files[0], "");
        let to = path.with_extension(format!("log.{}", files.len() - 1));
        let targets: Vec<_> = files[1..].iter().cloned().chain([to]).collect();
        for (from, to) in files.iter().zip(targets).rev() {
            fs_err::rename(from, to).unwrap();
        }
    }

    fn texts(tail: &mut Tail, path: &Path) -> Vec<String> {
        let next = || tail.next(path).unwrap();
        std::iter::from_fn(next).map(|r| String::from_utf8(r.text).unwrap()).collect()
    }

    #[test]
    fn rotated_files_come_first_and_none_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.log");
        let mut tail = Tail::default();
        assert!(texts(&mut tail, &path).is_empty(), "no log yet");
        append(&path, "t stdout F 1\n");
        rotate(&path);
        append(&path, "t stdout F 2\nt std");
        assert_eq!(texts(&mut tail, &path), ["1", "2"]);
        append(&path, "out F 3\n");
        rotate(&path);
        append(&path, "t stdout F 4\n");
        rotate(&path);
        append(&path, "t stdout F 5\n");
        assert_eq!(texts(&mut tail, &path), ["3", "4", "5"]);
        assert_eq!(texts(&mut Tail::default(), &path), ["1", "2", "3", "4", "5"]);
    }

    #[test]
    fn a_file_that_was_cut_short_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.log");
        append(&path, "t stdout F one\nt stdout F two\n");
        let mut tail = Tail::default();
        assert_eq!(texts(&mut tail, &path), ["one", "two"]);
        fs_err::write(&path, "t stdout F three\n").unwrap();
        assert_eq!(texts(&mut tail, &path), ["three"]);
    }
}
