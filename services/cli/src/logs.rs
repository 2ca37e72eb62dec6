//! Logs that the shim writes: lines of `TIME STREAM TAG TEXT`, rotated to `PATH.1` and so on.

mod record;
mod tail;

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::client::Client;
use crate::output;
use record::Record;
use tail::Tail;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How a log is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Each record is an object on a line.
    pub json: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
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
    for file in tail::names(path).filter(|file| file.exists()) {
        fs_err::remove_file(&file).context("remove the log")?;
    }
    if let Some(folder) = path.parent() {
        // Other files in it are not ours to remove.
        let _ = fs_err::remove_dir(folder);
    }
    Ok(())
}

/// Shows what the log has.
pub fn show(path: &Path, shown: Shown) -> Result<()> {
    Printer::new(shown).all(&mut Tail::default(), path)
}

/// Shows what the log has and what is added until `ended`.
pub async fn follow(path: &Path, shown: Shown, ended: impl Future<Output = ()>) -> Result<()> {
    let mut ended = pin!(ended);
    let (mut tail, mut printer) = (Tail::default(), Printer::new(shown));
    printer.all(&mut tail, path)?;
    let mut look = tokio::time::interval(LOOK);
    loop {
        let over = tokio::select! {
            () = &mut ended => true,
            _ = look.tick() => false,
        };
        while let Some(record) = tail.next(path)? {
            printer.show(&record)?;
        }
        if over {
            return Ok(());
        }
    }
}

/// Writes records as they are to be shown.
struct Printer {
    shown: Shown,
    /// Whether the line that each stream wrote last goes on.
    open: [bool; 2],
}

impl Printer {
    fn new(shown: Shown) -> Self {
        Self { shown, open: [false; 2] }
    }

    /// Shows all that there is, or the last lines of it.
    fn all(&mut self, tail: &mut Tail, path: &Path) -> Result<()> {
        let mut last: VecDeque<Vec<Record>> = VecDeque::new();
        let mut open = false;
        while let Some(record) = tail.next(path)? {
            let Some(most) = self.shown.tail else {
                self.show(&record)?;
                continue;
            };
            let whole = record.whole;
            match last.back_mut() {
                Some(line) if open => line.push(record),
                _ => last.push_back(vec![record]),
            }
            if last.len() > most {
                last.pop_front();
            }
            open = !whole;
        }
        last.iter().flatten().try_for_each(|record| self.show(record))
    }

    fn show(&mut self, record: &Record) -> Result<()> {
        if self.shown.json {
            return output::json_line(&record.as_json());
        }
        let open = &mut self.open[usize::from(record.is_error)];
        record.write(self.shown.timestamps && !*open)?;
        *open = !record.whole;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_escaped() {
        let text = address(Path::new("/a b/ü?.log"), 10, 2);
        assert_eq!(text, "cri:///a%20b/%C3%BC%3F.log?max-size=10&max-files=2");
    }

    #[test]
    fn rotated_files_go_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c/c.log");
        fs_err::create_dir(dir.path().join("c")).unwrap();
        for name in ["c.log", "c.log.1", "c.log.2"] {
            fs_err::write(dir.path().join("c").join(name), "").unwrap();
        }
        remove(&path).unwrap();
        assert!(!dir.path().join("c").exists());
    }
}
