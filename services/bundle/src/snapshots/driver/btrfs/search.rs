//! Looking into the file system's trees (BTRFS_IOC_TREE_SEARCH_V2): what of a subvolume is its own,
//! and which subvolumes are in it. Both without a walk through its directories.
//!
//! Numbers in the trees are little-endian.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::{Errno, Result};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use super::Usage;
use super::subvolume::{GROUP, ROOT, info, open};

const SEARCH: Opcode = opcode::read_write::<Head>(GROUP, 17);

/// How much one call answers with: more than any one item has.
const BUFFER: usize = 1 << 17;

/// The tree of the subvolume that is open.
const OWN: u64 = 0;
/// The tree of trees.
const ROOTS: u64 = 1;
/// The tree of quota groups.
const QUOTAS: u64 = 8;

const INODE: u32 = 1;
const EXTENT: u32 = 108;
const CHILD: u32 = 156;
const QUOTA_STATUS: u32 = 240;
const QUOTA_COUNTS: u32 = 242;

/// Quota groups count, and nothing is counted anew or known to be wrong.
const QUOTA_MASK: u64 = 7;
const QUOTA_GOOD: u64 = 1;

/// How many extents of a subvolume are remembered while it is counted: 4 MiB.
const MOST: usize = 1 << 18;

/// What a file takes at least that has its content in the tree, as stat(2) tells it.
const BLOCK: u64 = 4096;

/// The kernel's `struct btrfs_ioctl_search_key`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Range {
    tree: u64,
    objects: [u64; 2],
    offsets: [u64; 2],
    transactions: [u64; 2],
    kinds: [u32; 2],
    items: u32,
    unused: [u32; 9],
}

/// The kernel's `struct btrfs_ioctl_search_args_v2`.
#[repr(C)]
struct Head {
    range: Range,
    size: u64,
}

#[repr(C)]
struct Search {
    head: Head,
    found: [u8; BUFFER],
}

/// Object, kind, offset: items are ordered so.
type Key = (u64, u32, u64);

/// Hands every item from `first` to `last` to `each` that lies in a block which was written in the
/// transaction `since` or later.
fn search(
    fd: &OwnedFd,
    tree: u64,
    (first, last): (Key, Key),
    since: u64,
    mut each: impl FnMut(Key, &[u8]),
) -> Result<()> {
    let range = Range::default();
    let mut search = Box::new(Search { head: Head { range, size: 0 }, found: [0; BUFFER] });
    let mut next = Some(first);
    while let Some((object, kind, offset)) = next {
        search.head.size = BUFFER as u64;
        search.head.range = Range {
            tree,
            objects: [object, last.0],
            offsets: [offset, last.2],
            transactions: [since, u64::MAX],
            kinds: [kind, last.1],
            items: u32::MAX,
            unused: [0; 9],
        };
        // SAFETY: the opcode takes this structure, which has as much room as it says.
        let call = unsafe { Updater::<SEARCH, Search>::new(&mut search) };
        // SAFETY: as above; any bits that the kernel writes are a value.
        unsafe { ioctl(fd, call) }?;
        let mut rest = &search.found[..];
        let mut newest = None;
        for _ in 0..search.head.range.items {
            let (key, length) = header(rest).ok_or(Errno::IO)?;
            each(key, rest.get(32..32 + length).ok_or(Errno::IO)?);
            rest = &rest[32 + length..];
            newest = Some(key);
        }
        next = newest.and_then(after).filter(|next| *next <= last);
    }
    Ok(())
}

/// The key of an item and its length, from what the kernel puts before it.
fn header(bytes: &[u8]) -> Option<(Key, usize)> {
    let (object, offset) = (number(bytes, 8)?, number(bytes, 16)?);
    let kinds = number(bytes, 24)?;
    let (kind, length) = (kinds & u64::from(u32::MAX), kinds >> 32);
    Some(((object, u32::try_from(kind).ok()?, offset), usize::try_from(length).ok()?))
}

fn after((object, kind, offset): Key) -> Option<Key> {
    match (offset.checked_add(1), kind.checked_add(1)) {
        (Some(offset), _) => Some((object, kind, offset)),
        (None, Some(kind)) => Some((object, kind, 0)),
        (None, None) => Some((object.checked_add(1)?, 0, 0)),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// What the subvolume at `path` has that the one that it is a snapshot of has not: extents and
/// inodes that were written since.
pub(super) fn usage(path: &Path) -> Result<Usage> {
    let (fd, own) = (open(path)?, info(path)?);
    let (since, time) = own.taken.map_or((0, (0, 0)), |(made, time)| (made + 1, time));
    let counted = exclusive(&fd, own.id)?;
    let mut usage = Usage { size: counted.unwrap_or(0), ..Usage::default() };
    let mut extents = Extents::default();
    let files = ((ROOT, 0, 0), (u64::MAX - 256, u32::MAX, u64::MAX));
    search(&fd, OWN, files, since, |(_, kind, _), item| {
        // Of an inode the transaction that changed it, of an extent the one that wrote it.
        let at = if kind == INODE { 8 } else { 0 };
        if number(item, at).is_none_or(|written| written < since) {
            return;
        }
        match kind {
            // That a file was read is written down, too, but does not change it.
            INODE if changed_at(item).is_some_and(|at| at >= time) => usage.inodes += 1,
            EXTENT if counted.is_none() => usage.size += extents.new_bytes(item),
            _ => {}
        }
    })?;
    Ok(usage)
}

/// When an inode was changed: seconds and nanoseconds.
fn changed_at(inode: &[u8]) -> Option<(u64, u32)> {
    let nanoseconds = inode.get(132..136)?.try_into().ok()?;
    Some((number(inode, 124)?, u32::from_le_bytes(nanoseconds)))
}

/// The extents that were seen, by their place: two pieces of one are one.
#[derive(Default)]
struct Extents {
    seen: HashSet<u64>,
    last: u64,
}

impl Extents {
    /// The bytes of the extent that an item names, if it was not seen before. A container makes as many
    /// as it likes: of those that are not remembered pieces count once where they lie side by side.
    fn new_bytes(&mut self, item: &[u8]) -> u64 {
        const INLINE: u8 = 0;
        let place = match item.get(20) {
            Some(&INLINE) => return BLOCK,
            _ => number(item, 21).unwrap_or(0),
        };
        // A hole, or more of the same.
        if place == 0 || place == self.last || self.seen.contains(&place) {
            return 0;
        }
        self.last = place;
        if self.seen.len() < MOST {
            self.seen.insert(place);
        }
        number(item, 29).unwrap_or(0)
    }
}

/// The bytes that no other subvolume has, if quota groups count them.
fn exclusive(fd: &OwnedFd, subvolume: u64) -> Result<Option<u64>> {
    let (mut good, mut counted) = (false, None);
    let status = ((0, QUOTA_STATUS, 0), (0, QUOTA_STATUS, u64::MAX));
    let found = search(fd, QUOTAS, status, 0, |_, item| {
        good = number(item, 16).is_some_and(|flags| flags & QUOTA_MASK == QUOTA_GOOD);
    });
    match found {
        Ok(()) if good => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let counts = (0, QUOTA_COUNTS, subvolume);
    search(fd, QUOTAS, (counts, counts), 0, |_, item| counted = number(item, 24))?;
    Ok(counted)
}

/// The numbers of all subvolumes in the one at `path`, those further in first.
pub(super) fn nested(path: &Path) -> Result<Vec<u64>> {
    let (fd, top) = (open(path)?, info(path)?.id);
    let (mut todo, mut found) = (vec![top], Vec::new());
    while let Some(parent) = todo.pop() {
        let range = ((parent, CHILD, 0), (parent, CHILD, u64::MAX));
        search(&fd, ROOTS, range, 0, |(_, _, child), _| {
            found.push(child);
            todo.push(child);
        })?;
    }
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_its_sizes() {
        assert_eq!((size_of::<Range>(), size_of::<Head>()), (104, 112));
    }

    #[test]
    fn keys_go_on_in_their_order() {
        assert_eq!(after((1, 2, 3)), Some((1, 2, 4)));
        assert_eq!(after((1, 2, u64::MAX)), Some((1, 3, 0)));
        assert_eq!(after((1, u32::MAX, u64::MAX)), Some((2, 0, 0)));
        assert_eq!(after((u64::MAX, u32::MAX, u64::MAX)), None);
    }
}
