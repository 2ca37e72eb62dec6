//! Lists in pages, each of what is there when it is asked for.

use std::sync::Arc;

use berth_filters::Filter;

use super::fields::Fields;
use super::item::{Item, Key};
use super::one::{View, Worth};
use crate::keys::{Held, Kind};
use crate::names::NodeName;
use crate::{Error, Result};

/// Objects of a page, if nothing is said.
pub const PAGE: usize = 500;
/// The most of a page.
pub const MAX_PAGE: usize = 5_000;
/// The most bytes of objects in one message, about: a page may have fewer objects.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// Objects that are taken in one go, while nothing else can be done with the view.
const CHUNK: usize = 1 << 10;

/// A part of a list.
#[derive(Debug)]
pub struct Listed {
    /// In the order of their names.
    pub items: Vec<Arc<Item>>,
    /// What the next page is asked for with; None: there is none.
    pub next: Option<String>,
    /// Of the view.
    pub worth: Worth,
}

/// A page of `size` objects (0: [`PAGE`]) behind `token`, which may be empty.
pub(super) async fn page(view: &View, filter: &Filter, size: usize, token: &str) -> Result<Listed> {
    let size = if size == 0 { PAGE } else { size.min(MAX_PAGE) };
    let mut after = after(view.kind, token)?;
    let (mut items, mut bytes) = (Vec::new(), 0);
    loop {
        let chunk: Vec<Arc<Item>> = {
            let state = view.state();
            let after = after.as_ref().map(Place::key);
            state.shelf.behind(after).take(CHUNK).cloned().collect()
        };
        let more = chunk.len() == CHUNK;
        let last = chunk.last().cloned();
        for item in chunk {
            if !filter.matches(&Fields::new(view.kind, &item)) {
                continue;
            }
            if items.len() == size || bytes > MAX_BYTES {
                let last: Option<&Arc<Item>> = items.last();
                let next = last.map(|item| token_of(view.kind, item.key()));
                return Ok(Listed { items, next, worth: view.worth() });
            }
            bytes += item.size();
            items.push(item);
        }
        match last {
            Some(item) if more => after = Some(Place::Item(item)),
            _ => return Ok(Listed { items, next: None, worth: view.worth() }),
        }
        // Others get their turn: a filter may have to look at everything.
        tokio::task::yield_now().await;
    }
}

/// Where a page begins.
enum Place {
    Item(Arc<Item>),
    Token(NodeName, Option<Held>),
}

impl Place {
    fn key(&self) -> Key<'_> {
        match self {
            Place::Item(item) => item.key(),
            Place::Token(node, held) => {
                let (namespace, name) =
                    held.as_ref().map_or(("", ""), |held| (&*held.namespace, &*held.name));
                Key { node: node.as_str(), namespace, name }
            }
        }
    }
}

/// The place behind which a token points.
fn after(kind: Kind, token: &str) -> Result<Option<Place>> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = place_of(kind, token).ok_or_else(|| {
        let cut: String = token.chars().take(40).collect();
        let kind = kind.name();
        Error::Invalid(format!("page token {cut:?} is of no list of {kind}: list from the start"))
    })?;
    Ok(Some(place))
}

/// A token names the last object of a page. It is for us alone: a checksum finds what was made of it on
/// its way.
fn token_of(kind: Kind, key: Key<'_>) -> String {
    let Key { node, namespace, name } = key;
    let text = format!("{}/{node}/{namespace}/{name}", kind.name());
    let mut bytes = checksum(text.as_bytes()).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn place_of(kind: Kind, token: &str) -> Option<Place> {
    // As long as the longest name makes it, and no longer.
    if token.len() > 2048 || !token.is_ascii() || !token.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..token.len()).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16));
    let bytes: Vec<u8> = pairs.collect::<std::result::Result<_, _>>().ok()?;
    let (sum, text) = bytes.split_first_chunk::<4>()?;
    if checksum(text).to_be_bytes() != *sum {
        return None;
    }
    let mut parts = std::str::from_utf8(text).ok()?.splitn(4, '/');
    let (of, node) = (parts.next()?, parts.next()?.parse().ok()?);
    let (namespace, name) = (parts.next()?, parts.next()?);
    let held = match kind {
        _ if of != kind.name() => return None,
        Kind::Nodes if namespace.is_empty() && name.is_empty() => None,
        Kind::Nodes => return None,
        kind => Some(Held::new(kind, namespace, name).ok()?),
    };
    Some(Place::Token(node, held))
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_where_a_page_ended() {
        let image = Key { node: "n-1", namespace: "k8s.io", name: "localhost:5000/a/b:1" };
        let node = Key { node: "n-1", namespace: "", name: "" };
        for (kind, key) in [(Kind::Images, image), (Kind::Nodes, node)] {
            let token = token_of(kind, key);
            assert_eq!(after(kind, &token).unwrap().unwrap().key(), key);
        }
        assert!(after(Kind::Nodes, "").unwrap().is_none());
    }

    #[test]
    fn tokens_of_others_are_refused() {
        let key = Key { node: "n-1", namespace: "default", name: "a" };
        let token = token_of(Kind::Images, key);
        let garbled = format!("{}{}", &token[..token.len() - 1], "f");
        let odd = Key { node: "n 1", ..key };
        for (kind, token) in [
            (Kind::Containers, token.as_str()),
            (Kind::Nodes, token.as_str()),
            (Kind::Images, garbled.as_str()),
            (Kind::Images, &token[2..]),
            (Kind::Images, &token_of(Kind::Images, odd)),
            (Kind::Images, "zz"),
            (Kind::Images, "+1"),
            (Kind::Images, "ä"),
            (Kind::Images, &"0".repeat(3000)),
        ] {
            let error = after(kind, token).err().unwrap().to_string();
            assert!(error.ends_with("list from the start: invalid argument"), "{error}");
            assert!(error.len() < 200, "{error}");
        }
    }
}
