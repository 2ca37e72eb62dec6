//! What lies in etcd under a node's own prefixes.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use crate::keys::{Held, Kind, Layout};
use crate::names::NodeName;
use crate::peers::etcd::Etcd;
use crate::{Error, Result};

/// How many keys are read at once.
const PAGE: usize = 500;

/// What of a kind is there.
#[derive(Debug, Default)]
pub(super) struct There {
    /// With the hash of its value; none if it does not go with the node's lease.
    pub(super) held: BTreeMap<Held, Option<u64>>,
    /// Keys that berth does not write.
    pub(super) strays: Vec<String>,
    /// There is more than is read at once.
    pub(super) cut: bool,
}

/// Reads it, at most about `most` keys.
///
/// # Errors
/// Those of etcd.
pub(super) async fn read(
    etcd: &Etcd,
    (layout, node, kind): (&Layout, &NodeName, Kind),
    lease: i64,
    most: usize,
    hasher: &RandomState,
) -> Result<There> {
    let prefix = layout.of_node(kind, node);
    let (mut there, mut after, mut read) = (There::default(), None, 0);
    loop {
        let page = etcd.page(&prefix, after.as_deref(), 0, PAGE).await?;
        read += page.entries.len();
        let last = page.entries.last().map(|entry| entry.key.clone());
        for entry in page.entries {
            match layout.parse(&entry.key) {
                Ok((_, Some(held))) => {
                    let hash = (entry.lease == lease).then(|| hasher.hash_one(&entry.value));
                    there.held.insert(held, hash);
                }
                // A key that is no text cannot be named in a write, nor be read by anybody: it stays.
                _ => there.strays.extend(String::from_utf8(entry.key.into())),
            }
        }
        if !page.more {
            return Ok(there);
        }
        let Some(last) = last else {
            let reason = "a page has nothing, and there is more".to_owned();
            return Err(Error::Etcd { step: "read the node's keys", reason });
        };
        if read >= most {
            there.cut = true;
            return Ok(there);
        }
        after = Some(last);
    }
}
