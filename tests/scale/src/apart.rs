//! A reader in a process of its own, so that its memory can be told from all else.
//!
//! It says a line when everything was read, and one for each line that it is given.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_cluster::keys::Layout;
use berth_cluster::peers::etcd;
use berth_lifecycle::blocking;
use berth_testkit::program;

use crate::machine;
use crate::reader::Reader;

/// What a reader says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// Its memory before it read anything, in KiB, shared pages in proportion.
    pub empty: u64,
    /// Now.
    pub now: u64,
    /// The most that it ever had, in KiB.
    pub peak: u64,
    /// Objects that it has.
    pub objects: u64,
    /// Until it had everything, in milliseconds.
    pub listed: u64,
    /// Views that were listed again.
    pub relists: u64,
    /// Changes that it was told.
    pub changes: u64,
    /// Milliseconds of processor time that it took.
    pub processor: u64,
}

impl Said {
    fn line(self) -> String {
        let Self { empty, now, peak, objects, listed, relists, changes, processor } = self;
        format!("{empty} {now} {peak} {objects} {listed} {relists} {changes} {processor}")
    }

    fn read(line: &str) -> Result<Self> {
        let numbers: Vec<u64> = line.split_whitespace().map_while(|it| it.parse().ok()).collect();
        let [empty, now, peak, objects, listed, relists, changes, processor] = numbers[..] else {
            bail!("the reader said {line:?}");
        };
        Ok(Self { empty, now, peak, objects, listed, relists, changes, processor })
    }
}

/// The other process. Ends with its owner.
#[derive(Debug)]
pub struct Apart {
    child: Child,
    input: ChildStdin,
    output: Option<BufReader<ChildStdout>>,
}

impl Apart {
    /// Starts this program, which lies at `own`, as a reader.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(own: &Path, cluster: &str, endpoint: &str) -> Result<Self> {
        let command = program(own).args(["read", "--cluster", cluster, "--endpoint", endpoint]);
        let mut command = command.into_command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start a reader")?;
        let input = child.stdin.take().context("a reader without input")?;
        let output = child.stdout.take().context("a reader without output")?;
        Ok(Self { child, input, output: Some(BufReader::new(output)) })
    }

    /// What it says next: the first time when it has read everything.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn said(&mut self) -> Result<Said> {
        let mut output = self.output.take().context("the reader is being listened to")?;
        let read = blocking("listen to a reader", move || {
            let mut line = String::new();
            output.read_line(&mut line).map(|_| (output, line))
        });
        let (output, line) = read.await??;
        self.output = Some(output);
        Said::read(&line)
    }

    /// Asks it to say how it is.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn ask(&mut self) -> Result<Said> {
        self.input.write_all(b"\n").context("ask a reader")?;
        self.said().await
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the other process does: reads, and says so, until its input ends.
///
/// # Errors
/// When etcd cannot be read.
pub async fn read(layout: Layout, etcd: etcd::Settings) -> Result<()> {
    let own = std::process::id();
    let empty = machine::memory(own)?.pss;
    let reader = Reader::start(&layout, &etcd);
    let listed = reader.ready().await?;
    loop {
        let said = say(&reader, empty, listed)?;
        println!("{}", said.line());
        let asked = blocking("wait for a question", || std::io::stdin().lines().next());
        if asked.await?.transpose()?.is_none() {
            break;
        }
        if let Some(why) = reader.broken() {
            bail!("a watch has broken: {why}");
        }
        // Nobody asks how late they were here.
        drop(reader.late());
    }
    reader.stop().await;
    Ok(())
}

fn say(reader: &Reader, empty: u64, listed: Duration) -> Result<Said> {
    let own = std::process::id();
    let millis = |seconds: f64| (seconds * 1e3) as u64;
    Ok(Said {
        empty,
        now: machine::memory(own)?.pss,
        peak: machine::peak(own)?,
        objects: reader.objects() as u64,
        listed: millis(listed.as_secs_f64()),
        relists: reader.relists(),
        changes: reader.changes(),
        processor: millis(machine::processor(own)?),
    })
}
