//! Writing what is due, a bounded part of it at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::flush::{Flusher, KEYS};
use super::shelf::{Due, Place};
use crate::peers::etcd::{Outcome, Write};
use crate::{Error, Result};

/// How many at the least where etcd is slow.
const FEW: usize = 8;
/// A write that took no longer was quick; one that took [`SLOW`] was slow.
const QUICK: Duration = Duration::from_millis(500);
/// See [`QUICK`].
const SLOW: Duration = Duration::from_secs(2);
/// The most bytes of their values: etcd takes 1.5 MiB as it comes.
const BYTES: usize = 500 << 10;
/// How often a write is made again at once whose condition did not hold.
const REFUSALS: u32 = 3;
/// So many times as long as a write took nothing is written.
const REST: u32 = 4;
/// The longest of such rests.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How long a write that is under way may take when the process ends.
const DRAIN: Duration = Duration::from_secs(2);

impl Flusher<'_> {
    /// Writes as much as may be written now.
    pub(super) async fn write(&mut self, stop: &CancellationToken) -> Result<()> {
        loop {
            let now = Instant::now();
            let mut due = self.due(now);
            let published = self.published(&due);
            self.own.published(published);
            let node = self.own.due(now).is_some_and(|due| due <= now);
            if (due.is_empty() && !node) || self.write_due(now).is_none_or(|due| due > now) {
                return Ok(());
            }
            if node && self.keys == 1 {
                // What is counted goes next.
                due.clear();
            }
            let keys = due.len() + usize::from(node);
            match self.transact(due, node, stop).await {
                // It may be too much at once for this etcd, which has many words for that.
                Err(error @ Error::Etcd { .. }) if keys > 1 => {
                    self.keys = keys / 2;
                    tracing::debug!(%error, keys = self.keys, "writes less at once from now on");
                }
                ended => self.hold_up(ended)?,
            }
            if stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// What goes next, each with its kind's place: of each kind, whatever waits of the other.
    fn due(&mut self, now: Instant) -> Vec<(usize, Due)> {
        let room = self.bucket.room(now).min(self.keys).min(self.window);
        let others = self.shelves[1].waiting().min(half(room, self.turn));
        let images = self.shelves[0].due(room - others);
        let containers = self.shelves[1].due(room - images.len());
        let images = images.into_iter().map(|due| (0, due));
        let mut due: Vec<_> = images.chain(containers.into_iter().map(|due| (1, due))).collect();
        let (mut bytes, mut fit) = (0, 0);
        for (_, due) in &due {
            bytes += due.value.as_ref().map_or(0, |value| value.len());
            fit += usize::from(bytes <= BYTES);
        }
        due.truncate(fit);
        due
    }

    async fn transact(
        &mut self,
        due: Vec<(usize, Due)>,
        node: bool,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut writes: Vec<_> = due.iter().map(|(_, due)| self.as_write(due)).collect();
        if node {
            let (key, value) = (self.own.key().to_owned(), self.own.value());
            writes.push(Write::Put { key, value, lease: self.lease });
        }
        let keys = writes.len();
        let (condition, began) = (self.own.condition(), Instant::now());
        let write = self.etcd.write(&condition, writes);
        let drained = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let outcome = tokio::select! {
            outcome = write => outcome,
            // It is not known whether it was made; the next run reads what is there.
            () = drained => return Ok(()),
        };
        if matches!(outcome, Err(Error::Away { .. })) {
            self.doubt(&due);
            self.window = FEW;
        }
        match outcome? {
            Outcome::Made(revision) => {
                let now = Instant::now();
                self.bucket.take(keys);
                self.made(&due, now);
                self.window = window(self.window, now - began);
                // Who waits long for etcd is one of many that do: it writes less often.
                let rest = (now - began).saturating_mul(REST).min(LONGEST_REST);
                self.wrote = Some(now + rest.saturating_sub(self.publisher.settings.batch));
                if node {
                    self.own.made(revision, now);
                    self.publisher.counts.puts.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Outcome::Refused(entry) => {
                let doubtful = self.own.is_doubtful();
                self.own.found(entry.as_ref())?;
                // What was in doubt was made late: that was no stranger.
                self.refused += u32::from(!doubtful || self.own.is_doubtful());
                if self.refused > REFUSALS {
                    let name = self.publisher.settings.name.as_str().to_owned();
                    return Err(Error::Displaced(name));
                }
                Ok(())
            }
        }
    }

    /// These may have been written, or be written yet.
    fn doubt(&mut self, due: &[(usize, Due)]) {
        self.own.doubt();
        for (place, due) in due {
            self.shelves[*place].doubt(due);
        }
    }

    fn as_write(&self, due: &Due) -> Write {
        let settings = &self.publisher.settings;
        let key = match &due.place {
            Place::Held(held) => settings.layout.held(&settings.name, held),
            Place::Stray(key) => key.clone(),
        };
        match &due.value {
            Some(value) => Write::Put { key, value: value.clone(), lease: self.lease },
            None => Write::Delete { key },
        }
    }

    fn made(&mut self, due: &[(usize, Due)], now: Instant) {
        (self.held_up, self.trouble, self.refused) = (None, None, 0);
        self.wrote = Some(now);
        self.turn = !self.turn;
        self.backoff.reset();
        let counts = &self.publisher.counts;
        counts.transactions.fetch_add(1, Ordering::Relaxed);
        for (place, due) in due {
            self.shelves[*place].made(due, &self.hasher);
            let count = if due.value.is_some() { &counts.puts } else { &counts.deletes };
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(since) = due.since {
                counts.took.count(now.saturating_duration_since(since));
            }
        }
    }
}

/// How many keys go with the next write after one that took so long. Thousands of nodes that publish all they have
/// at once, as after etcd has lost its data, would have it so far behind that their leases run out.
fn window(now: usize, took: Duration) -> usize {
    match took {
        took if took <= QUICK => (now * 2).min(KEYS),
        took if took >= SLOW => (now / 2).max(FEW),
        _ => now,
    }
}

/// How much of the room is one kind's when both want all of it. What is odd goes to each in turn: where there is
/// room for one only, each kind would wait for the other to have nothing otherwise.
fn half(room: usize, turn: bool) -> usize {
    (room + usize::from(turn)) / 2
}

#[cfg(test)]
mod tests {
    use super::super::flush::FIRST;
    use super::*;

    #[test]
    fn writes_grow_while_etcd_is_quick_and_shrink_while_it_is_slow() {
        let quick = [50, 99, 99];
        let slow = [49, 24, 12, 8, 8];
        let mut now = FIRST;
        for (took, sizes) in [(QUICK, &quick[..]), (SLOW, &slow[..])] {
            for size in sizes {
                now = window(now, took);
                assert_eq!(now, *size, "{took:?}");
            }
        }
        assert_eq!(window(20, Duration::from_secs(1)), 20);
    }

    #[test]
    fn no_kind_waits_for_the_other_however_little_room_there_is() {
        for (room, halves) in [(0, [0, 0]), (1, [0, 1]), (2, [1, 1]), (99, [49, 50])] {
            assert_eq!([false, true].map(|turn| half(room, turn)), halves, "of {room}");
        }
    }
}
