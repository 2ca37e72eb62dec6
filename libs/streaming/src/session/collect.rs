//! The streams of a command, gathered as a client opens them.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::Asked;
use crate::channel::{Feed, Input, Link, Output};
use crate::spdy::Opened;

/// The streams of a command.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
    pub(crate) resize: Option<Input>,
    pub(crate) error: Output,
    /// The other directions, kept until the end: a client takes the end of one as that of the stream.
    pub(crate) unused: Vec<Output>,
}

/// The names of the streams that are needed, as SPDY's header `streamType` has them.
fn needed(asked: Asked, resizes: bool) -> Vec<&'static str> {
    let all = [
        ("error", true),
        ("stdin", asked.stdin),
        ("stdout", asked.stdout),
        ("stderr", asked.stderr),
        ("resize", asked.tty && resizes),
    ];
    all.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name).collect()
}

/// Waits until all streams are there. None: the connection ended before. Streams that are not needed, and
/// second ones of a name, are ended.
pub(crate) async fn collect(
    mut opened: mpsc::Receiver<Opened>,
    asked: Asked,
    resizes: bool,
) -> Option<Set> {
    let needed = needed(asked, resizes);
    let mut found = BTreeMap::new();
    while found.len() < needed.len() {
        let new = opened.recv().await?;
        let name = new.headers.get("streamtype").unwrap_or_default();
        match needed.iter().find(|needed| **needed == name) {
            Some(name) => {
                found.entry(*name).or_insert((new.input, new.output));
            }
            None => tracing::debug!(stream = new.stream, name, "unexpected stream"),
        }
    }
    Set::of(found)
}

impl Set {
    fn of(mut found: BTreeMap<&'static str, (Input, Output)>) -> Option<Self> {
        let mut unused = Vec::new();
        let mut input = |found: Option<(Input, Output)>| {
            found.map(|(input, output)| {
                unused.push(output);
                input
            })
        };
        let (stdin, resize) = (input(found.remove("stdin")), input(found.remove("resize")));
        let mut output = |name| found.remove(name).map(|(_, output)| output);
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        Some(Self { stdin, stdout, stderr, resize, error: output("error")?, unused })
    }
}

/// The channels of a command on a WebSocket, of which each client has all: 0 to 4 are stdin, stdout,
/// stderr, error and resize.
pub(crate) fn of_channels(link: &Link, asked: Asked) -> (BTreeMap<u8, Feed>, Option<Set>) {
    let (mut feeds, mut found) = (BTreeMap::new(), BTreeMap::new());
    let needed = needed(asked, true);
    for (channel, name) in (0u8..).zip(["stdin", "stdout", "stderr", "error", "resize"]) {
        if needed.contains(&name) {
            let (feed, input, output) = link.open(channel.into());
            feeds.insert(channel, feed);
            found.insert(name, (input, output));
        }
    }
    (feeds, Set::of(found))
}
