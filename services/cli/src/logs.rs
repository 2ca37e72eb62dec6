//! Logs that the shim writes: lines of `TIME STREAM TAG TEXT`, rotated to `PATH.1` and so on.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::client::Client;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The most rotated files that are looked for.
const MAX_ROTATED: u32 = 1000;

/// How a log is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    time: String,
    is_error: bool,
    whole: bool,
    text: Vec<u8>,
}

/// The log of a container: in berth's own folder, or beside a socket of another place.
pub fn path(client: &Client, id: &str) -> PathBuf {
    let base = if client.is_default_address() {
        PathBuf::from("/var/lib/berth/logs")
    } else {
        client.folder().join("logs")
    };
    base.join(client.namespace()).join(id).join(format!("{id}.log"))
}

/// The stdio address that makes the shim write the log at `path`.
pub fn address(path: &Path, max_size: u64, max_files: u32) -> String {
    let mut escaped = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                escaped.push(char::from(*byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("cri://{escaped}?max-size={max_size}&max-files={max_files}")
}

/// Removes a container's log with its rotated files and its folder, if it has one.
pub fn remove(path: &Path) -> Result<()> {
    for file in files(path) {
        fs_err::remove_file(&file).context("remove the log")?;
    }
    if let Some(folder) = path.parent() {
        // Other files in it are not ours to remove.
        let _ = fs_err::remove_dir(folder);
    }
    Ok(())
}

/// The files of a log that exist, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let rotated = (1..MAX_ROTATED).map(numbered).take_while(|file| file.exists());
    let mut files: Vec<_> = rotated.collect();
    files.reverse();
    files.extend(path.exists().then(|| path.to_owned()));
    files
}

/// Shows what the log has.
pub fn show(path: &Path, shown: Shown) -> Result<()> {
    Tail::open(path, shown).map(|_| ())
}

/// Shows what the log has and what is added until `ended`.
pub async fn follow(path: &Path, shown: Shown, ended: impl Future<Output = ()>) -> Result<()> {
    let mut ended = pin!(ended);
    let mut tail = Tail::open(path, shown)?;
    let mut look = tokio::time::interval(LOOK);
    loop {
        let over = tokio::select! {
            () = &mut ended => true,
            _ = look.tick() => false,
        };
        match &mut tail {
            Some(tail) => tail.advance(path, shown)?,
            None => tail = Tail::open(path, shown)?,
        }
        if over {
            return Ok(());
        }
    }
}

/// The newest file of a log, read up to its end.
struct Tail {
    reader: BufReader<File>,
    inode: u64,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Tail {
    /// Shows what is there; `None` when there is no log yet.
    fn open(path: &Path, shown: Shown) -> Result<Option<Self>> {
        let mut last: VecDeque<Vec<Record>> = VecDeque::new();
        let mut open_line = false;
        let mut newest = None;
        for file in files(path) {
            let mut tail = Self::of(&file)?;
            while let Some(record) = tail.record()? {
                let whole = record.whole;
                match shown.tail {
                    None => write(&record, shown, open_line)?,
                    Some(_) => match last.back_mut() {
                        Some(line) if open_line => line.push(record),
                        _ => last.push_back(vec![record]),
                    },
                }
                if shown.tail.is_some_and(|most| last.len() > most) {
                    last.pop_front();
                }
                open_line = !whole;
            }
            newest = Some(tail);
        }
        for line in last {
            for (at, record) in line.iter().enumerate() {
                write(record, shown, at > 0)?;
            }
        }
        Ok(newest)
    }

    fn of(file: &Path) -> Result<Self> {
        let opened = fs_err::File::open(file).context("open the log")?;
        let inode = opened.metadata().context("look at the log")?.ino();
        let reader = BufReader::new(opened.into_parts().0);
        Ok(Self { reader, inode, begun: Vec::new() })
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
            if let Some(record) = parse(&line[..line.len() - 1]) {
                return Ok(Some(record));
            }
        }
    }

    /// Shows what was added, going on in the next file after a rotation.
    fn advance(&mut self, path: &Path, shown: Shown) -> Result<()> {
        let mut open_line = false;
        loop {
            while let Some(record) = self.record()? {
                write(&record, shown, open_line)?;
                open_line = !record.whole;
            }
            let Ok(status) = fs_err::metadata(path) else { return Ok(()) };
            if status.ino() == self.inode {
                // A file that was cut short is read again from its beginning.
                let at = self.reader.stream_position().context("read the log")?;
                if status.size() < at {
                    self.reader.seek(SeekFrom::Start(0)).context("read the log")?;
                    continue;
                }
                return Ok(());
            }
            *self = Self::of(path)?;
        }
    }
}

fn parse(line: &[u8]) -> Option<Record> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = String::from_utf8(fields.next()?.to_vec()).ok()?;
    let is_error = match fields.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    // Tags may be added after a colon.
    let whole = fields.next()?.split(|byte| *byte == b':').next()? == b"F";
    Some(Record { time, is_error, whole, text: fields.next().unwrap_or_default().to_vec() })
}

/// Writes a record to the stream it came from.
fn write(record: &Record, shown: Shown, goes_on: bool) -> Result<()> {
    let mut bytes = Vec::with_capacity(record.text.len() + 40);
    if shown.timestamps && !goes_on {
        bytes.extend_from_slice(record.time.as_bytes());
        bytes.push(b' ');
    }
    bytes.extend_from_slice(&record.text);
    if record.whole {
        bytes.push(b'\n');
    }
    if record.is_error {
        std::io::stderr().write_all(&bytes)?;
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read() {
        let record = parse(b"2026-11-24T00:00:00.000000000Z stderr F a b  c").unwrap();
        assert!(record.is_error && record.whole);
        assert_eq!(record.text, b"a b  c");
        let empty = parse(b"2026-11-24T00:00:00.000000000Z stdout P ").unwrap();
        assert!(!empty.whole && empty.text.is_empty());
        assert!(parse(b"nonsense").is_none() && parse(b"t other F x").is_none());
    }

    #[test]
    fn an_address_is_escaped() {
        let text = address(Path::new("/a b/ü?.log"), 10, 2);
        assert_eq!(text, "cri:///a%20b/%C3%BC%3F.log?max-size=10&max-files=2");
    }

    #[test]
    fn rotated_files_come_first_and_go_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c/c.log");
        fs_err::create_dir(dir.path().join("c")).unwrap();
        for name in ["c.log", "c.log.1", "c.log.2", "c.log.4"] {
            fs_err::write(dir.path().join("c").join(name), "").unwrap();
        }
        let names: Vec<_> =
            files(&path).iter().map(|f| f.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["c.log.2", "c.log.1", "c.log"]);
        remove(&path).unwrap();
        assert!(files(&path).is_empty());
    }

    #[test]
    fn a_line_is_shown_when_it_is_whole_and_a_rotation_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.log");
        fs_err::write(&path, "t stdout F one\nt std").unwrap();
        let mut tail = Tail::of(&path).unwrap();
        assert_eq!(tail.record().unwrap().unwrap().text, b"one");
        assert_eq!(tail.record().unwrap(), None);
        let mut file = fs_err::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"out F two\n").unwrap();
        assert_eq!(tail.record().unwrap().unwrap().text, b"two");
        fs_err::rename(&path, dir.path().join("c.log.1")).unwrap();
        fs_err::write(&path, "t stdout F three\n").unwrap();
        let before = tail.inode;
        tail.advance(&path, Shown::default()).unwrap();
        assert_ne!(tail.inode, before);
    }
}
