//! Changes as they come.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{Client, WatchOptions, WatchStream};
use tokio::time::{Instant, timeout_at};

use super::calls::{Again, By, Members};
use super::faults::{About, Fault};
use super::reads::end_of;
use super::{Change, Entry, Etcd, MAX_ANSWER, PATIENCE, Seen, Told};
use crate::Result;

/// How long nothing may come before etcd is asked whether it is there.
const IDLE: Duration = Duration::from_millis(1500);

/// Changes as they come. It ends with the first error.
///
/// Has a connection of its own: who reads it slowly holds up nothing else.
pub struct Watch {
    members: Arc<Members>,
    /// The member that tells.
    at: usize,
    stream: WatchStream,
    /// Holds the connection.
    _client: Client,
    /// All up to and with this revision was told.
    whole: i64,
    /// When etcd is asked next.
    ask: Instant,
    /// When it was asked first since it said anything.
    asked: Option<Instant>,
}

impl Etcd {
    /// Changes of what begins with `prefix`, from revision `from` on, which must not be 0. A revision that has
    /// not come yet is waited for: whether it ever will, [`Etcd::seen`] and [`Told::Alive`] tell.
    ///
    /// # Errors
    /// [`crate::Error::Compacted`] here or from [`Watch::next`].
    pub async fn watch(&self, prefix: &str, from: i64, previous: bool) -> Result<Watch> {
        let about = About { step: "watching", revision: from, ..About::default() };
        let ask = |client: Client, at| async move {
            let stream = open(client.clone(), prefix, from, previous).await?;
            Ok((stream, client, at))
        };
        let (stream, client, at) = self.members.call(about, Again::Yes, By::Own, ask).await?;
        let ask = Instant::now() + IDLE;
        let members = Arc::clone(&self.members);
        Ok(Watch { members, at, stream, _client: client, whole: from - 1, ask, asked: None })
    }
}

/// A stream of changes that etcd has said that it will send.
async fn open(
    client: Client,
    prefix: &str,
    from: i64,
    previous: bool,
) -> Result<WatchStream, Fault> {
    let mut options = WatchOptions::new().with_range(end_of(prefix.as_bytes()));
    options = options.with_start_revision(from).with_fragment();
    if previous {
        options = options.with_prev_key();
    }
    let mut client = client.watch_client().max_decoding_message_size(MAX_ANSWER);
    let mut stream = client.watch(prefix, Some(options)).await?;
    let first = stream.message().await?.ok_or_else(ended)?.0;
    match refused(&first) {
        Some(fault) => Err(fault),
        None if first.created => Ok(stream),
        None => Err(Fault::Odd("a watch began with something else".into())),
    }
}

impl Watch {
    /// What comes next. While nothing does it asks etcd every second or two whether it is still there. Nothing
    /// is lost when this is not awaited to its end.
    ///
    /// # Errors
    /// [`crate::Error::Away`] when etcd says nothing at all for [`PATIENCE`], or the stream has ended.
    pub async fn next(&mut self) -> Result<Told> {
        let told = self.told().await;
        told.map_err(|fault| {
            if fault.elsewhere() {
                self.members.leave(self.at);
            }
            let revision = self.whole + 1;
            let about = About { step: "watching", revision, ..About::default() };
            self.members.error(fault, about, self.at)
        })
    }

    async fn told(&mut self) -> Result<Told, Fault> {
        loop {
            let message = timeout_at(self.ask, self.stream.message()).await;
            let Ok(message) = message else {
                self.ask_for_a_sign().await?;
                continue;
            };
            let response = message?.ok_or_else(ended)?.0;
            (self.ask, self.asked) = (Instant::now() + IDLE, None);
            if let Some(fault) = refused(&response) {
                return Err(fault);
            }
            if response.events.is_empty() {
                let header = response.header.as_ref();
                let header = header.ok_or_else(|| Fault::Odd("an answer has no header".into()))?;
                let (cluster, revision) = (header.cluster_id, header.revision);
                return Ok(Told::Alive(Seen { cluster, revision }));
            }
            return self.changes(response.events, response.fragment);
        }
    }

    async fn ask_for_a_sign(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let asked = *self.asked.get_or_insert(now);
        // Nothing has come since before it was asked first.
        let end = asked + PATIENCE.saturating_sub(IDLE);
        if now >= end {
            return Err(Fault::silent(false));
        }
        self.ask = (now + IDLE).min(end);
        // There is room for many more questions than are asked in this time.
        Ok(self.stream.request_progress().await?)
    }

    /// etcd cuts what it tells between changes of one revision only where it says so. It may say a newer
    /// revision in its header, and when it is asked, before it has told the changes: neither is taken for it.
    fn changes(&mut self, events: Vec<PbEvent>, cut: bool) -> Result<Told, Fault> {
        let last =
            events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
        let changes = events.into_iter().map(change).collect::<Result<Vec<_>, Fault>>()?;
        self.whole = self.whole.max(if cut { last - 1 } else { last });
        Ok(Told::Changes { changes, whole: self.whole })
    }
}

fn change(event: PbEvent) -> Result<Change, Fault> {
    let kv = event.kv.ok_or_else(|| Fault::Odd("a change has no key".into()))?;
    // As the protocol numbers them. Nothing else was added to it in ten years.
    match event.r#type {
        0 => Ok(Change::Put(Entry::of(kv))),
        1 => Ok(Change::Deleted {
            key: kv.key.into(),
            modified: kv.mod_revision,
            previous: event.prev_kv.map(Entry::of),
        }),
        other => Err(Fault::Odd(format!("a change is of the unknown kind {other}"))),
    }
}

/// Why a watch is not made, or goes on no longer.
fn refused(response: &PbWatchResponse) -> Option<Fault> {
    if response.compact_revision > 0 {
        return Some(Fault::Compacted(response.compact_revision));
    }
    if !response.canceled {
        return None;
    }
    let reason = response.cancel_reason.chars().take(200).collect::<String>();
    Some(if reason.contains("permission denied") {
        Fault::Forbidden(reason)
    } else {
        Fault::Away { reason: format!("the watch was cancelled: {reason}"), unsent: false }
    })
}

fn ended() -> Fault {
    Fault::Away { reason: "the stream of changes has ended".into(), unsent: false }
}
