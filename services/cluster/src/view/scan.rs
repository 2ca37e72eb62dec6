//! All objects of a moment, told in pieces while changes go on.

use std::sync::Arc;

use berth_filters::Filter;

use super::fields::Fields;
use super::item::Item;
use super::one::View;
use super::page::MAX_BYTES;
use super::told::PIECE;

/// Goes once over what is there. What is put meanwhile is passed over: the ring tells it, from the change
/// on that was the next one when the scan began.
pub(super) struct Scan {
    next: u64,
    after: Option<Arc<Item>>,
}

impl Scan {
    /// Of what was there before the change of number `next`.
    pub fn new(next: u64) -> Self {
        Self { next, after: None }
    }

    /// Some more that match; nothing when that was all.
    pub async fn next(&mut self, view: &View, filter: &Filter) -> Vec<Arc<Item>> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        loop {
            let chunk: Vec<Arc<Item>> = {
                let state = view.state();
                let behind = state.shelf.behind(self.after.as_ref().map(|item| item.key()));
                behind.take(PIECE - found.len()).cloned().collect()
            };
            if chunk.is_empty() {
                return found;
            }
            for item in chunk {
                if item.put < self.next && filter.matches(&Fields::new(view.kind, &item)) {
                    bytes += item.size();
                    found.push(item.clone());
                }
                self.after = Some(item);
                if bytes >= MAX_BYTES {
                    return found;
                }
            }
            if found.len() == PIECE {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }
}
